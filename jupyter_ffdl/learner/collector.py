"""The process that turns what the learners of one attempt write into records.

It indexes log lines by time, copies user logs, and runs the training's extractor. It may be killed
at any moment: outputs only grow by whole lines and rows, ``collector.json`` says how far the inputs
had been read when they had which size, and what was written after that is recognised when it is
read again. Standard library (and TensorBoard's protos, once there is an event file).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_ffdl import files
from jupyter_ffdl.trainingdata.record import Record
from jupyter_ffdl.watch import IN_MODIFY, Watcher

from .extraction import Surroundings, inherited, make_extractor
from .lineindex import LineIndex, last_line_time
from .logdir import LOG_NAMES, Input, Places, TextFiles
from .outputs import Outputs, Stamps, last_record_time
from .reports import Reports
from .userlogs import UserLog

FORMAT = 1
_LOOK_SECONDS = 1.0
_ROUND_SECONDS = 0.05
"""A log that is written without pause is looked at this often: 20 wakes a second at most."""
_CHECKPOINT_SECONDS = 1.0
_CHECKPOINT_SHARE = 20
_FULL_DISK_SECONDS = 10.0


class Collector:
    """Collects for all learners of one attempt; one process at a time.

    ``folder`` is the training folder, ``spec`` the LearnerSpec in its ``training.json``. ``clock``
    gives epoch seconds, ``monotonic`` seconds that never jump.
    """

    def __init__(
        self,
        folder: Path,
        attempt: int,
        spec: Mapping[str, Any],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempt_dir = folder / "attempts" / str(attempt)
        self._spec = spec
        self._clock = clock
        self._monotonic = monotonic
        self._places = Places.of(folder, spec)
        self._state_path = self._attempt_dir / "collector.json"
        self._learners = range(1, int(spec.get("learners", 1)) + 1)
        self._watcher = Watcher.open()
        self._changed = True
        self._next_checkpoint = 0.0
        self._next_look = 0.0

        saved = _sound(files.read_json(self._state_path))
        before = _sound(files.read_json(folder / "attempts" / str(attempt - 1) / "collector.json"))
        # Before anything gets a time: those of all logs and attempts are one ascending sequence.
        learner_dirs = list(folder.glob("attempts/*/learner-*"))
        self._line_stamps = Stamps(max(map(last_line_time, learner_dirs), default=0))
        self._record_stamps = Stamps(max(map(last_record_time, learner_dirs), default=0))
        self._open_outputs(saved)
        self._open_logs(saved, before)
        self._make_extractor(saved, before)

    # One round

    def collect_once(self, *, final: bool = False) -> bool:
        """Read what is new and write what follows from it; whether more can be read at once."""
        self._notice()
        if not self._flush():
            return False
        now = int(self._clock() * 1000)
        more = False
        for index in self._indexes:
            more |= index.collect(now, final=final)
        more |= self._collect_user_logs(now, final=final)
        if self._extractor is not None:
            records, behind = self._extractor.collect(final=final)
            more |= behind
            self._write(records, int(self._clock() * 1000))
        self._changed |= more
        self._checkpoint()
        return more

    def finish(self) -> bool:
        """Read everything to its end, an open last line and step included.

        Returns False where a full disk did not take all of it for ten seconds.
        """
        deadline = self._monotonic() + _FULL_DISK_SECONDS
        if self._tree is not None:
            self._tree.look(everything=True)
        self._next_look = 0.0
        while True:
            while self.collect_once():
                continue
            while self.collect_once(final=True):
                continue
            if not self._waiting and self._checkpoint(finished=True):
                return True
            if self._monotonic() >= deadline:
                return False
            time.sleep(0.1)

    def run(self, stop: int | Callable[[], bool] | None = None) -> int:
        """Collect until SIGTERM, or until ``stop`` says so; then ``finish``.

        ``stop`` is a descriptor that becomes readable, or a function asked before each round.
        Returns the exit code for the process: 0, or 75 (try again) where the disk is full to the
        end. Call it in the main thread of a process of its own.
        """
        waker, wake = os.pipe()
        os.set_blocking(wake, False)
        stopping = False

        def ask_to_stop(_number: int, _frame: Any) -> None:
            nonlocal stopping
            stopping = True
            with contextlib.suppress(BlockingIOError):
                os.write(wake, b".")

        signal.signal(signal.SIGTERM, ask_to_stop)
        # Whoever forked us may have held it back until here: it would have killed us.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        poll = select.poll()
        for descriptor in self._descriptors(waker, stop):
            poll.register(descriptor, select.POLLIN)
        # Asked before each round: it may raise where another has taken over while we were frozen.
        while not (stopping or (callable(stop) and stop())):
            started = self._monotonic()
            if not self.collect_once():
                ready = poll.poll(self._pause() * 1000)
                stopping |= any(descriptor == stop for descriptor, _ in ready)
                rest = _ROUND_SECONDS - (self._monotonic() - started)
                if rest > 0 and not stopping:
                    time.sleep(rest)
        return 0 if self.finish() else 75

    def close(self) -> None:
        """Give all descriptors back, writing nothing."""
        for index in self._indexes:
            index.close()
        for log in self._user_logs.values():
            log.close()
        for output in self._outputs.values():
            output.close()
        if self._watcher is not None:
            self._watcher.close()

    @property
    def _waiting(self) -> bool:
        """Whether a full disk has refused something that is in memory still."""
        return (
            any(output.waiting for output in self._outputs.values())
            or any(index.waiting for index in self._indexes)
            or any(log.waiting for log in self._user_logs.values())
        )

    def _descriptors(self, waker: int, stop: int | Callable[[], bool] | None) -> Iterator[int]:
        yield waker
        if isinstance(stop, int):
            yield stop
        if self._watcher is not None:
            yield self._watcher.fileno()

    def _pause(self) -> float:
        """Return how long to wait for inotify: a look by time is due every second."""
        due = self._extractor.due_in() if self._extractor is not None else None
        return _LOOK_SECONDS if due is None else min(_LOOK_SECONDS, due + 0.001)

    def _notice(self) -> None:
        changes = self._watcher.read() if self._watcher is not None else []
        if changes:
            self._changed = True
        for index in self._indexes:
            self._watch(index.log)
        if self._tree is not None:
            self._tree.notice(changes)
            self._tree.look()

    def _watch(self, path: Path) -> None:
        if self._watcher is not None and not self._watcher.watches(path):
            self._watcher.add(path, IN_MODIFY)

    # Set-up

    def _open_outputs(self, saved: Mapping[str, Any] | None) -> None:
        self._outputs: dict[int, Outputs] = {}
        by_learner = (saved or {}).get("outputs", {})
        for learner in self._learners:
            directory = self._attempt_dir / f"learner-{learner}"
            output = Outputs(directory, self._spec["training_id"], by_learner.get(str(learner)))
            self._outputs[learner] = output

    def _open_logs(self, saved: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> None:
        self._indexes: list[LineIndex] = []
        for learner in self._learners:
            directory = self._attempt_dir / f"learner-{learner}"
            log = directory / LOG_NAMES[0]
            self._indexes.append(LineIndex(log, directory / "lines.idx", self._line_stamps))
        self._user_logs: dict[Path, UserLog] = {}
        self._user_files = TextFiles(
            self._places.logs, LOG_NAMES, len(self._learners), self._attempt_dir.parent
        )
        self._saved_user_logs = (saved or {}).get("user_logs", {})
        self._user_logs_before = (before or {}).get("user_logs", {})

    def _make_extractor(
        self, saved: Mapping[str, Any] | None, before: Mapping[str, Any] | None
    ) -> None:
        outputs = self._outputs.values()
        written = [record for output in outputs for record in output.after_saved]
        lost = any(output.lost for output in outputs)
        state = None if saved is None or lost else saved.get("extractor")
        around = Surroundings(
            self._places,
            self._spec,
            self._logs,
            self._watcher,
            Reports(self._attempt_dir / "reports.jsonl", self._clock).add,
            self._monotonic,
        )
        self._extractor, self._tree = make_extractor(around, state or inherited(before), written)

    def _logs(self) -> list[Input]:
        own = [
            Input(index.log, f"learner-{learner}" if learner > 1 else "", learner)
            for learner, index in zip(self._learners, self._indexes, strict=True)
        ]
        return [*own, *(log.copy for log in self._user_logs.values())]

    # Parts of a round

    def _collect_user_logs(self, now: int, *, final: bool) -> bool:
        if self._monotonic() >= self._next_look or final:
            self._next_look = self._monotonic() + _LOOK_SECONDS
            for found in self._user_files.look():
                if found.path not in self._user_logs:
                    self._open_user_log(found)
        more = False
        for log in self._user_logs.values():
            more |= log.collect(now, final=final)
        return more

    def _open_user_log(self, found: Input) -> None:
        key = str(found.path)
        self._user_logs[found.path] = UserLog(
            found,
            self._attempt_dir / f"learner-{found.learner}",
            self._line_stamps,
            saved=self._saved_user_logs.get(key),
            before=self._user_logs_before.get(key),
        )
        self._watch(found.path)

    def _write(self, records: Iterable[Record], now: int) -> None:
        by_learner: dict[int, list[Record]] = {}
        for record in records:
            by_learner.setdefault(record.learner, []).append(record)
        for learner, found in by_learner.items():
            self._outputs[learner].add(found, now, self._record_stamps)
            self._outputs[learner].flush()
            self._changed = True

    def _flush(self) -> bool:
        done = [output.flush() for output in self._outputs.values()]
        return all(done)

    def _checkpoint(self, *, finished: bool = False) -> bool:
        """Write down how far we are, at most once a second; whether that succeeded."""
        started = self._monotonic()
        if not finished and (not self._changed or started < self._next_checkpoint):
            return True
        if not self._flush() or (self._extractor is not None and self._extractor.catching_up):
            return False
        state: dict[str, Any] = {
            "format": FORMAT,
            "finished": finished,
            "outputs": {str(n): output.state() for n, output in self._outputs.items()},
            "user_logs": {str(path): log.state() for path, log in self._user_logs.items()},
            "extractor": self._extractor.state() if self._extractor is not None else None,
        }
        try:
            files.write_json(self._state_path, state)
        except OSError:
            return False
        finally:
            took = self._monotonic() - started
            self._next_checkpoint = started + max(_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * took)
        self._changed = False
        return True


def _sound(state: Any) -> Mapping[str, Any] | None:
    return state if isinstance(state, dict) and state.get("format") == FORMAT else None
