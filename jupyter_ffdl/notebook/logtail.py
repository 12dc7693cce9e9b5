"""The end of a log as a person would have seen it. Pure."""

from __future__ import annotations

import re
from collections import deque

from ..trainingdata.folding import fold

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|[ -/]*[0-~]?)"
)
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
MOST_LETTERS = 2000
"""Of a line; a longer one is cut in the view, with its size."""

_MOST_OPEN_BYTES = 1 << 20


def clean(line: str) -> str:
    """Return a line without colours and controls; a long one is cut, with its size."""
    cut = line[: 4 * MOST_LETTERS]
    seen = _CONTROLS.sub("", _ESCAPES.sub("", cut))
    if len(seen) <= MOST_LETTERS and len(cut) == len(line):
        return seen
    return f"{seen[:MOST_LETTERS]}… ({len(line)} characters)"


class LogTail:
    """The last lines of every learner's log, in order of arrival."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._ended: deque[tuple[int, str]] = deque(maxlen=lines)
        self._open: dict[int, bytes] = {}
        self.learners: set[int] = set()

    def feed(self, learner: int, text: str) -> None:
        """Take the next text of a learner, cut anywhere."""
        self.learners.add(learner)
        ended, rest = fold(text.encode("utf-8", "replace"), self._open.get(learner, b""))
        for line in ended[-self._lines :]:
            self._ended.append((learner, clean(line.decode("utf-8", "replace"))))
        # A line of gigabytes is no reason to keep it: what is shown of it stands at its start.
        self._open[learner] = rest[:_MOST_OPEN_BYTES]

    def skipped(self, learner: int, note: str) -> None:
        """Say in its place that something was left out."""
        self._open.pop(learner, None)
        self._ended.append((learner, note))

    def lines(self) -> list[tuple[int, str]]:
        """Return learner and text of each line; open ones come last."""
        opened = [
            (learner, clean(rest.decode("utf-8", "replace")))
            for learner, rest in sorted(self._open.items())
            if rest
        ]
        return [*self._ended, *opened][-self._lines :]
