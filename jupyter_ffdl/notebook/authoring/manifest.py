"""Manifests as text: written for a notebook's training, or somebody's with options over it. Pure.

A kernel has no YAML library. What is written here uses YAML's block form with JSON's scalars,
which every YAML reader takes; in somebody's manifest only whole top-level keys are replaced, the
rest stays as it was typed, comments included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BadInput

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_TOP = re.compile(r"""(?P<key>[A-Za-z_][\w.-]*|"[^"\\]+"|'[^']+')\s*:(?=\s|$)""")


def dump(fields: Mapping[str, Any]) -> str:
    """Return a manifest's text, keys in the given order."""
    return "".join(_entry(key, value, 0) for key, value in fields.items())


def override(text: str, fields: Mapping[str, Any], *, where: str = "the manifest") -> str:
    """Return a manifest with top-level keys replaced or added; all other text stays."""
    lines = text.splitlines(keepends=True)
    if not any(_TOP.match(line) for line in lines):
        raise BadInput(
            f"Options cannot be laid over {where}",
            hint="Write its keys one a line, from the first column on",
        )
    end = _document_end(lines)
    kept, skipping = [], False
    for line in lines[:end]:
        match = _TOP.match(line)
        if match is not None:
            skipping = match["key"].strip("\"'") in fields
        elif line.strip() and not line[0].isspace() and line[0] not in "#-":
            skipping = False
        if not skipping:
            kept.append(line)
    if kept and not kept[-1].endswith("\n"):
        kept.append("\n")
    return "".join(kept) + dump(fields)


def framework_of(text: str) -> dict[str, str]:
    """Return name and version of a manifest's framework, as far as it is written in block form."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if _TOP.match(line):
            inside = re.match(r"""["']?framework["']?\s*:\s*(#.*)?$""", line) is not None
        elif inside and (match := re.match(r"\s+(name|version)\s*:\s*(.+?)\s*(\s#.*)?$", line)):
            found[match[1]] = match[2].strip("\"'")
    return found


def _document_end(lines: Sequence[str]) -> int:
    begun = False
    for index, line in enumerate(lines):
        if line.startswith("...") or (line.startswith("---") and begun):
            return index
        begun = begun or bool(_TOP.match(line))
    return len(lines)


def _entry(key: str, value: Any, depth: int) -> str:
    indent = "  " * depth
    name = key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS else _scalar(key)
    if isinstance(value, Mapping) and value:
        inner = "".join(_entry(str(name), item, depth + 1) for name, item in value.items())
        return f"{indent}{name}:\n{inner}"
    return f"{indent}{name}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON lets these stand as they are; YAML takes them for line breaks, or refuses them.
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
