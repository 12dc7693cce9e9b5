"""One training's supervisor: ``python -m jupyter_ffdl.lifecycle.local.supervisor FOLDER``.

It is detached from whoever started it and outlives kernel and server. Everything it knows stands
in the training folder, so that it may be killed at any moment: the next one reads the folder and
goes on. Up to the start of the user's command it imports the standard library only, because that
is what a person waits for; then everything of ours at once, so that an upgrade of the package
during a training cannot mix versions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import files
from ...folder import Chronicle, TrainingFolder, now_ms
from ...index import IndexWriter
from ...learner import phases
from ...training import Status
from ...watch import Watcher
from .. import gang
from .children import Children, monotonic
from .identity import Process
from .learners import Learners
from .ownership import Observer, Ownership, TakenOver

BEAT_SECONDS = float(os.environ.get("FFDL_BEAT_SECONDS", "5"))
RESERVED_BYTES = 256 * 1024
STORE_SECONDS = 3600.0
"""How long a step may take before it counts as failed; a results directory may be slow."""

Step = Callable[[TrainingFolder, dict[str, Any]], int]


@dataclass(frozen=True)
class Ending:
    """How the command ended, kept in ``attempts/A/ending.json`` before anything is stored."""

    kind: str
    """``exit``, ``halt``, ``max_runtime``, ``lost``, ``memory``, ``S301`` or ``S302``."""
    exit_code: int = 0
    learner: int = 1
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


class HaltWanted(Exception):
    """Somebody asked to halt while a step ran."""


class Supervisor:
    """The life of one training on this machine."""

    def __init__(self, folder: TrainingFolder, ownership: Ownership, umask: int = 0o022) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = folder.read_record()["spec"]
        self.settings: dict[str, Any] = files.read_json(folder.state_dir / "settings.json") or {}
        self.ownership = ownership
        self.umask = umask
        """What user code gets."""
        index = IndexWriter(folder.state_dir)
        self.chronicle = Chronicle(folder, index.status, ownership.generation)
        self.children = Children()
        self.children.close_in_children(*ownership.descriptors())
        folder.requests.mkdir(mode=0o700, exist_ok=True)
        self.watcher = Watcher.open()
        if self.watcher is not None:
            self.watcher.add(folder.requests)
            self.children.close_in_children(self.watcher.fileno())
        self.halting = False
        self._next_beat = monotonic() + BEAT_SECONDS
        self._seen_requests: set[str] = set()

    # The life

    def run(self) -> None:
        """Bring the training from wherever its folder says it is to its end."""
        while not self.chronicle.ended:
            attempt = self.attempt
            ending = self._ending(attempt)
            if ending is None:
                ending = self._load(attempt) or self._train(attempt)
                self._keep_ending(attempt, ending)
            if ending.kind == "lost" and attempt <= int(self.spec["max_retries"]):
                self._begin_next_attempt(ending)
            else:
                self._store(attempt, ending)

    @property
    def attempt(self) -> int:
        """The current attempt, from 1."""
        return self.chronicle.last.attempt if self.chronicle.last else 1

    def _ending(self, attempt: int) -> Ending | None:
        value = files.read_json(self.folder.attempt(attempt) / "ending.json")
        return Ending(**value) if value else None

    def _keep_ending(self, attempt: int, ending: Ending) -> None:
        path = self.folder.attempt(attempt) / "ending.json"
        while True:
            try:
                files.write_json(path, ending.to_json(), sync=True)
            except OSError as failure:
                print(f"{path} could not be written: {failure}", file=sys.stderr)  # noqa: T201
                self.pause(1.0)
            else:
                return

    def _load(self, attempt: int) -> Ending | None:
        """Bring code and data to their places; return an ending only where that fails."""
        if Learners(self, attempt).facts:
            return None  # the command has begun: how it ends is for ``_train`` to see
        self.folder.attempt(attempt).mkdir(parents=True, exist_ok=True)
        phases.prepare_job(self.folder, self.spec)
        if self._halt_wanted():
            return Ending("halt")
        if self.chronicle.last and self.chronicle.last.status is Status.PENDING:
            self._record(Status.DOWNLOADING)
        phases.set_state(self.folder, "DOWNLOADING")
        for step, work, code in (
            ("load-model", phases.load_model, "S301"),
            ("load-data", phases.load_data, "S302"),
        ):
            try:
                exit_code = self._step(step, work)
            except HaltWanted:
                return Ending("halt")
            if exit_code != 0:
                return Ending(code, exit_code, reason=phases.failure(self.folder, step))
        return None

    def _train(self, attempt: int) -> Ending:
        """Run the command on all learners until the gang's rules say that it ended."""
        learners = Learners(self, attempt)
        status = self.chronicle.last.status if self.chronicle.last else None
        if status is not Status.PROCESSING:
            self._record(Status.PROCESSING)
        phases.set_state(self.folder, "PROCESSING")
        self._reserve()
        learners.start_or_adopt()
        collector = learners.start_collector()
        _import_everything()
        stopping = self.folder.attempt(attempt) / "stopping.json"
        decided = files.read_json(stopping)
        # What an earlier supervisor decided stands: it may have ended the command already.
        ending = Ending(**decided) if decided else self._how_it_ended(learners)
        while ending is None:
            self.pause(learners.seconds_to_next_look())
            learners.look()
            collector = learners.keep_collector(collector)
            ending = self._how_it_ended(learners)
        if ending.kind in {"halt", "max_runtime"} and not decided:
            with contextlib.suppress(OSError):
                files.write_json(stopping, ending.to_json())
            self._announce_stop(ending)
        phases.set_state(
            self.folder,
            "LC_WAIT_ON_"
            + {"halt": "HALT", "exit0": "SUCCESS"}.get(
                "halt" if ending.kind == "halt" else f"{ending.kind}{ending.exit_code}", "FAILURE"
            ),
        )
        learners.stop_all(grace=float(self.spec["grace_seconds"]))
        learners.look()
        self._free_reserve()
        learners.finish_collector(collector)
        self._leave("lc.exit", "0")
        return ending

    def _reserve(self) -> None:
        """Take the room that the training's last records need, should it fill the disk."""
        with contextlib.suppress(OSError, AttributeError):
            descriptor = os.open(self._reserved, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
            finally:
                os.close(descriptor)

    def _free_reserve(self) -> None:
        self._reserved.unlink(missing_ok=True)

    @property
    def _reserved(self) -> Path:
        return self.folder.root / "reserved"

    def _leave(self, name: str, text: str) -> None:
        """Leave a file in the job directory, where the disk takes one."""
        with contextlib.suppress(OSError):
            files.write_whole(self.folder.job / name, f"{text}\n".encode(), mode=0o644)

    def _how_it_ended(self, learners: Learners) -> Ending | None:
        if self._halt_wanted():
            return Ending("halt")
        if learners.over_memory is not None:
            learner, reason = learners.over_memory
            return Ending("memory", 137, learner, reason)
        outcome = gang.outcome(
            learners.exits,
            learners=int(self.spec["learners"]),
            workers=self.spec["workers"],
            completion=self.spec["completion"],
        )
        if outcome is not None:
            return Ending("exit", outcome.exit_code, outcome.learner)
        if learners.lost is not None:
            learner, reason = learners.lost
            return Ending("lost", learner=learner, reason=reason)
        if learners.seconds_left() <= 0:
            return Ending("max_runtime")
        return None

    def _announce_stop(self, ending: Ending) -> None:
        grace = int(self.spec["grace_seconds"])
        detail: dict[str, Any] = {"halting": True, "grace_until": now_ms() + grace * 1000}
        if ending.kind == "max_runtime":
            detail["reason"] = f"It ran for its whole max_runtime ({self.spec['max_runtime']} s)"
            self.folder.note("max_runtime", detail["reason"])
        self._record(Status.PROCESSING, detail=detail)

    def _begin_next_attempt(self, ending: Ending) -> None:
        Learners(self, self.attempt).remove_leftovers()
        number = self.attempt + 1
        self.folder.note("attempt", f"{ending.reason}; attempt {number} begins", attempt=number)
        phases.forget_steps(self.folder)
        self._record(Status.PENDING, message="NORMAL_OPERATION", attempt=number)

    def _store(self, attempt: int, ending: Ending) -> None:
        """Store logs and results, then write the one terminal status."""
        began = self.folder.attempt(attempt) / "learner-1" / "training-log.txt"
        self._free_reserve()
        codes: dict[str, int] = {}
        stored = began.exists()
        if stored:
            if self.chronicle.last and self.chronicle.last.status is not Status.STORING:
                self._record(Status.STORING)
            phases.set_state(self.folder, "STORING_ON_" + _outcome_word(ending))
            self._leave("learner.exit", str(ending.exit_code))
            for step, work in (
                ("store-results", phases.store_results),
                ("store-logs", phases.store_logs),
            ):
                codes[step] = self._step(step, work, may_halt=False)
        self._finish(ending, next((c for c in codes.values() if c), 0))

    def _finish(self, ending: Ending, store_code: int) -> None:
        status, code, message = _terminal(ending, store_code)
        detail = self._verdict(ending, code, store_code)
        phases.clean_job(self.folder)
        phases.set_state(self.folder, status.value)
        Learners(self, self.attempt).remove_leftovers()
        self.folder.note("ended", detail.get("reason") or status.value.capitalize(), code=code)
        self._record(status, code=code, message=message, detail=detail)
        phases.set_state(self.folder, "FINAL")

    def _verdict(self, ending: Ending, code: str, store_code: int) -> dict[str, Any]:
        """Write ``verdict.json`` and return what the status carries of it (contract §2.4)."""
        from . import autopsy  # noqa: PLC0415  (not needed before the command runs)

        try:
            return autopsy.examine(self.folder, self.spec, self.attempt, ending, code, store_code)
        except Exception as failure:  # noqa: BLE001 (an end without its reason is still an end)
            print(f"No verdict: {failure!r}", file=sys.stderr)  # noqa: T201
            return {"exit_code": ending.exit_code} if ending.exit_code else {}

    # Steps

    def _step(self, step: str, work: Step, *, may_halt: bool = True) -> int:
        """Run one step of the contract §5.2 in a child; one that ended before is not run again."""
        done = files.read_json(self.folder.job / f"{step}.exit")
        if isinstance(done, int):
            return done
        phases.mark_start(self.folder, step)
        pid = self.children.fork(lambda: work(self.folder, self.spec), die_with_us=True)
        deadline = monotonic() + STORE_SECONDS
        while pid not in self.children.exits:
            self.pause(1.0)
            if (may_halt and self._halt_wanted()) or monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                while pid not in self.children.exits:
                    self.pause(1.0)
                if may_halt and self.halting:
                    raise HaltWanted
        code = self.children.exits.pop(pid)
        code = code if code >= 0 else 128 - code
        self._leave(f"{step}.exit", str(code))
        return code

    # Waiting, and what comes from outside

    def pause(self, seconds: float) -> None:
        """Sleep until something happens, at most ``seconds``; beat meanwhile."""
        until_beat = max(0.0, self._next_beat - monotonic())
        # Without inotify requests are looked for by time.
        longest = until_beat if self.watcher is not None else min(until_beat, 0.5)
        descriptors = [self.watcher.fileno()] if self.watcher is not None else []
        self.children.wait(min(seconds, longest), *descriptors)
        if self.watcher is not None:
            self.watcher.read()
        if monotonic() >= self._next_beat:
            # Before anything is done about what happened while we may have been frozen.
            if not self.ownership.still_mine():
                raise TakenOver
            self.ownership.beat()
            self._next_beat = monotonic() + BEAT_SECONDS
        self._look_at_requests()

    def _look_at_requests(self) -> None:
        try:
            names = sorted(os.listdir(self.folder.requests))
        except FileNotFoundError:
            return
        for name in names:
            if name in self._seen_requests or name.startswith("."):
                continue
            self._seen_requests.add(name)
            request = files.read_json(self.folder.requests / name) or {}
            if request.get("kind") == "halt" and not self.halting:
                self.halting = True
                by = request.get("by") or "you"
                self.folder.note("halt", f"Halt asked by {by}", by=by)
            elif request.get("kind") == "stacks":
                Learners(self, self.attempt).show_stacks()

    def _halt_wanted(self) -> bool:
        self._look_at_requests()
        if self.halting:
            with contextlib.suppress(OSError):
                (self.folder.job / "halt").touch()
        return self.halting

    def _record(
        self,
        status: Status,
        *,
        message: str = "",
        code: str = "000",
        attempt: int | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Record a status; on a full disk wait for room, since a status not on disk is none."""
        while True:
            if not self.ownership.still_mine():
                raise TakenOver
            try:
                self.chronicle.record(
                    status, message=message, code=code, attempt=attempt, detail=detail
                )
            except OSError as failure:
                print(f"{status.value} could not be written: {failure}", file=sys.stderr)  # noqa: T201
                self.pause(1.0)
            else:
                return


def _outcome_word(ending: Ending) -> str:
    if ending.kind == "halt":
        return "HALTED"
    return "SUCCESS" if ending.kind == "exit" and ending.exit_code == 0 else "FAILURE"


def _terminal(ending: Ending, store_code: int) -> tuple[Status, str, str]:
    """Return status, code and message (FfDL contract §4.2)."""
    if ending.kind in {"S301", "S302"}:
        return Status.FAILED, ending.kind, str(ending.exit_code)
    if ending.kind == "max_runtime":
        return Status.FAILED, "C104", "MAX_RUNTIME_EXCEEDED"
    if ending.kind == "lost":
        return Status.FAILED, "S104", "INTERNAL_ERROR"
    if ending.exit_code != 0 and ending.kind != "halt":
        return Status.FAILED, "C201", str(ending.exit_code)
    if store_code:
        return Status.FAILED, "S305" if ending.kind == "halt" else "S303", str(store_code)
    if ending.kind == "halt":
        return Status.HALTED, "000", ""
    return Status.COMPLETED, "000", ""


def _import_everything() -> None:
    """Load all modules of ours that are needed later, while the command runs."""
    from ...learner import collector  # noqa: F401, PLC0415  (one that dies is started again)
    from ...trainer import queue  # noqa: F401, PLC0415
    from . import autopsy  # noqa: F401, PLC0415


def _end(frozen: Process) -> None:
    """End an owner that was taken over: its collector, not frozen, would write beside ours."""
    deadline = monotonic() + 5.0
    while frozen.send(signal.SIGKILL) and monotonic() < deadline:
        time.sleep(0.01)


def supervise(path: Path, stale: str = "") -> int:
    """Own the training in ``path`` and bring it to its end; 0 also if somebody else owns it.

    ``stale``: the last sign of life of an owner that may be taken over.
    """
    folder = TrainingFolder(path)
    umask = os.umask(0o077)
    frozen = Observer().state(path).owner if stale else None
    ownership = Ownership.acquire(path, stale=stale)
    if ownership is None:
        return 0
    if frozen is not None and frozen.beat == stale:
        _end(frozen.process)
    with contextlib.suppress(TakenOver):
        Supervisor(folder, ownership, umask).run()
        ownership.release()
    from ...trainer import queue  # noqa: PLC0415

    queue.start_waiting(folder.state_dir)
    return 0


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(supervise(Path(sys.argv[1]), *sys.argv[2:3]))
