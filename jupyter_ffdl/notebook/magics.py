"""``%%ffdl_train``, ``%ffdl_train`` and ``%ffdl``: a thin layer over the client.

What a person typed wrong is a ``UsageError``, one line without a traceback; what the service
lacks is an ``FfdlError`` with a hint.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class

from ..errors import BadInput, FfdlError
from .options import help_text, parse

if TYPE_CHECKING:
    from .client import Training
    from .options import Parsed
    from .submission import Submission

_RUNNERS = frozenset({"run_line_magic", "run_cell_magic"})


def load(ipython: Any) -> None:
    """Register the magics; prints nothing, sends nothing, may be repeated."""
    ipython.register_magics(FfdlMagics)
    ipython.set_hook("complete_command", _complete, re_key=r"%{1,2}ffdl(_train)?\b")


@magics_class
class FfdlMagics(Magics):
    """The magics of jupyter_ffdl."""

    @line_cell_magic
    def ffdl_train(self, line: str, cell: str | None = None) -> Any:
        """Train this cell, or a file, on its own: it survives the kernel.

        ``%%ffdl_train [options]`` trains the cell below it;
        ``%ffdl_train FILE [options]`` a ``.py`` file;
        ``%ffdl_train MANIFEST [DIR] [options]`` an FfDL manifest with its folder or zip.
        ``t = %ffdl_train FILE`` gives the training without showing it.

        Options:
        """
        from . import client, submission  # noqa: PLC0415  (loading the extension is quick)

        shown = _shown()
        with _usage():
            given = parse(line)
            submission.refuse_inside_a_learner(nested=False)
            service = client.default_service()
            parent = _parent(given)
            if (
                parent
                and cell is not None
                and not given.get("dry_run")
                and submission.unchanged(parent, cell, given.values)
            ):
                training = submission.rerun(parent, submission.changes(given.values), service)
            else:
                built = _build(given, cell, parent)
                if given.get("dry_run"):
                    return submission.plan(service, built)
                training = submission.submit(service, built)
            client.remember(training)
        training.warnings += _live_of_the_same_name(training)
        if given.get("as") and self.shell is not None:
            self.shell.user_ns[given.get("as")] = training
        try:
            _present(training, shown)
            if given.get("wait"):
                training.wait(given.get("timeout"), check=True)
        except KeyboardInterrupt:
            print(  # noqa: T201
                f"Detached: {training.id} goes on. %ffdl halt {training.id} would stop it"
            )
        return training

    ffdl_train.__doc__ = f"{ffdl_train.__doc__}\n{help_text()}"

    @line_magic
    def ffdl(self, line: str) -> Any:
        """Look after trainings: ``%ffdl VERB [ID] [options]``; ``%ffdl`` alone lists the verbs.

        ID is an id, a unique prefix of one, or a name (the latest is meant); without one the
        latest training of this notebook is meant.
        """
        from . import verbs  # noqa: PLC0415

        with _usage():
            return verbs.run(line)


class _Shown:
    """What becomes of the magic's value: ``displayed`` by the display hook, ``stored``, or lost."""

    def __init__(self, frame: FrameType | None) -> None:
        following = None if frame is None else _following(frame)
        self.displayed = following in {"PRINT_EXPR", "INTRINSIC_PRINT"}
        self.stored = not self.displayed and following != "POP_TOP"


def _shown() -> _Shown:
    """Look at the cell that called the magic.

    ``t = %ffdl_train …`` is a call whose value is stored, the bare form one whose value is
    displayed or dropped; nothing else tells them apart.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None and frame.f_code.co_name not in _RUNNERS:
        frame = frame.f_back
    return _Shown(None if frame is None else frame.f_back)


def _following(frame: FrameType) -> str:
    """Return the name of the instruction after the one that runs now."""
    import dis  # noqa: PLC0415

    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset <= frame.f_lasti or instruction.opname in {"CACHE", "EXTENDED_ARG"}:
            continue
        if instruction.opname == "CALL_INTRINSIC_1":  # from Python 3.12 on; 1 prints
            return "INTRINSIC_PRINT" if instruction.arg == 1 else instruction.opname
        return instruction.opname
    return ""


def _parent(given: Parsed) -> Training | None:
    from . import verbs  # noqa: PLC0415

    return verbs.find(given.get("from")) if given.get("from") else None


def _build(given: Parsed, cell: str | None, parent: Training | None) -> Submission:
    from . import submission  # noqa: PLC0415
    from .kernel import notebook  # noqa: PLC0415

    options = given.values if parent is None else submission.inherit(parent, given.values)
    if cell is not None:
        if given.words:
            raise BadInput(
                f"{given.words[0]} does not belong to a cell's line",
                hint="Train a file with %ffdl_train FILE in a cell of its own",
            )
        return submission.from_cell(options, notebook(cell))
    if not given.words:
        raise BadInput(
            "Nothing to train",
            hint="Write %%ffdl_train in the first line of a cell, or %ffdl_train FILE",
        )
    if len(given.words) > 2:
        raise BadInput(f"{given.words[2]}: one file and one folder at most")
    directory = given.words[1] if len(given.words) > 1 else None
    return submission.of_source(given.words[0], directory, options, notebook())


def _live_of_the_same_name(training: Training) -> list[str]:
    """Say which earlier training of this name still runs, and how to halt it."""
    from . import client  # noqa: PLC0415

    with contextlib.suppress(FfdlError):
        for one in client.trainings(name=training.name, limit=20):
            if one != training and one.name == training.name and not one.done:
                return [f"An earlier {one.name} still runs: %ffdl halt {one.id} would stop it"]
    return []


def _present(training: Training, shown: _Shown) -> None:
    """Publish the view, or one line where the value is assigned."""
    if shown.stored:
        print(training.line())  # noqa: T201
        return
    training._ipython_display_()
    # The display hook would show it a second time.
    training.hide_once = shown.displayed


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """Turn what the caller can correct into a ``UsageError``: one line, no traceback."""
    try:
        yield
    except FfdlError as e:
        if 400 <= e.http_status < 500 and e.http_status != 401:
            _raise_usage(e)
        raise


def _raise_usage(error: FfdlError) -> NoReturn:
    text = error.message
    if error.description and error.description != error.message:
        text += f" ({error.description})"
    if error.line is not None:
        text += f" (line {error.line})"
    if error.hint:
        text += f". {error.hint}"
    raise UsageError(" ".join(text.split())) from None


def _complete(_shell: Any, event: Any) -> list[str]:
    from . import completion  # noqa: PLC0415

    return completion.matches(event.line[: len(event.text_until_cursor)])
