"""What was seen of one learner's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

KilledBy = Literal["memory", "halt", "max_runtime", "gang"]
Step = Literal["load-model", "load-data", "learner", "store-results", "store-logs"]


@dataclass(frozen=True)
class Frame:
    """One line of a traceback; ``user``: somebody wrote it for this training."""

    file: str
    line: int
    name: str = ""
    text: str = ""
    user: bool = False


@dataclass(frozen=True)
class Link:
    """An exception that led to another one (``cause``, ``context``), or a member of a group."""

    relation: str
    type: str
    message: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Failure:
    """An exception that nobody caught, from the hook's record or from the log.

    ``type`` is qualified except for builtins; ``frames`` have the innermost last; ``shapes`` are
    the names on the failing line with type, dtype, shape and length.
    """

    type: str
    message: str = ""
    frames: Sequence[Frame] = ()
    chain: Sequence[Link] = ()
    shapes: Sequence[Mapping[str, Any]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "main"
    time: int = 0
    pid: int = 0

    @property
    def short_type(self) -> str:
        """The type's name as a traceback's reader knows it."""
        return self.type.rpartition(".")[2]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Failure | None:
        """Return the failure that the hook wrote down, or None where it is not one."""
        try:
            return cls(
                type=str(record["type"]),
                message=str(record.get("message", "")),
                frames=tuple(_frame(value) for value in record.get("frames", ())),
                chain=tuple(_link(value) for value in record.get("chain", ())),
                shapes=tuple(dict(value) for value in record.get("shapes", ())),
                details=dict(record.get("details", {})),
                kind=str(record.get("kind", "main")),
                time=int(record.get("time", 0)),
                pid=int(record.get("pid", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _frame(value: Mapping[str, Any]) -> Frame:
    return Frame(
        file=str(value["file"]),
        line=int(value["line"]),
        name=str(value.get("name", "")),
        text=str(value.get("text", "")),
        user=bool(value.get("user", False)),
    )


def _link(value: Mapping[str, Any]) -> Link:
    return Link(
        relation=str(value.get("relation", "context")),
        type=str(value["type"]),
        message=str(value.get("message", "")),
        file=str(value.get("file", "")),
        line=int(value.get("line", 0)),
    )


def _nothing(_: str) -> None:
    return None


def _nowhere(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Observation:
    """What is known about one learner that ended, each part only if it was seen.

    ``exit_code``: the command's, 128 + n for signal n (as bash says it) or -n (as Python does).
    ``signal``: the number of the signal that ended the command itself, if one did.
    ``killed_by``: who of us ended it. ``failed_learner``: the learner that made us (``gang``).
    ``step``: the step that ended it; anything but ``learner`` failed with ``exit_code``.
    ``exceptions``: the hook's records, in any order. ``hooked``: the hook ran (``pids/`` exists).
    ``faults``: content of the hook's ``faults.txt``. ``log_tail``: the last 64 KiB of the log.
    ``source_map``: file in MODEL_DIR → cell ``{cell_id, execution_count, notebook, first_line,
    index?}``, or a list of such where a file holds several cells. ``model_dir``: MODEL_DIR as the
    learner saw it. ``source``: text of a file in MODEL_DIR. ``beside``: whether a path exists
    beside the notebook. ``lost``: in words, why nobody saw the end. ``nan``: tag and step of the
    first NaN among the scalars. ``ended``: epoch milliseconds.
    """

    exit_code: int | None = None
    signal: int | None = None
    killed_by: KilledBy | None = None
    failed_learner: int | None = None
    step: Step = "learner"
    memory_limit_bytes: int | None = None
    peak_memory_bytes: int | None = None
    max_runtime_seconds: float | None = None
    exceptions: Sequence[Mapping[str, Any]] = ()
    hooked: bool = False
    faults: str = ""
    log_tail: bytes = b""
    learner: int = 1
    learners: int = 1
    attempt: int = 1
    source_map: Mapping[str, Any] = field(default_factory=dict)
    model_dir: str = ""
    source: Callable[[str], str | None] = _nothing
    beside: Callable[[str], bool] = _nowhere
    disk_full: bool = False
    lost: str | None = None
    halted_by: str = ""
    notebook: bool = False
    nan: tuple[str, int] | None = None
    ended: int = 0
    final: bool = True
