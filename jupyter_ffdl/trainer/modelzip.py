"""The code zip as the trainer judges it, before it accepts a training (FfDL contract §1.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..learner import codezip
from ..learner.codezip import LIMITS, Entry, Limits
from ..manifest import Note


@dataclass(frozen=True)
class ModelZip:
    """What an accepted zip holds.

    ``entries`` counts files, directories and links; ``total_bytes`` is what its files unpack to.
    ``strip_prefix`` is the directory D that ``codezip.extract`` leaves out; empty: none.
    """

    entries: int
    total_bytes: int
    strip_prefix: str = ""
    warnings: tuple[Note, ...] = ()


def inspect(path: Path, command: str, limits: Limits = LIMITS) -> ModelZip:
    """Return what the zip holds, after reading all of it; raises ``BadInput`` (C102)."""
    entries = codezip.check(path, limits)
    prefix, word = _prefix(entries, command)
    codezip.stripped(entries, prefix)
    warnings: tuple[Note, ...] = ()
    if prefix:
        warnings = (
            Note(
                f"All files lie in '{codezip.printable(prefix)}': its content becomes MODEL_DIR, "
                f"because the command names '{codezip.printable(word)}'",
                "model_definition",
            ),
        )
    return ModelZip(len(entries), sum(entry.size for entry in entries), prefix, warnings)


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
