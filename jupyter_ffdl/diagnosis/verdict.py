"""The verdict: what happened, where, and what to do about it (docs/how-it-works.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..training import FORMAT


@dataclass(frozen=True)
class Cell:
    """The notebook cell that a line came from."""

    id: str = ""
    execution_count: int | None = None
    index: int | None = None
    notebook: str = ""

    def __str__(self) -> str:
        if self.execution_count is not None:
            return f"Cell [{self.execution_count}]"
        return "the cell" if self.index is None else f"cell {self.index + 1}"


@dataclass(frozen=True)
class Where:
    """The line that failed: in the cell if there is one, else in the file."""

    learner: int = 1
    attempt: int = 1
    file: str = ""
    line: int = 0
    cell: Cell | None = None
    function: str = ""

    def __str__(self) -> str:
        if not self.file:
            return ""
        return f"{self.cell or self.file}, line {self.line}"


@dataclass(frozen=True)
class SourceLine:
    """One line around the failing one; ``line`` counts as ``Where.line`` does."""

    line: int
    text: str
    failing: bool = False


@dataclass(frozen=True)
class Remedy:
    """What to do; with ``option`` and ``value`` a form can be prefilled."""

    text: str
    option: str = ""
    value: str = ""


@dataclass(frozen=True)
class Verdict:
    """Why a training ended.

    ``code``: FfDL's (contract §4.3). ``cause``: one word for programs. ``sentence``: for people,
    without a full stop. ``traceback``: frames, innermost last; those of libraries are ``folded``.
    ``evidence``: exit code, signal, last lines of the log.
    """

    code: str
    cause: str
    sentence: str
    where: Where = Where()
    source: Sequence[SourceLine] = ()
    shapes: Sequence[Mapping[str, Any]] = ()
    remedy: Remedy | None = None
    traceback: Sequence[Mapping[str, Any]] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    final: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as ``verdict.json`` and the API carry it."""
        where = self.where
        cell = where.cell
        return {
            "format": FORMAT,
            "code": self.code,
            "cause": self.cause,
            "sentence": self.sentence,
            "where": {
                "learner": where.learner,
                "attempt": where.attempt,
                "file": where.file or None,
                "line": where.line or None,
                "cell": None if cell is None else dict(vars(cell)),
                "function": where.function or None,
            },
            "source": [dict(vars(line)) for line in self.source],
            "shapes": [dict(shape) for shape in self.shapes],
            "remedy": None
            if self.remedy is None
            else {key: value for key, value in vars(self.remedy).items() if value},
            "traceback": [dict(frame) for frame in self.traceback],
            "evidence": dict(self.evidence),
            "final": self.final,
        }
