"""What a killed process wrote after its last checkpoint: found again in the input, left out once.

Until that is done no checkpoint may be written: it would say that the inputs had been read to
where we are, and that all that was written came from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable


class Written:
    """Counts, by ``keys``, what is still to be left out."""

    def __init__(self, keys: Iterable[Hashable] = ()) -> None:
        self._counts = Counter(keys)
        self._left = sum(self._counts.values())

    def __bool__(self) -> bool:
        return self._left > 0

    def take(self, key: Hashable) -> bool:
        """Whether this one is written already; the next equal one may not be."""
        if not self._left or not self._counts[key]:
            return False
        self._counts[key] -= 1
        self._left -= 1
        return True

    def forget(self) -> None:
        """Expect nothing more: all input that existed has been read."""
        self._counts.clear()
        self._left = 0
