"""A cell's text as a script that Python alone can run, line for line. Pure.

The script is the cell as typed, so that line n of the file is line n − first_line + 1 of the cell
in every traceback. Lines that only IPython understands become comments in their place.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import BadInput

_IPYTHON = re.compile(r"\s*(?:[%!?]|[\w.]+\??\?\s*$|[\w.,\s]+=\s*[%!])|.*[\w)\]]\s*\?\??\s*$")


@dataclass(frozen=True)
class Script:
    """A script made of a cell. The cell's line 1 is the script's line ``first_line``."""

    text: str
    first_line: int = 1
    commented: list[tuple[int, str]] = field(default_factory=list)
    """Lines of the cell that only IPython understands: number and text."""


def script(body: str, parameters: Mapping[str, Any] | None = None, *, where: str = "") -> Script:
    """Return the script of a cell's body, ``parameters`` assigned before it.

    A body that is no Python is refused with its line; ``where`` is what its place is called.
    """
    lines = body.replace("\r\n", "\n").rstrip("\n").split("\n")
    commented: list[tuple[int, str]] = []
    while (error := _error(lines)) is not None:
        index = _ipython_line(lines, (error.lineno or 1) - 1)
        if index is None:
            raise _refusal(error, where)
        for at in _continued(lines, index):
            commented.append((at + 1, lines[at].strip()))
            lines[at] = _comment(lines[at], statement=at == index)
    assignments = [f"{name} = {source(value)}" for name, value in (parameters or {}).items()]
    if assignments and (future := _last_future_line(lines)) is not None:
        # Nothing may stand before these imports, and no line may move.
        lines[future] = "; ".join([lines[future].rstrip().rstrip(";"), *assignments])
        assignments = []
    text = "\n".join([*assignments, *lines]) + "\n"
    return Script(text, len(assignments) + 1, sorted(commented))


def source(value: Any) -> str:
    """Return an expression for a value; what ``repr`` cannot say of floats is spelled out."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(source(item) for item in value)}]"
    if isinstance(value, tuple):
        inner = ", ".join(source(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {source(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _error(lines: list[str]) -> SyntaxError | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the learner's Python will say it
        try:
            compile("\n".join(lines) + "\n", "<cell>", "exec", dont_inherit=True)
        except SyntaxError as e:
            return e
        except ValueError as e:  # a null byte
            return SyntaxError(str(e), ("<cell>", 1, 1, None))
    return None


def _ipython_line(lines: list[str], at: int) -> int | None:
    """Return the line to comment out: the one of the error, else the nearest above it.

    Python may report a later line, where quotes or brackets of a shell command are closed.
    """
    at = min(at, len(lines) - 1)
    for index in range(at, -1, -1):
        if not lines[index].lstrip().startswith(("#", "pass  #")) and _IPYTHON.match(lines[index]):
            return index
    return None


def _continued(lines: list[str], index: int) -> range:
    end = index
    while lines[end].rstrip().endswith("\\") and end + 1 < len(lines):
        end += 1
    return range(index, end + 1)


def _comment(line: str, *, statement: bool) -> str:
    """Comment a line out; in a block something must stand in a statement's place."""
    indent = line[: len(line) - len(line.lstrip())]
    text = line.strip().rstrip("\\").rstrip()
    return f"{indent}pass  # {text}" if indent and statement else f"{indent}# {text}"


def _last_future_line(lines: list[str]) -> int | None:
    tree = ast.parse("\n".join(lines) + "\n")
    ends = [
        node.end_lineno or node.lineno
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    return max(ends) - 1 if ends else None


def _refusal(error: SyntaxError, where: str) -> BadInput:
    line = error.lineno or 1
    place = f"{where}, line {line}" if where else f"Line {line}"
    if "'await' outside" in (error.msg or "") or "outside async" in (error.msg or ""):
        hint = "A script cannot await at its top level: wrap it in asyncio.run(…)"
    else:
        hint = "Correct it; nothing was submitted"
    return BadInput(f"{place}: {error.msg}", hint=hint)
