"""The code zip as the trainer judges it, before it accepts a training (FfDL contract §1.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..learner import codezip
from ..learner.codezip import LIMITS, Entry, Limits
from ..manifest import Note

_MAX_TEXT_BYTES = 1024 * 1024
_MAX_TEXTS_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class ModelZip:
    """What an accepted zip holds.

    ``entries`` are its files and links as they will lie in ``MODEL_DIR``; ``total_bytes`` is what
    they unpack to. ``strip_prefix`` is the directory D that ``codezip.extract`` leaves out; empty:
    none. ``texts`` has the content of text files under 1 MiB, 16 MiB in all, for the search for
    literal paths (§5.1).
    """

    entries: tuple[Entry, ...]
    total_bytes: int
    strip_prefix: str = ""
    warnings: tuple[Note, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def inspect(path: Path, command: str, limits: Limits = LIMITS) -> ModelZip:
    """Return what the zip holds, after reading all of it; raises ``BadInput`` (C102)."""
    texts: dict[str, bytes] = {}
    left = _MAX_TEXTS_BYTES

    def look(entry: Entry, content: bytes) -> None:
        nonlocal left
        if entry.size < _MAX_TEXT_BYTES and entry.size <= left and b"\0" not in content:
            left -= entry.size
            texts[entry.path] = content

    entries = codezip.check(path, limits, look)
    prefix, word = _prefix(entries, command)
    shipped = [entry for entry in codezip.stripped(entries, prefix) if entry.kind != "directory"]
    return ModelZip(
        entries=tuple(shipped),
        total_bytes=sum(entry.size for entry in shipped),
        strip_prefix=prefix,
        warnings=(_stripped_note(prefix, word),) if prefix else (),
        texts={name.removeprefix(f"{prefix}/") if prefix else name: texts[name] for name in texts},
    )


def _stripped_note(prefix: str, word: str) -> Note:
    return Note(
        f"All files lie in '{codezip.printable(prefix)}': its content becomes MODEL_DIR, "
        f"because the command names '{codezip.printable(word)}'",
        "model_definition",
    )


_BETWEEN_WORDS = re.compile(r"[\s;&|()<>\"'`=,]+")


def _prefix(entries: list[Entry], command: str) -> tuple[str, str]:
    """Return the directory D to strip, and the word of the command that asks for it, or blanks.

    The old command line zips ``proj/a.py`` when it is given ``./proj``, although the command says
    ``a.py``. Where any word fits the zip as it is, nothing is stripped.
    """
    paths: set[str] = set()
    for entry in entries:
        path = entry.path
        while path and path not in paths:
            paths.add(path)
            path = path.rpartition("/")[0]
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) != 1 or not any("/" in path for path in paths):
        return "", ""
    top = tops.pop()
    words = [_relative(word) for word in _BETWEEN_WORDS.split(command)]
    if any(word in paths for word in words):
        return "", ""
    found = next((word for word in words if word and f"{top}/{word}" in paths), "")
    return (top, found) if found else ("", "")


def _relative(word: str) -> str:
    """Return the word as a path in the zip: ``./a.py`` is ``a.py``; blank where it is none."""
    if word.startswith(("/", "-", "~", "$")):
        return ""
    parts = [part for part in word.split("/") if part not in {"", "."}]
    return "" if ".." in parts else "/".join(parts)
