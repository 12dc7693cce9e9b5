"""The training folder: where one training keeps everything it is.

Whoever looks at the folder sees the truth, whether or not anything of ours runs. Each file has one
writer at a time (``docs/how-it-works.md`` has the table); standard library only, because the
supervisor starts with nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files
from .training import Status, StatusLine, history, may_follow


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class TrainingFolder:
    """Paths and records of one training."""

    root: Path

    @property
    def training_id(self) -> str:
        """The id is the folder's name."""
        return self.root.name

    @property
    def state_dir(self) -> Path:
        """The state directory that holds this folder."""
        return self.root.parent.parent

    @property
    def manifest(self) -> Path:
        """The manifest exactly as it was submitted."""
        return self.root / "manifest.yml"

    @property
    def code(self) -> Path:
        """The code exactly as it was submitted."""
        return self.root / "model.zip"

    @property
    def origin(self) -> Path:
        """Where the training came from: notebook, cell, source map, git, parent."""
        return self.root / "origin.json"

    @property
    def record(self) -> Path:
        """What the trainer wrote once at submission."""
        return self.root / "training.json"

    @property
    def flags(self) -> Path:
        """What people set later: archived."""
        return self.root / "flags.json"

    @property
    def environment(self) -> Path:
        """The environment that user code starts from (0600)."""
        return self.root / "environment.json"

    @property
    def secrets(self) -> Path:
        """Secrets for user code (0600)."""
        return self.root / "secrets.json"

    @property
    def status(self) -> Path:
        """Append-only; the last line that counts is the status."""
        return self.root / "status.jsonl"

    @property
    def events(self) -> Path:
        """The timeline for people."""
        return self.root / "events.jsonl"

    @property
    def verdict(self) -> Path:
        """Why the training ended."""
        return self.root / "verdict.json"

    @property
    def requests(self) -> Path:
        """What others want of the owner: halt, stacks."""
        return self.root / "requests"

    @property
    def job(self) -> Path:
        """``JOB_STATE_DIR`` (FfDL contract §5.2)."""
        return self.root / "job"

    @property
    def model_code(self) -> Path:
        """``MODEL_DIR``."""
        return self.job / "model-code"

    @property
    def logs(self) -> Path:
        """``LOG_DIR``."""
        return self.job / "logs"

    @property
    def results(self) -> Path:
        """``RESULT_DIR`` where the manifest names no results store."""
        return self.root / "results"

    @property
    def hook(self) -> Path:
        """Directory of the interpreter hook, first on ``PYTHONPATH``."""
        return self.root / "hook"

    def attempt(self, attempt: int) -> Path:
        """Return the directory of one attempt."""
        return self.root / "attempts" / str(attempt)

    def learner(self, attempt: int, learner: int) -> Path:
        """Return the directory of one learner of one attempt."""
        return self.attempt(attempt) / f"learner-{learner}"

    def log(self, attempt: int, learner: int) -> Path:
        """Return the only copy of a learner's log that readers follow."""
        return self.learner(attempt, learner) / "training-log.txt"

    def attempts(self) -> list[int]:
        """Return the attempts that have begun, in order."""
        try:
            names = os.listdir(self.root / "attempts")
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdigit())

    def read_record(self) -> dict[str, Any]:
        """Return ``training.json``; raises FileNotFoundError where the training is gone."""
        record: dict[str, Any] = json.loads(self.record.read_bytes())
        return record

    def history(self) -> list[StatusLine]:
        """Return the statuses that count, oldest first."""
        return history(files.read_lines(self.status)[0])

    def note(self, kind: str, text: str, **detail: Any) -> None:
        """Append to the timeline; a full disk loses the note, never the training."""
        event = {"time": now_ms(), "kind": kind, "text": text}
        if detail:
            event["detail"] = detail
        try:
            files.append_line(self.events, event)
        except OSError:
            return

    def request(self, kind: str, **detail: Any) -> str:
        """Leave a request for the owner and return its id."""
        self.requests.mkdir(mode=0o700, exist_ok=True)
        request_id = f"{now_ms()}-{kind}-{os.urandom(3).hex()}"
        files.write_json(self.requests / f"{request_id}.json", {"kind": kind, **detail})
        return request_id


@dataclass
class Chronicle:
    """The one writer of a training's status: its current owner.

    Every change stands in the folder (fsynced) before it is announced in the index, so a crash
    between the two leaves an index that is behind, never one that is ahead.
    """

    folder: TrainingFolder
    announce: Callable[[str, StatusLine], None]
    """Called with id and line once the line is on disk."""
    generation: int = 0
    """The owner's; at least that of the last line."""
    last: StatusLine | None = None

    def __post_init__(self) -> None:
        lines = self.folder.history()
        self.last = lines[-1] if lines else None
        if self.last is not None:
            self.generation = max(self.generation, self.last.generation)

    @property
    def ended(self) -> bool:
        """Whether the training has a terminal status."""
        return self.last is not None and self.last.status.terminal

    def record(
        self,
        status: Status,
        *,
        message: str = "",
        code: str = "000",
        attempt: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append a status if the table allows it, and say whether it did.

        A disk that takes no line raises OSError: the caller tries again, since a status that is
        not on disk has not happened.
        """
        before = self.last
        number = attempt or (before.attempt if before else 1)
        if not may_follow(
            before.status if before else None,
            status,
            next_attempt=before is not None and number > before.attempt,
        ):
            return False
        line = StatusLine(
            status=status,
            timestamp=max(now_ms(), before.timestamp + 1 if before else 0),
            status_message=message,
            error_code=code,
            generation=self.generation,
            attempt=number,
            detail=detail or {},
        )
        files.append_line(self.folder.status, line.to_json(), sync=True)
        self.last = line
        self.announce(self.folder.training_id, line)
        return True
