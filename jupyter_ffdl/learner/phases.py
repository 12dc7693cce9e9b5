"""The steps around the user's command (FfDL contract §5.2): loading before, storing after.

Each step runs in a process of its own and returns its exit code; why it failed stands in
``<step>.error`` in the job directory. A step that was killed at any moment is simply run again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jupyter_ffdl import files
from jupyter_ffdl.errors import FfdlError
from jupyter_ffdl.folder import TrainingFolder, now_ms

from . import transfer, workdir
from .places import CHECKPOINTS, Places, directories, places

__all__ = ["Places", "places"]

STEPS = ("load-model", "load-data", "learner", "store-results", "store-logs")
_KEPT_OF_LOGS = ("training-log.txt", "evaluation-metrics.txt")
_SHIPPED = "model-code.json"

Step = Callable[[TrainingFolder, dict[str, Any]], int]
Work = Callable[[TrainingFolder, Mapping[str, Any]], None]


# The job directory


def prepare_job(folder: TrainingFolder, spec: Mapping[str, Any]) -> None:
    """Create the job directory, or complete it; harmless beside a running command."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    if not (folder.job / "current_state").exists():
        set_state(folder, "INIT")
    # Torch's FileStore wants the file of file:///job/<id> to exist, and to be empty at first.
    (folder.job / str(spec["training_id"])).touch(exist_ok=True)


def set_state(folder: TrainingFolder, state: str) -> None:
    """Write ``current_state``; a full disk must not end the training for it."""
    with contextlib.suppress(OSError):
        files.write_whole(folder.job / "current_state", f"{state}\n".encode(), mode=0o644)


def mark_start(folder: TrainingFolder, step: str) -> None:
    """Write when a step began (epoch ms)."""
    with contextlib.suppress(OSError):
        for name, text in ((f"{step}.start", ""), (f"{step}.start_time", f"{now_ms()}\n")):
            files.write_whole(folder.job / name, text.encode(), mode=0o644)


def failure(folder: TrainingFolder, step: str) -> str:
    """Return why a step failed, empty where it left no word."""
    try:
        return (folder.job / f"{step}.error").read_text(errors="replace").strip()
    except OSError:
        return ""


def forget_steps(folder: TrainingFolder) -> None:
    """Remove what the last attempt left about its steps; all other files in ``/job`` stay."""
    patterns = [f"{step}.*" for step in STEPS] + ["learner-*.exit", "lc.exit", folder.training_id]
    for pattern in patterns:
        for path in folder.job.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()


def link_logs(folder: TrainingFolder, attempt: int, spec: Mapping[str, Any]) -> None:
    """Let ``LOG_DIR`` show the files of this attempt: learner 1 on top, others in ``learner-N``.

    Where the user writes the metrics (FfDL contract §6.5), that file stays the user's own.
    """
    own_metrics = spec["metrics"]["kind"] == "emetrics"
    names = [n for n in _KEPT_OF_LOGS if not (own_metrics and n == "evaluation-metrics.txt")]
    learners = int(spec["learners"])
    for learner in range(1, learners + 1):
        shown = folder.logs if learner == 1 else folder.logs / f"learner-{learner}"
        shown.mkdir(parents=True, exist_ok=True)
        for name in names:
            # Absolute: seen as /job in a mount namespace, a relative link would lead elsewhere.
            _link(folder.learner(attempt, learner).absolute() / name, shown / name)
    _link(Path("logs/training-log.txt"), folder.job / "latest-log")


def _link(target: Path, link: Path) -> None:
    if link.exists() and not link.is_symlink():
        return  # the user's own file
    temporary = link.with_name(f".{link.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def clean_job(folder: TrainingFolder) -> None:
    """Remove what only the running command needed; logs, states and exit codes stay for readers."""
    kept = {"current_state", "halt", "lc.exit", "logs", "latest-log"}
    for entry in list(os.scandir(folder.job)):
        stem, _, ending = entry.name.rpartition(".")
        known = stem in STEPS or stem.startswith("learner-")
        if entry.name in kept or (known and ending in {"start", "start_time", "exit", "error"}):
            continue
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _remove_tree(path: str | Path) -> None:
    import shutil  # noqa: PLC0415 (10 ms that a start does without)

    shutil.rmtree(path, ignore_errors=True)


# The steps


def _step(name: str) -> Callable[[Work], Step]:
    def wrapped(work: Work) -> Step:
        @functools.wraps(work)
        def step(folder: TrainingFolder, spec: dict[str, Any]) -> int:
            try:
                work(folder, spec)
            except (FfdlError, OSError) as problem:
                _explain(folder, name, _sentence(problem))
                return 1
            except Exception as bug:  # noqa: BLE001 (a bug of ours is named as well)
                import traceback  # noqa: PLC0415

                traceback.print_exc()
                _explain(folder, name, f"{type(bug).__name__}: {bug}")
                return 1
            return 0

        return step

    return wrapped


def _explain(folder: TrainingFolder, step: str, text: str) -> None:
    with contextlib.suppress(OSError):
        files.write_whole(folder.job / f"{step}.error", f"{text}\n".encode(), mode=0o644)


def _sentence(problem: FfdlError | OSError) -> str:
    if isinstance(problem, FfdlError):
        return str(problem)
    where = f": {problem.filename}" if problem.filename else ""
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk is full{where}"
    return f"{problem.strerror or problem}{where}"


@_step("load-model")
def load_model(folder: TrainingFolder, spec: Mapping[str, Any]) -> None:
    """Unpack the code into ``MODEL_DIR``; a next attempt finds it as the last one left it."""
    from . import codezip  # noqa: PLC0415 (it needs zipfile; the supervisor itself does not)

    if folder.model_code.exists():
        return
    built = folder.job / ".model-code"
    if built.exists():
        _remove_tree(built)
    built.mkdir()
    codezip.extract(folder.code, built, spec.get("strip_prefix") or "")
    files.write_json(folder.root / _SHIPPED, workdir.shipped_files(built))
    if spec.get("notebook") and spec.get("kernel_cwd"):
        cwd = Path(spec["kernel_cwd"])
        if cwd.is_dir():
            workdir.link_rest(cwd, built, never=folder.state_dir)
    os.replace(built, folder.model_code)


@_step("load-data")
def load_data(folder: TrainingFolder, spec: Mapping[str, Any]) -> None:
    """Make sure that data can be read and results written; directories are used in place."""
    real = directories(folder, spec)
    own = folder.job / "data"
    for path in real.data:
        if path == own:
            own.mkdir(exist_ok=True)
            continue
        with os.scandir(path) as entries:
            next(entries, None)
    for learner in range(1, int(spec["learners"]) + 1):
        (real.results / f"learner-{learner}").mkdir(parents=True, exist_ok=True)
    real.checkpoints.mkdir(parents=True, exist_ok=True)
    if not real.shares_bucket:
        real.results_bucket.mkdir(exist_ok=True)
        _link(real.results.absolute(), real.results_bucket / folder.training_id)
        _link(real.checkpoints.absolute(), real.results_bucket / CHECKPOINTS)


@_step("store-results")
def store_results(folder: TrainingFolder, spec: Mapping[str, Any]) -> None:
    """Bring to the results what does not lie there yet: the code, and a notebook's new files."""
    results = directories(folder, spec).results
    code = results / "_submitted_code"
    code.mkdir(parents=True, exist_ok=True)
    transfer.put(folder.code, code / "model.zip")
    if spec.get("notebook"):
        _keep_workdir(folder, results / "workdir")


def _keep_workdir(folder: TrainingFolder, target: Path) -> None:
    shipped = files.read_json(folder.root / _SHIPPED) or {}
    made: set[str] = set()
    for path in workdir.created_files(folder.model_code, shipped):
        parent = os.path.dirname(path)
        if parent not in made:
            (target / parent).mkdir(parents=True, exist_ok=True)
            made.add(parent)
        transfer.put(f"{folder.model_code}/{path}", f"{target}/{path}")


@_step("store-logs")
def store_logs(folder: TrainingFolder, spec: Mapping[str, Any]) -> None:
    """Bring logs, metrics and event files to the results (FfDL contract §5.2, §5.4)."""
    results = directories(folder, spec).results
    attempt = folder.attempts()[-1]
    for learner in range(1, int(spec["learners"]) + 1):
        target = results / f"learner-{learner}"
        target.mkdir(parents=True, exist_ok=True)
        _store_logs_of(folder, attempt, learner, target)
        files.write_whole(target / ".log-copy-complete", b"0\n", mode=0o644)
    _store_logs_of(folder, attempt, 1, results)


def _store_logs_of(folder: TrainingFolder, attempt: int, learner: int, target: Path) -> None:
    transfer.put_tree(folder.logs, target, skip=_not_of_all_learners)
    if learner > 1:
        own = folder.logs / f"learner-{learner}"
        transfer.put_tree(own, target, skip=_not_of_all_learners)
    for name in _KEPT_OF_LOGS:
        source = folder.learner(attempt, learner) / name
        if source.exists():
            transfer.put(source, target / name)


def _not_of_all_learners(path: str) -> bool:
    top = path.partition("/")[0]
    return path in _KEPT_OF_LOGS or (top.startswith("learner-") and top[8:].isdigit())
