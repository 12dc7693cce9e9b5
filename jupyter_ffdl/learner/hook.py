"""What runs first in every Python that a training starts: it sees how that Python ends.

A copy of this file is ``<training folder>/hook/sitecustomize.py``, first on ``PYTHONPATH``; then it
runs the ``sitecustomize`` that it shadows. ``FFDL_LEARNER_DIR`` (absolute) says where to write;
unset, nothing happens. There the hook leaves

``pids/<pid>``
    The mark of a process that takes SIGUSR1, which kills every other one. First line: the start
    time from ``/proc/<pid>/stat`` (0 where there is none), so that a reused pid is told apart.
    After a SIGUSR1 the stacks of all threads are appended. Signal only if the start time fits and
    ``SigCgt`` in ``/proc/<pid>/status`` has the signal: a process that called ``exec`` keeps pid,
    start time and mark, but not the handler.
``exceptions/<pid>-<ms>.json``
    An exception that nobody caught: where, which names with which shapes, never a value.
``faults.txt``
    What faulthandler says when a fatal signal ends a process; all processes append.

It also makes TensorBoard writers flush every second unless the code says otherwise: tensorboardX
and tensorboard wait 120 s, tf.summary and Keras for the eleventh point (docs/how-it-works.md).

It must never print, never break a program and never cost more than 3 ms at its start, hence: the
standard library's C modules only, everything else is imported when something has failed. No syntax
that Python 2.7 lacks, hence type comments: a script may start any Python, and one that could not
read this file would complain into the user's log. Below 3.7 it does nothing.
"""
# Whatever fails here must not show:
# ruff: noqa: BLE001, S110, S112
# contextlib and pathlib would cost more than all the rest, and other imports wait for a failure:
# ruff: noqa: SIM105, PLC0415, PTH100, PTH102, PTH103, PTH108, PTH109, PTH110, PTH112
# ruff: noqa: PTH117, PTH118
# Syntax of all Pythons:
# ruff: noqa: UP004, UP031, UP036
# Where other people's code keeps what we need:
# ruff: noqa: SLF001

import os
import sys

MYPY = False
if MYPY:  # mypy takes this name for true; importing typing would cost 5 ms
    from typing import Any, Callable  # noqa: F401

NAME = "_ffdl_hook"
MAX_FRAMES = 100
MAX_MESSAGE_BYTES = 4096
MAX_RECORDS = 200
"""Records in one learner's folder; a thread that fails in a loop must not fill the disk."""
HIGH_DESCRIPTOR = 250
"""Programs that close "all" descriptors and open others must not get ours back by number."""

_CONTAINERS = (list, tuple, dict, set, frozenset)
_ARRAYS = frozenset(
    (
        "cupy",
        "dask",
        "jax",
        "jaxlib",
        "keras",
        "mxnet",
        "numpy",
        "paddle",
        "pandas",
        "polars",
        "scipy",
        "tensorflow",
        "torch",
        "xarray",
    )
)
"""Packages whose ``shape`` is safe to read: elsewhere it may be a property that computes."""


class _Process(object):
    """What this process knows of itself; a forked child gets a mark of its own."""

    folder = ""
    here = ""
    model_dir = ""
    first_pid = 0
    pid = 0
    descriptor = -1
    recorded = None  # type: BaseException | None
    busy = set()  # type: set[int]  # noqa: RUF012


# --- Records of exceptions ---------------------------------------------------------------------


def record(kind, error, traceback):
    # type: (str, BaseException, Any) -> None
    """Write down an exception that nobody caught; ``kind`` is main, thread or child."""
    import _thread

    thread = _thread.get_ident()
    if thread in _Process.busy or error is _Process.recorded:
        return
    _Process.busy.add(thread)
    try:
        if kind == "main":
            _Process.recorded = error
            if os.getpid() != _Process.first_pid:
                kind = "child"  # forked: the main program may go on
        _write_record(kind, error, traceback)
    except BaseException:
        pass
    finally:
        _Process.busy.discard(thread)


def _write_record(kind, error, traceback):
    # type: (str, BaseException, Any) -> None
    import json
    import time

    folder = os.path.join(_Process.folder, "exceptions")
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)
    if kind != "main" and len(os.listdir(folder)) >= MAX_RECORDS:
        return
    now = int(time.time() * 1000)
    walked = _walk(traceback)
    frames = [_frame(*step) for step in walked]
    shapes = []  # type: list[dict[str, Any]]
    for step, frame in reversed(list(zip(walked, frames))):
        if frame["user"]:
            shapes = _shapes(*step)
            break
    if isinstance(error, SyntaxError):
        frames.extend(_syntax_frame(error))
    value = {
        "time": now,
        "pid": os.getpid(),
        "kind": kind,
        "type": _type_name(type(error)),
        "message": _message(error),
        "frames": frames,
        "chain": _chain(error),
        "shapes": shapes,
        "details": _details(error),
    }
    text = json.dumps(value).encode("ascii")
    while True:
        path = os.path.join(folder, "%d-%d.json" % (os.getpid(), now))
        if not os.path.exists(path):
            break
        now += 1
    temporary = os.path.join(folder, ".%d-%d.tmp" % (os.getpid(), now))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _cloexec(), 0o600)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def _walk(traceback):
    # type: (Any) -> list[tuple[Any, int, int]]
    """Return (frame, line, instruction) from the outside in, the middle of a recursion left out."""
    steps = []
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename != _FILE:
            steps.append((frame, traceback.tb_lineno, traceback.tb_lasti))
        traceback = traceback.tb_next
    if len(steps) > MAX_FRAMES:
        steps = steps[:20] + steps[20 - MAX_FRAMES :]
    return steps


def _frame(frame, line, _instruction):
    # type: (Any, int, int) -> dict[str, Any]
    import linecache

    code = frame.f_code
    try:
        text = linecache.getline(code.co_filename, line, frame.f_globals)
    except Exception:
        text = ""
    return {
        "file": _absolute(code.co_filename),
        "line": line,
        "name": getattr(code, "co_qualname", code.co_name),
        "text": text.strip()[:1000],
        "user": _is_user(code.co_filename),
    }


def _syntax_frame(error):
    # type: (SyntaxError) -> list[dict[str, Any]]
    """Where the syntax is wrong, which no frame says: that code has never run."""
    name = error.filename
    if not name or name.startswith("<") or not error.lineno:
        return []
    return [
        {
            "file": _absolute(name),
            "line": error.lineno,
            "name": "",
            "text": (error.text or "").strip()[:1000],
            "user": _is_user(name),
        }
    ]


def _absolute(name):
    # type: (str) -> str
    if name.startswith("<") or os.path.isabs(name):
        return name
    return os.path.join(_Process.here, name)


def _is_user(name):
    # type: (str) -> bool
    """Whether a person wrote this file for this training, as far as its place tells."""
    if name.startswith("<"):
        return False
    path = _absolute(name)
    for folder in (_Process.model_dir, os.path.realpath(_Process.model_dir)):
        if _Process.model_dir and path.startswith(os.path.join(folder, "")):
            return True
    parts = path.replace(os.sep, "/").split("/")
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not path.startswith(os.path.join(os.path.dirname(os.__file__), ""))


def _type_name(kind):
    # type: (type) -> str
    module = getattr(kind, "__module__", "") or ""
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in ("builtins", "") else module + "." + name


def _message(error):
    # type: (BaseException) -> str
    """Return ``str(error)``, which is the user's code and may itself fail."""
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:
        text = "<no message: str() of it failed>"
    data = text.encode("utf-8", "backslashreplace")
    return data[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")


def _details(error):
    # type: (BaseException) -> dict[str, Any]
    """Return what the exception says in attributes: a module's name, a path, an errno."""
    found = {}  # type: dict[str, Any]
    for key in ("name", "filename", "errno", "returncode"):
        value = getattr(error, key, None)
        if isinstance(value, (str, int)):
            found[key] = value
    return found


def _chain(error):
    # type: (BaseException) -> list[dict[str, Any]]
    """Return what led to the exception, nearest first, then the members of a group."""
    links = []  # type: list[dict[str, Any]]
    seen = {id(error)}
    at = error  # type: BaseException | None
    while at is not None and len(links) < 10:
        relation = "cause"
        before = at.__cause__
        if before is None and not at.__suppress_context__:
            relation, before = "context", at.__context__
        if before is None or id(before) in seen:
            break
        seen.add(id(before))
        links.append(_link(relation, before))
        at = before
    links.extend(_link("group", member) for member in _members(error)[:10])
    return links


def _members(error):
    # type: (Any) -> list[BaseException]
    """Return the leaves of an exception group, which Pythons before 3.11 have from a package."""
    members = getattr(error, "exceptions", None)
    leaves = []  # type: list[BaseException]
    if isinstance(members, tuple):
        for member in members:
            if isinstance(member, BaseException):
                leaves.extend(_members(member) or [member])
    return leaves


def _link(relation, error):
    # type: (str, BaseException) -> dict[str, Any]
    link = {  # type: dict[str, Any]
        "relation": relation,
        "type": _type_name(type(error)),
        "message": _message(error),
    }
    frames = [_frame(*step) for step in _walk(error.__traceback__)]
    if frames:
        last = [frame for frame in frames if frame["user"]] or frames
        link["file"], link["line"] = last[-1]["file"], last[-1]["line"]
    return link


def _shapes(frame, line, instruction):
    # type: (Any, int, int) -> list[dict[str, Any]]
    """Return type, dtype and shape of the names in the failing expression, never a value."""
    import linecache
    import re

    text = "".join(
        linecache.getline(frame.f_code.co_filename, number, frame.f_globals)
        for number in _lines(frame.f_code, line, instruction)
    )
    text = re.sub(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|#[^\n]*", " ", text)
    found = []  # type: list[dict[str, Any]]
    names = set()  # type: set[str]
    for chain in re.findall(r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*", text):
        try:
            name, value = _look_up(frame, chain.split("."))
            if name and name not in names and len(found) < 20:
                names.add(name)
                described = _describe(name, value)
                if described is not None:
                    found.append(described)
        except Exception:
            continue
    return found


def _lines(code, line, instruction):
    # type: (Any, int, int) -> range
    """Return the lines of the failing expression; Pythons before 3.11 know only the first."""
    try:
        for index, position in enumerate(code.co_positions()):
            if index == instruction // 2:
                return range(position[0], min(position[1], position[0] + 10) + 1)
    except Exception:
        pass
    return range(line, line + 1)


def _look_up(frame, parts):
    # type: (Any, list[str]) -> tuple[str, Any]
    """Follow ``a.b.c`` through plain dictionaries: no property of the user's may run here."""
    if parts[0] in frame.f_locals:
        value = frame.f_locals[parts[0]]
    elif parts[0] in frame.f_globals:
        value = frame.f_globals[parts[0]]
    else:
        return "", None
    name = parts[0]
    for part in parts[1:]:
        own = getattr(value, "__dict__", None)
        if not isinstance(own, dict):
            break
        # torch.nn.Module keeps what looks like attributes in three more dictionaries.
        places = [own] + [own.get(key) for key in ("_parameters", "_buffers", "_modules")]
        holders = [place for place in places if isinstance(place, dict) and part in place]
        if not holders:
            break
        name, value = name + "." + part, holders[0][part]
    return name, value


def _describe(name, value):
    # type: (str, Any) -> dict[str, Any] | None
    kind = type(value)
    if kind.__name__ in ("module", "function", "builtin_function_or_method", "method"):
        return None
    if isinstance(value, type) or kind.__name__ == "ufunc":
        return None
    described = {  # type: dict[str, Any]
        "name": name,
        "type": _type_name(kind),
        "dtype": None,
        "shape": None,
        "len": None,
    }
    if isinstance(value, _CONTAINERS):
        described["len"] = len(value)
    elif (kind.__module__ or "").split(".")[0] in _ARRAYS:
        shape = getattr(value, "shape", None)
        if shape is not None:
            described["shape"] = [None if n is None else int(n) for n in shape]
        dtype = getattr(value, "dtype", None)
        if dtype is not None:
            described["dtype"] = str(getattr(dtype, "name", None) or dtype)
    return described


# --- Where exceptions end up ---------------------------------------------------------------------


def _watch_main():
    # type: () -> None
    """See the exception that ends the program, whatever hook the program sets.

    ``sys.excepthook`` and ``sys.__excepthook__`` become the same function, because libraries
    compare the two to learn whether somebody else is there (trio warns, exceptiongroup stays away).
    The interpreter sets ``sys.last_value`` before it calls any hook: that tells an exception that
    ends the program from one that is only printed, and is looked at once more at exit.
    """
    before = sys.excepthook

    def excepthook(kind, error, traceback):
        # type: (type[BaseException], BaseException, Any) -> None
        if error is _last_error():
            record("main", error, traceback)
        before(kind, error, traceback)

    if before is sys.__excepthook__:
        sys.__excepthook__ = excepthook
    sys.excepthook = excepthook


def _last_error():
    # type: () -> Any
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def _watch_threads(threading):
    # type: (Any) -> None
    """See exceptions that end a thread; the program may go on."""
    before = getattr(threading, "excepthook", None)
    if before is None:  # Python 3.7
        format_exc = threading._format_exc

        def formatting():
            # type: () -> Any
            error = sys.exc_info()[1]
            if error is not None:
                record("thread", error, error.__traceback__)
            return format_exc()

        threading._format_exc = formatting
        return

    def excepthook(arguments):
        # type: (Any) -> None
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit):
            record("thread", error, arguments.exc_traceback)
        before(arguments)

    if before is getattr(threading, "__excepthook__", None):
        threading.__excepthook__ = excepthook
    threading.excepthook = excepthook


def _watch_children(process):
    # type: (Any) -> None
    """See exceptions in multiprocessing's children, which print them past every hook.

    ``_bootstrap`` asks for the process's name to print it, while the exception is known: nothing of
    ours shows in the traceback then, as a wrapped ``run`` would.
    """
    base = process.BaseProcess
    bootstrap = base._bootstrap
    name = base.name

    def named(self):
        # type: (Any) -> Any
        error = sys.exc_info()[1]
        if error is not None and sys._getframe(1).f_code is bootstrap.__code__:
            record("child", error, error.__traceback__)
        return name.fget(self)

    def _bootstrap(self, *args, **kwargs):
        # type: (Any, Any, Any) -> Any
        try:
            return bootstrap(self, *args, **kwargs)
        finally:
            # A forked child leaves by os._exit: atexit does not run.
            _unmark()

    base.name = property(named, name.fset)
    base._bootstrap = _bootstrap


def _watch_signals(signal):
    # type: (Any) -> None
    """Give SIGUSR1 up once the program wants it for itself."""
    before = signal.signal
    import functools

    @functools.wraps(before)
    def watching(signalnum, handler):
        # type: (int, Any) -> Any
        if signalnum == signal.SIGUSR1:
            _unmark()
        return before(signalnum, handler)

    signal.signal = watching


# --- Stacks on request, fatal signals ------------------------------------------------------------


def _cloexec():
    # type: () -> int
    return getattr(os, "O_CLOEXEC", 0)


def _open_high(path, flags):
    # type: (str, int) -> int
    descriptor = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_APPEND | _cloexec(), 0o600)
    for high in range(HIGH_DESCRIPTOR, HIGH_DESCRIPTOR + 5):
        try:
            os.fstat(high)
        except OSError:
            try:
                os.dup2(descriptor, high, False)
            except OSError:
                break
            os.close(descriptor)
            return high
    return descriptor


def _start_time():
    # type: () -> str
    try:
        descriptor = os.open("/proc/self/stat", os.O_RDONLY | _cloexec())
        try:
            text = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
        return text[text.rindex(b")") :].split()[20].decode("ascii")
    except Exception:
        return "0"


def _mark():
    # type: () -> None
    """Register for SIGUSR1 and only then say so."""
    import _signal  # type: ignore[import-not-found]
    import faulthandler

    pid = os.getpid()
    folder = os.path.join(_Process.folder, "pids")
    temporary = os.path.join(folder, ".%d" % pid)
    descriptor = _open_high(temporary, os.O_TRUNC)
    os.write(descriptor, (_start_time() + "\n").encode("ascii"))
    if not _Process.pid:
        # What faulthandler restores when the interpreter ends: a request on its way then is
        # ignored instead of fatal.
        _signal.signal(_signal.SIGUSR1, _signal.SIG_IGN)
    faulthandler.register(_signal.SIGUSR1, file=descriptor, all_threads=True, chain=False)
    os.replace(temporary, os.path.join(folder, str(pid)))
    before = _Process.descriptor
    _Process.pid, _Process.descriptor = pid, descriptor
    if before >= 0:
        os.close(before)


def _unmark():
    # type: () -> None
    try:
        if _Process.pid == os.getpid():
            os.unlink(os.path.join(_Process.folder, "pids", str(_Process.pid)))
    except Exception:
        pass


def _mark_child():
    # type: () -> None
    try:
        _mark()
    except Exception:
        pass


def _catch_faults():
    # type: () -> None
    """Keep what faulthandler says, unless the user has it print into the log already."""
    import faulthandler

    if not faulthandler.is_enabled():
        faulthandler.enable(_open_high(os.path.join(_Process.folder, "faults.txt"), 0))


def _at_exit():
    # type: () -> None
    error = _last_error()
    if isinstance(error, BaseException) and not isinstance(error, SystemExit):
        record("main", error, error.__traceback__)
    _unmark()


# --- TensorBoard writers -------------------------------------------------------------------------

_SECONDS = (("flush_secs", 1),)
# These flush only while somebody writes, so a point must not wait for the next one.
_AT_ONCE = (("flush_secs", 0), ("flush_millis", 1000), ("max_queue", 0))
_WRITERS = {
    "tensorboardX.writer": (_SECONDS, ("FileWriter", "SummaryWriter")),
    "tensorboardX.event_file_writer": (_SECONDS, ("EventFileWriter",)),
    "tensorboardX.global_writer": (_SECONDS, ("GlobalSummaryWriter",)),
    "tensorboard.summary.writer.event_file_writer": (_SECONDS, ("EventFileWriter",)),
    "torch.utils.tensorboard.writer": (_SECONDS, ("FileWriter", "SummaryWriter")),
    "tensorflow.python.ops.summary_ops_v2": (
        _AT_ONCE,
        ("create_file_writer_v2", "create_file_writer"),
    ),
    "tensorflow.python.summary.writer.writer": (_AT_ONCE[:1], ("FileWriter",)),
    "tensorflow.python.summary.writer.event_file_writer": (_AT_ONCE[:1], ("EventFileWriter",)),
    "tensorflow.python.summary.writer.event_file_writer_v2": (_AT_ONCE, ("EventFileWriterV2",)),
}


def _hurry_writers(module):
    # type: (Any) -> None
    """Lower the default flush intervals of the writers in ``module``."""
    defaults, names = _WRITERS[module.__name__]
    for name in names:
        found = getattr(module, name, None)
        if isinstance(found, type):
            initialise = vars(found).get("__init__")
            if initialise is not None:
                setattr(found, "__init__", _with_defaults(initialise, defaults))  # noqa: B010
        elif callable(found):
            setattr(module, name, _with_defaults(found, defaults))


def _with_defaults(function, defaults):
    # type: (Any, tuple[tuple[str, int], ...]) -> Any
    """Return ``function`` with other defaults; what the caller gives still counts.

    Not for remote directories: there every flush uploads the whole file.
    """
    import functools
    import inspect

    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def hurried(*args, **kwargs):
        # type: (Any, Any) -> Any
        try:
            given = dict(zip(names, args))
            given.update(kwargs)
            if not any("://" in str(given.get(name)) for name in ("logdir", "log_dir")):
                kwargs.update(
                    (name, value)
                    for name, value in defaults
                    if name in names and given.get(name) is None
                )
        except Exception:
            pass
        return function(*args, **kwargs)

    return hurried


# --- Waiting for modules -------------------------------------------------------------------------

_PATCHES = {}  # type: dict[str, Callable[[Any], None]]
_PATCHES.update(dict.fromkeys(_WRITERS, _hurry_writers))
_PATCHES["threading"] = _watch_threads
_PATCHES["multiprocessing.process"] = _watch_children
_PATCHES["signal"] = _watch_signals


class _Finder(object):
    """Finds nothing itself; lets the others find, and patches a few modules once they have run."""

    def __init__(self):
        # type: () -> None
        self.busy = set()  # type: set[str]

    def find_spec(self, name, path=None, target=None):
        # type: (str, Any, Any) -> Any
        if name not in _PATCHES or name in self.busy:
            return None
        self.busy.add(name)
        try:
            spec = None
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                find_spec = getattr(finder, "find_spec", None)
                spec = find_spec(name, path, target) if find_spec is not None else None
                if spec is not None:
                    break
        finally:
            self.busy.discard(name)
        try:
            if spec is not None:
                _patch_after(spec.loader, name)
        except Exception:
            pass
        return spec


def _patch_after(loader, name):
    # type: (Any, str) -> None
    """Have ``loader`` patch the module after it ran; it stays the loader that it is."""
    if loader is None or isinstance(loader, type) or "exec_module" in vars(loader):
        return
    exec_module = loader.exec_module

    def exec_and_patch(module):
        # type: (Any) -> None
        vars(loader).pop("exec_module", None)
        exec_module(module)
        if module.__name__ == name:
            _patch(module)

    try:
        # importlib leaves its own frames out of tracebacks, and so this one.
        exec_and_patch.__code__ = exec_and_patch.__code__.replace(
            co_filename="<frozen importlib._bootstrap>"
        )
    except Exception:
        pass  # Python 3.7
    loader.exec_module = exec_and_patch


def _patch(module):
    # type: (Any) -> None
    try:
        _PATCHES[module.__name__](module)
    except Exception:
        pass


# --- Start ---------------------------------------------------------------------------------------

_FILE = _patch.__code__.co_filename


def install(folder):
    # type: (str) -> None
    """Watch this process and write to ``folder``; each part works without the others."""
    import atexit

    _Process.folder = folder
    _Process.first_pid = os.getpid()
    _Process.model_dir = os.environ.get("MODEL_DIR", "")
    steps = [_watch_main, _prepare, _catch_faults, _mark]
    for step in steps:
        try:
            step()
        except Exception:
            pass
    atexit.register(_at_exit)
    try:
        os.register_at_fork(after_in_child=_mark_child)
    except Exception:
        pass
    for name in _PATCHES:
        if name in sys.modules:
            _patch(sys.modules[name])
    sys.meta_path.insert(0, _Finder())


def _prepare():
    # type: () -> None
    _Process.here = os.getcwd()
    pids = os.path.join(_Process.folder, "pids")
    if not os.path.isdir(pids):
        os.mkdir(pids, 0o700)


def run_shadowed():
    # type: () -> None
    """Run the ``sitecustomize`` that Python would have found without us, as if we were not here."""
    own = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.abspath(place) for place in sys.path]
    rest = sys.path[places.index(own) + 1 :] if own in places else []
    if sys.version_info < (3,):
        import imp

        try:
            found = imp.find_module("sitecustomize", rest)
        except ImportError:
            return
        imp.load_module("sitecustomize", *found)
        return
    # Both stand in memory already; `import importlib` would cost a millisecond.
    import _frozen_importlib
    import _frozen_importlib_external

    spec = _frozen_importlib_external.PathFinder.find_spec("sitecustomize", rest)
    if spec is None or spec.loader is None:
        return
    module = _frozen_importlib.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    if sys.version_info >= (3, 7) and NAME not in sys.modules:
        sys.modules[NAME] = sys.modules[__name__]
        try:
            if os.environ.get("FFDL_LEARNER_DIR"):
                install(os.environ["FFDL_LEARNER_DIR"])
        except Exception:
            pass
    run_shadowed()
