"""A training's statuses, THE table of allowed transitions, and FfDL's codes.

Pure: values in, values out. Nothing else in this package may decide a transition
(FfDL contract §4.1–4.3).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

FORMAT = 1
"""Version of every record we write; a newer one is shown, never changed."""

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{9,128}")


class Status(str, Enum):
    """Where a training is (FfDL contract §4.1)."""

    NOT_STARTED = "NOT_STARTED"
    QUEUED = "QUEUED"
    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    PROCESSING = "PROCESSING"
    STORING = "STORING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    HALTED = "HALTED"

    @property
    def terminal(self) -> bool:
        """Whether the training has ended: such a status never changes again."""
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.HALTED})

LABELS: Mapping[Status, str] = {
    Status.NOT_STARTED: "Queued",
    Status.QUEUED: "Queued",
    Status.PENDING: "Starting",
    Status.DOWNLOADING: "Starting: loading code and data",
    Status.PROCESSING: "Running",
    Status.STORING: "Saving results",
    Status.COMPLETED: "Completed",
    Status.FAILED: "Failed",
    Status.HALTED: "Halted",
}
"""The one map from statuses to words; a failure is shown by its sentence instead."""

_S = Status
_ENDS_FROM = frozenset(
    {_S.STORING, _S.PROCESSING, _S.DOWNLOADING, _S.PENDING, _S.NOT_STARTED},
)
ALLOWED_FROM: Mapping[Status, frozenset[Status | None]] = {
    _S.NOT_STARTED: frozenset({None}),
    _S.QUEUED: frozenset({None, _S.NOT_STARTED, _S.PENDING}),
    _S.PENDING: frozenset({None, _S.NOT_STARTED, _S.QUEUED}),
    _S.DOWNLOADING: frozenset({_S.PENDING, _S.NOT_STARTED}),
    _S.PROCESSING: frozenset({_S.PROCESSING, _S.DOWNLOADING, _S.PENDING}),
    _S.STORING: frozenset({_S.PROCESSING, _S.DOWNLOADING, _S.PENDING, _S.NOT_STARTED}),
    _S.COMPLETED: _ENDS_FROM,
    _S.FAILED: _ENDS_FROM | {_S.QUEUED},
    _S.HALTED: _ENDS_FROM | {_S.QUEUED},
}
_NEXT_ATTEMPT_FROM = frozenset({_S.DOWNLOADING, _S.PROCESSING, _S.STORING})


def may_follow(before: Status | None, after: Status, *, next_attempt: bool = False) -> bool:
    """Whether ``after`` may follow ``before`` (None: a new training).

    ``next_attempt``: the training starts over, the only way back to PENDING.
    """
    if next_attempt and after is Status.PENDING and before in _NEXT_ATTEMPT_FROM:
        return True
    return before in ALLOWED_FROM[after]


NORMAL = "000"
CODES: Mapping[str, str] = {
    "000": "normal operation",
    "S100": "insufficient resources",
    "S101": "deployment failed",
    "S103": "image pull failed",
    "S104": "learner lost",
    "S200": "no connection to Kubernetes",
    "S210": "could not be queued",
    "S211": "could not be taken from the queue",
    "S301": "loading the code failed",
    "S302": "loading the data failed",
    "S303": "storing the results failed",
    "S305": "storing the results after a halt failed",
    "C101": "manifest",
    "C102": "code zip",
    "C103": "credentials or bucket",
    "C104": "resources",
    "C201": "learner process failed",
}


@dataclass(frozen=True)
class StatusLine:
    """One line of ``status.jsonl``: a change of status, or of what is known about it.

    ``timestamp`` is epoch milliseconds. ``generation`` is the owner's: once a line of a newer
    generation stands in the file, later lines of an older one count for nothing (their writer was
    frozen while another took over). ``detail`` holds the additive fields of the contract §2.4
    (``exit_code``, ``signal``, ``oom_killed``, ``reason``, ``halting``, …).
    """

    status: Status
    timestamp: int
    status_message: str = ""
    error_code: str = NORMAL
    generation: int = 0
    attempt: int = 1
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the line as it is written."""
        return {
            "format": FORMAT,
            "status": self.status.value,
            "timestamp": self.timestamp,
            "status_message": self.status_message,
            "error_code": self.error_code,
            "generation": self.generation,
            "attempt": self.attempt,
            **({"detail": dict(self.detail)} if self.detail else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StatusLine | None:
        """Return the line, or None where it is not one."""
        try:
            return cls(
                status=Status(value["status"]),
                timestamp=int(value["timestamp"]),
                status_message=str(value.get("status_message", "")),
                error_code=str(value.get("error_code", NORMAL)),
                generation=int(value.get("generation", 0)),
                attempt=int(value.get("attempt", 1)),
                detail=dict(value.get("detail", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def history(lines: Iterable[Mapping[str, Any]]) -> list[StatusLine]:
    """Return the lines that count, oldest first.

    Dropped are lines of an older generation than one before them, transitions that the table
    does not allow, and everything after a terminal status: terminal is absorbing.
    """
    counted: list[StatusLine] = []
    for value in lines:
        line = StatusLine.from_json(value)
        if line is None:
            continue
        last = counted[-1] if counted else None
        if last is None:
            counted.append(line)
        elif line.generation >= last.generation and may_follow(
            last.status, line.status, next_attempt=line.attempt > last.attempt
        ):
            counted.append(line)
    return counted


def new_id() -> str:
    """Return an id that nobody can guess, valid as label and on case-blind disks (§2.3)."""
    return "training-" + "".join(secrets.choice(ID_ALPHABET) for _ in range(12))


def valid_id(text: str) -> bool:
    """Whether ``text`` could be a training's id (§2.3)."""
    return ID_PATTERN.fullmatch(text) is not None
