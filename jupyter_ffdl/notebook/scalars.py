"""Recorded scalars as columns."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MARKS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass
class Series:
    """One curve: columns of equal length, in order of recording.

    ``source`` is the event directory or group it was read from, ``wall_time`` epoch seconds.
    """

    tag: str
    learner: int = 1
    source: str = ""
    step: list[float] = field(default_factory=list)
    wall_time: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    @property
    def last(self) -> float | None:
        """The last value."""
        return self.value[-1] if self.value else None

    def extend(self, columns: Mapping[str, Any]) -> None:
        """Append the columns of an answer or message; JSON's nulls become what their marks say."""
        start = len(self.value)
        steps = list(columns.get("step") or ())
        values = columns.get("value") or ()
        times = list(columns.get("wall_time") or ())
        self.step += steps
        self.value += [math.nan if value is None else float(value) for value in values]
        self.wall_time += [float(time) if time is not None else math.nan for time in times]
        for index, mark in columns.get("marks") or ():
            if start + index < len(self.value):
                self.value[start + index] = _MARKS.get(mark, math.nan)
        shortest = min(len(self.step), len(self.value), len(self.wall_time))
        del self.step[shortest:], self.value[shortest:], self.wall_time[shortest:]

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        last = f", last {self.last:.5g}" if self.last is not None else ""
        return f"<{self.tag}{where}: {len(self)} points{last}>"


class Scalars(Mapping[str, Series]):
    """Curves by tag: ``s["loss"].value``.

    Where a tag was recorded by several sources or learners, ``s[tag]`` is the first of them, and
    each has its own key ``source/tag`` (``learner-2/source/tag`` for further learners).
    """

    def __init__(self, series: Sequence[Series] = ()) -> None:
        self.series = list(series)
        self._by_key: dict[str, Series] = {}
        for one in self.series:
            self._by_key.setdefault(one.tag, one)
        for one in self.series:
            if self._by_key[one.tag] is not one:
                self._by_key[_unique(one, self._by_key)] = one

    @classmethod
    def from_json(cls, answer: Any) -> Scalars:
        """Return the scalars of an answer ``{"series": […]}``."""
        found = []
        for columns in (answer or {}).get("series") or ():
            one = Series(
                tag=str(columns.get("tag", "")),
                learner=int(columns.get("learner") or 1),
                source=str(columns.get("source") or ""),
            )
            one.extend(columns)
            found.append(one)
        return cls(found)

    def __getitem__(self, key: str) -> Series:
        try:
            return self._by_key[key]
        except KeyError:
            known = ", ".join(self._by_key) or "none yet"
            raise KeyError(f"{key} (recorded: {known})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, a row for each point."""
        try:
            pd: Any = importlib.import_module("pandas")  # optional; most kernels have it
        except ImportError as e:
            raise ImportError("to_frame() needs pandas: pip install pandas") from e
        columns: dict[str, list[Any]] = {
            name: [] for name in ("tag", "learner", "source", "step", "wall_time", "value")
        }
        for one in self.series:
            columns["tag"] += [one.tag] * len(one)
            columns["learner"] += [one.learner] * len(one)
            columns["source"] += [one.source] * len(one)
            columns["step"] += one.step
            columns["wall_time"] += one.wall_time
            columns["value"] += one.value
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        if not self.series:
            return "Scalars: none recorded"
        return "Scalars:\n" + "\n".join(f"  {one!r}" for one in self.series)

    def _repr_html_(self) -> str:
        from .display import scalars_html  # noqa: PLC0415

        return scalars_html(self)


def _unique(one: Series, taken: Mapping[str, Series]) -> str:
    key = f"{one.source}/{one.tag}" if one.source else one.tag
    if one.learner > 1 or key in taken:
        key = f"learner-{one.learner}/{key}"
    while key in taken:
        key += "'"
    return key
