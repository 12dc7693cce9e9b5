"""Records that user code writes itself, line by line (FfDL contract §6.5)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyter_ffdl.learner.logdir import Input
from jupyter_ffdl.trainingdata.record import (
    FLOAT,
    INT,
    JSONSTRING,
    STRING,
    TYPE_NAMES,
    Record,
    number,
    number_text,
    typed,
)

from .follow import READ_BYTES, LineFile
from .regex import record_key
from .written import Written


class BadLineError(Exception):
    """A line is no record; the text says why."""


class EmetricsExtractor:
    """Reads the files that ``inputs`` names.

    ``state``, ``written`` and ``report`` are as for ``TensorBoardExtractor``.
    """

    def __init__(
        self,
        inputs: Callable[[], Iterable[Input]],
        *,
        state: Mapping[str, Any] | None = None,
        written: Iterable[Mapping[str, Any]] = (),
        report: Callable[[str, str], None] = lambda _path, _text: None,
    ) -> None:
        self._inputs = inputs
        self._report = report
        self._written = Written(map(record_key, written))
        self._files = {
            path: LineFile.from_state(Path(path), saved)
            for path, saved in (state or {}).get("files", {}).items()
        }

    def collect(self, *, final: bool = False) -> tuple[list[Record], bool]:
        """Return the records in what is new, and whether more can be read at once."""
        found: list[Record] = []
        more = False
        for item in self._inputs():
            file = self._files.setdefault(str(item.path), LineFile(item.path))
            lines = file.read(final=final)
            for line_number, line in enumerate(lines, start=file.number - len(lines) + 1):
                if not line.strip():
                    continue
                try:
                    record = record_of(line, item)
                except BadLineError as bad:
                    self._report(str(item.path), f"Line {line_number} is not used: {bad}")
                else:
                    if not self._is_written(record):
                        found.append(record)
            more |= file.behind
        if not more:
            self._written.forget()
        return found, more

    @property
    def catching_up(self) -> bool:
        """Whether what a killed process wrote has not all been found again."""
        return bool(self._written)

    def due_in(self) -> float | None:
        """Return None: a record is complete with its line."""
        return None

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs, as plain JSON."""
        return {"files": {path: file.state() for path, file in self._files.items()}}

    def _is_written(self, record: Record) -> bool:
        return bool(self._written) and self._written.take(record_key(record.to_json("", 0, 0)))


def record_of(line: bytes, found_in: Input) -> Record:
    """Return the record in a user's line; raises BadLineError.

    Needed are ``etimes``, ``values`` and ``grouplabel``; values may be strings or numbers, types
    numbers or names, or left out.
    """
    if len(line) >= READ_BYTES:
        raise BadLineError(f"it is longer than {READ_BYTES} bytes")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise BadLineError("it is no JSON") from e
    if not isinstance(value, dict):
        raise BadLineError("it is no JSON object")
    if b"\\ud" in line.lower():
        # Half a surrogate pair is JSON to Python, and to nobody who reads our records.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    label = value.get("grouplabel")
    if not isinstance(label, str):
        raise BadLineError("grouplabel is missing or no string")
    meta = value.get("meta")
    subid = meta.get("subid") if isinstance(meta, dict) else None
    return Record(
        etimes=_entries(value, "etimes"),
        grouplabel=label,
        values=_entries(value, "values"),
        source=label,
        subid=subid if isinstance(subid, str) and subid else found_in.subid,
        learner=found_in.learner,
    )


def _entries(record: Mapping[str, Any], part: str) -> dict[str, dict[str, Any]]:
    entries = record.get(part)
    if not isinstance(entries, dict):
        raise BadLineError(f"{part} is missing or no object")
    return {name: _entry(f"{part}.{name}", entry) for name, entry in entries.items()}


def _entry(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        entry = {"value": entry}
    if "value" not in entry:
        raise BadLineError(f"{name} has no value")
    value = entry["value"]
    kind = _kind(name, entry["type"]) if entry.get("type") is not None else _kind_of(value)
    text = _text(value)
    if kind in {INT, FLOAT}:
        parsed = number(text)
        if parsed is None:
            raise BadLineError(f"{name} is no number")
        if not math.isfinite(parsed):
            text = number_text(parsed)
    return typed(kind, text)


def _kind(name: str, given: Any) -> int:
    if isinstance(given, str) and given.upper() in TYPE_NAMES:
        return TYPE_NAMES.index(given.upper())
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(TYPE_NAMES):
        return given
    raise BadLineError(f"{name} has an unknown type")


def _kind_of(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return JSONSTRING
    return STRING if isinstance(value, str) else INT if isinstance(value, int) else FLOAT


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return number_text(value) if isinstance(value, float) else json.dumps(value)
