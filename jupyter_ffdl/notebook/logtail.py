"""The end of a log as a person would have seen it. Pure."""

from __future__ import annotations

import re
from collections import deque

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MOST_LETTERS = 2000
"""Of a line; a longer one is cut in the view, with its size."""


def clean(line: str) -> str:
    r"""Return a line as last written: rewritten text (``\r``), colours and controls are gone."""
    seen = line.rstrip("\r")
    if len(seen) > 50 * MOST_LETTERS:
        # What stands at the end is what is seen; a line of 10 MB is not worth folding whole.
        seen = seen[-50 * MOST_LETTERS :]
    seen = seen.rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", seen))


class LogTail:
    """The last lines of every learner's log, in order of arrival."""

    def __init__(self, lines: int) -> None:
        self._ended: deque[tuple[int, str]] = deque(maxlen=lines)
        self._open: dict[int, str] = {}
        self.learners: set[int] = set()
        self.count = 0

    def feed(self, learner: int, text: str) -> None:
        """Take the next text of a learner, cut anywhere."""
        self.learners.add(learner)
        *ended, rest = (self._open.get(learner, "") + text).split("\n")
        self.count += len(ended)
        for line in ended[-(self._ended.maxlen or 0) :]:
            self._ended.append((learner, clean(line)))
        # A progress bar without a line end rewrites one line for hours: keep what is seen of it.
        if len(rest) > MOST_LETTERS:
            last = rest.rstrip("\r").rpartition("\r")[2]
            rest = last if len(last) <= 100 * MOST_LETTERS else last[-MOST_LETTERS:]
        self._open[learner] = rest

    def skipped(self, learner: int, note: str) -> None:
        """Say in its place that something was left out."""
        self._open.pop(learner, None)
        self._ended.append((learner, note))

    def lines(self) -> list[tuple[int, str]]:
        """Return learner and text of each line; open ones come last."""
        opened = [(learner, clean(rest)) for learner, rest in sorted(self._open.items()) if rest]
        shown = [*self._ended, *opened][-(self._ended.maxlen or 0) :]
        return [(learner, _cut(text)) for learner, text in shown]


def _cut(text: str) -> str:
    if len(text) <= MOST_LETTERS:
        return text
    return f"{text[:MOST_LETTERS]}… ({len(text)} characters)"
