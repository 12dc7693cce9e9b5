"""Manifests as text for trainings that began in a notebook: readable, and read back the same.

Standard library only: a kernel writes its manifest, and a kernel needs nothing but IPython.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .manifest import KEYS

# What any YAML reader takes for this very text; a colon or "#" means something next to a blank.
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./+=@%-]|[ :](?=[A-Za-z0-9_./+=@%-]))*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
# Characters that YAML lets stand in a block; the separators would end a line for it.
_BLOCK = re.compile(
    "[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*"
)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def to_yaml(fields: Mapping[str, Any]) -> str:
    """Return the manifest with these fields: its keys, each with text, number, list or map.

    None, empty lists and empty maps are left out. A text of several lines becomes a block after
    ``|``, so that a command stays a script (FfDL contract §1.7). ``parse`` reads the same values.
    """
    unknown = sorted(set(fields) - set(KEYS))
    if unknown:
        raise TypeError(f"no such keys in a manifest: {', '.join(unknown)}")
    lines: list[str] = []
    for key in KEYS:
        value = fields.get(key)
        if value is not None and value not in ([], (), {}):
            lines += _entry(f"{key}:", value, "")
    return "\n".join(lines) + "\n"


def _entry(head: str, value: Any, indent: str) -> list[str]:
    """Return the lines of ``value`` after ``head`` (``key:`` or ``-``), at this indent."""
    deeper = indent + "  "
    if isinstance(value, Mapping):
        if not value:
            return [f"{indent}{head} {{}}"]
        lines = [line for key in value for line in _entry(f"{_key(key)}:", value[key], deeper)]
        return _below(head, lines, indent)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return [f"{indent}{head} []"]
        return _below(head, [line for item in value for line in _entry("-", item, deeper)], indent)
    if isinstance(value, str) and "\n" in value and _fits_block(value):
        return [f"{indent}{head} {_header(value)}", *_block(value, deeper)]
    return [f"{indent}{head} {_scalar(value)}"]


def _below(head: str, lines: list[str], indent: str) -> list[str]:
    if head != "-":
        return [f"{indent}{head}", *lines]
    return [f"{indent}- {lines[0].lstrip(' ')}", *lines[1:]]


def _key(key: str) -> str:
    return _scalar(str(key))


def _fits_block(text: str) -> bool:
    # A text of blank lines only has no line that could show a block's indent.
    return len(text) > 1 and _BLOCK.fullmatch(text) is not None and bool(text.strip(" \t\n"))


def _header(text: str) -> str:
    # A first line that begins with a blank, or is empty, would hide the block's own indent.
    indent = "2" if text[0] in " \n\t" else ""
    if not text.endswith("\n"):
        return f"|{indent}-"
    return f"|{indent}+" if text.endswith("\n\n") else f"|{indent}"


def _block(text: str, indent: str) -> list[str]:
    lines = text.removesuffix("\n").split("\n")
    return [indent + line if line else "" for line in lines]


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return repr(value)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if _BLOCK.fullmatch(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
