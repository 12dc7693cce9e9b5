"""What is known of one training, fed by messages or asked once; what the views are made of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..training import TERMINAL, Status
from . import words
from .logtail import LogTail
from .scalars import Series

TAIL_LINES = 8
MOST_POINTS = 400
"""Of a curve that is kept for a view; beyond, every second point is dropped."""

_PHASE_OF_CODE: Mapping[str, str] = {
    "C201": "training",
    "S301": "loading",
    "S302": "loading",
    "S303": "saving",
    "S305": "saving",
}


@dataclass
class State:
    """One training as last heard of. Times are epoch seconds."""

    training_id: str
    name: str = ""
    number: int = 1
    status: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None
    row: dict[str, Any] = field(default_factory=dict)
    series: dict[tuple[int, str, str], Series] = field(default_factory=dict)
    tail: LogTail = field(default_factory=lambda: LogTail(TAIL_LINES))
    warnings: list[str] = field(default_factory=list)
    offline_since: float | None = None
    gone: bool = False

    # Taking in

    def learn(self, model: Mapping[str, Any]) -> None:
        """Take what the service says of the training (the Model of FfDL's API)."""
        self.name = str(model.get("name", self.name))
        self.number = int(model.get("number") or self.number)
        self.status = dict((model.get("training") or {}).get("training_status") or {})

    def apply(self, message: Mapping[str, Any]) -> bool:
        """Take a message of the stream and say whether a view would change."""
        kind = message.get("type")
        online = self.offline_since is not None and kind != "offline"
        if online:
            self.offline_since = None
        if kind == "status":
            self.status = dict(message.get("status") or {})
            self.verdict = message.get("verdict") or self.verdict
        elif kind == "log":
            self.tail.feed(int(message.get("learner") or 1), str(message.get("text", "")))
        elif kind == "skipped":
            self.tail.skipped(int(message.get("learner") or 1), "… earlier output left out")
        elif kind == "scalars":
            for columns in message.get("series") or ():
                self._points(columns)
        elif kind == "row":
            self.row = dict(message.get("row") or {})
            self.name = str(self.row.get("name") or self.name)
            self.number = int(self.row.get("number") or self.number)
        elif kind == "offline":
            before, self.offline_since = self.offline_since, float(message.get("since") or 0)
            return before is None
        else:
            return online
        return True

    def _points(self, columns: Mapping[str, Any]) -> None:
        key = (
            int(columns.get("learner") or 1),
            str(columns.get("source") or ""),
            str(columns.get("tag", "")),
        )
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(tag=key[2], learner=key[0], source=key[1])
        series.extend(columns)
        if len(series) > 2 * MOST_POINTS:
            thin(series)

    # Telling

    @property
    def here(self) -> Status:
        """The status."""
        return words.known(self.status)

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.here in TERMINAL

    @property
    def title(self) -> str:
        """The name as shown: a repeated one with its number."""
        return words.title(self.name, self.number)

    @property
    def sentence(self) -> str:
        """Why it waits or failed; empty if nothing is to say."""
        return words.describe(self.status, self.verdict)

    def elapsed(self, now: float | None = None) -> float:
        """Return how long its command has run, or since when it waits, in seconds."""
        started = submitted = _seconds(self.status.get("submitted"))
        for line in self.status.get("history") or ():
            if line.get("status") == Status.PROCESSING.value:
                started = _seconds(line.get("timestamp")) or started
                break
        end = _seconds(self.status.get("completed")) if self.terminal else None
        if end is None:
            end = time.time() if now is None else now
        if started is None or submitted is None:
            return 0.0
        return max(end - started, 0.0)

    def primary(self) -> Series | None:
        """Return the curve whose last value is told in one line: a loss, else the first."""
        wanted = (self.row.get("scalar") or {}).get("tag")
        curves = [series for series in self.series.values() if len(series)]
        for matches in (
            lambda tag: tag == wanted,
            lambda tag: tag.lower() == "loss",
            lambda tag: "loss" in tag.lower() and "val" not in tag.lower(),
            lambda tag: "loss" in tag.lower(),
            bool,
        ):
            for series in curves:
                if matches(series.tag):
                    return series
        return None

    def line(self, now: float | None = None) -> str:
        """Return one line: id, name, status, elapsed time, last value or the reason."""
        if self.gone:
            return f"Training {self.training_id} (not on this server)"
        text = f'Training {self.training_id} "{self.title}" {words.label(self.status)}'
        text += f" {words.duration(self.elapsed(now))}"
        series = self.primary()
        if series is not None and series.last is not None:
            text += f" {series.tag}={words.number(series.last)}"
        if self.sentence:
            text += f": {self.sentence}"
        if self.offline_since is not None:
            now = time.time() if now is None else now
            text += f" (last seen {words.short_duration(now - self.offline_since)} ago)"
        return text

    def phases(self) -> list[tuple[str, str, float | None]]:
        """Return the phases in order: name, ``done``, ``now``, ``failed`` or ``later``, seconds."""
        begun: dict[str, float] = {}
        for line in self.status.get("history") or ():
            at = _seconds(line.get("timestamp"))
            if at is not None:
                begun.setdefault(words.phase(str(line.get("status"))), at)
        submitted = _seconds(self.status.get("submitted"))
        if submitted is not None:
            begun["submitted"] = submitted
        last = self._last_phase(begun)
        shown: list[tuple[str, str, float | None]] = []
        for name in words.PHASES:
            later = [at for other, at in begun.items() if at > begun.get(name, at)]
            took = min(later) - begun[name] if later and name in begun else None
            if name == "done":
                kind, took = ("done" if self.here is Status.COMPLETED else "later"), None
            elif name == last and self.here is not Status.COMPLETED:
                kind = {Status.FAILED: "failed", Status.HALTED: "halted"}.get(self.here, "now")
            elif name in begun or self.here is Status.COMPLETED:
                kind = "done"
            else:
                kind = "later"
            shown.append((name, kind, took))
        return shown

    def _last_phase(self, begun: Mapping[str, float]) -> str:
        """Return the phase it is in, or the one that failed or was halted."""
        if self.here is Status.FAILED:
            at_fault = _PHASE_OF_CODE.get(str(self.status.get("error_code")))
            if at_fault in begun:
                return str(at_fault)
        reached = [name for name in words.PHASES if name in begun and name != "done"]
        if self.here is Status.HALTED and "training" in reached:
            return "training"
        return reached[-1] if reached else "submitted"


def thin(series: Series) -> None:
    """Drop every second point in the first three quarters; the newest stay whole."""
    until = len(series) * 3 // 4
    keep = [index for index in range(len(series)) if index >= until or index % 2 == 0]
    series.step = [series.step[index] for index in keep]
    series.wall_time = [series.wall_time[index] for index in keep]
    series.value = [series.value[index] for index in keep]


def _seconds(milliseconds: Any) -> float | None:
    try:
        return int(milliseconds) / 1000
    except (TypeError, ValueError):
        return None
