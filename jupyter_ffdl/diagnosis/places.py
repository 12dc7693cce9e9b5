"""From a line of a file in MODEL_DIR to the notebook cell that a person wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .observation import Failure, Frame, Observation
from .verdict import Cell, SourceLine, Where

AROUND = 2
"""Source lines shown on each side of the failing one."""

_LIBRARY = re.compile(r"/(?:site-packages|dist-packages|lib(?:64)?/python\d[\d.]*t?|bin)/")


def relative(file: str, seen: Observation) -> str:
    """Return ``file`` as a path in MODEL_DIR where it lies there, else unchanged."""
    for folder in (seen.model_dir.rstrip("/"), "/job/model-code"):
        if folder and file.startswith(folder + "/"):
            return file[len(folder) + 1 :]
    # MODEL_DIR may hold links: Python then shows another path to the same file.
    _, found, tail = file.rpartition("/model-code/")
    if found and (tail in seen.source_map or seen.source(tail) is not None):
        return tail
    return file


def is_user(frame: Frame, seen: Observation) -> bool:
    """Whether a person wrote this line for this training."""
    if frame.file.startswith("<"):
        return False
    if frame.user or relative(frame.file, seen) != frame.file or not frame.file.startswith("/"):
        return True
    return not _LIBRARY.search(frame.file)


def failing_frame(failure: Failure, seen: Observation) -> Frame | None:
    """Return the innermost frame of the user's, else the innermost that a file stands behind."""
    mine = [frame for frame in failure.frames if is_user(frame, seen)]
    real = [frame for frame in failure.frames if not frame.file.startswith("<")]
    for frames in (mine, real):
        if frames:
            return frames[-1]
    return None


def where(frame: Frame | None, seen: Observation) -> Where:
    """Return the place that ``frame`` points to, in its cell if it came from one."""
    if frame is None:
        return Where(learner=seen.learner, attempt=seen.attempt)
    file = relative(frame.file, seen)
    cell, first = _cell(file, frame.line, seen)
    return Where(
        learner=seen.learner,
        attempt=seen.attempt,
        file=file,
        line=frame.line - first + 1,
        cell=cell,
        function="" if frame.name in ("", "<module>") else frame.name,
    )


def source(frame: Frame | None, seen: Observation) -> list[SourceLine]:
    """Return the failing line and its neighbours, numbered as ``where`` numbers them."""
    if frame is None:
        return []
    file = relative(frame.file, seen)
    _, first = _cell(file, frame.line, seen)
    text = seen.source(file)
    if text is None:
        if not frame.text:
            return []
        return [SourceLine(frame.line - first + 1, frame.text, failing=True)]
    lines = text.splitlines()
    begin, end = max(first, frame.line - AROUND), min(len(lines), frame.line + AROUND)
    return [
        SourceLine(number - first + 1, lines[number - 1], failing=number == frame.line)
        for number in range(begin, end + 1)
    ]


def traceback(failure: Failure, seen: Observation) -> list[dict[str, Any]]:
    """Return the frames for the failure card: the user's open, libraries' folded."""
    shown = []
    for frame in failure.frames:
        place = where(frame, seen)
        shown.append(
            {
                "file": place.file,
                "line": place.line,
                "cell": None if place.cell is None else dict(vars(place.cell)),
                "function": frame.name,
                "text": frame.text,
                "folded": not is_user(frame, seen),
            }
        )
    return shown


def _cell(file: str, line: int, seen: Observation) -> tuple[Cell | None, int]:
    """Return the cell that ``line`` belongs to and the line of the file where it begins."""
    found = seen.source_map.get(file)
    entries = found if isinstance(found, list) else [found]
    before = [
        entry
        for entry in entries
        if isinstance(entry, Mapping) and _number(entry.get("first_line"), 1) <= line
    ]
    if not before:
        return None, 1
    entry = max(before, key=lambda each: _number(each.get("first_line"), 1))
    index = entry.get("index")
    count = entry.get("execution_count")
    return (
        Cell(
            id=str(entry.get("cell_id") or ""),
            execution_count=count if isinstance(count, int) else None,
            index=index if isinstance(index, int) else None,
            notebook=str(entry.get("notebook") or ""),
        ),
        _number(entry.get("first_line"), 1),
    )


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
