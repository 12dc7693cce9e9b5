"""What a row of the list shows of a training: its main scalar, a sparkline, how far it is.

Costs some fifty small reads, however much the training has recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jupyter_ffdl import files

from . import progress
from .attempts import attempts_of, learners_of
from .folding import fold
from .lines import own_log
from .logfile import LogFile, read_bytes
from .record import ROW
from .series import ROWS, Array

MAX_POINTS = 50
_READ_WHOLE_ROWS = 4096
_WINDOW_ROWS = 64
_TAIL_ROWS = 2048
_ROWS_AT_ONCE = 1 << 20
_LOG_TAIL = 8192

_HELD_OUT = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|eval|test|dev)(?:[^a-z]|$)")
_ASIDE = re.compile(r"(?:^|[^a-z])(?:lr|learning_rate|epoch|step|grad_norm|time|fps)(?:[^a-z]|$)")


def row_summary(folder: Path, attempt: int | None = None) -> dict[str, Any]:
    """Return ``scalar`` {tag, value, step, mark?}, ``sparkline`` (≤ 50) and ``progress``.

    Each is None (the sparkline empty) where there is nothing to show. A value that JSON lacks is
    null with ``mark`` "nan", "inf" or "-inf", and ``since_step``: where it became so.
    """
    attempts = attempts_of(folder)
    chosen = attempt if attempt is not None else (attempts[-1] if attempts else 1)
    scalar: dict[str, Any] | None = None
    sparkline: list[float | None] = []
    for _, directory in learners_of(folder, chosen):
        series, _ = files.read_lines(directory / "series.jsonl")
        main = main_series(series)
        if main is not None:
            scalar, sparkline = _scalar(directory / "scalars.bin", main)
        if scalar is not None:
            break
    return {
        "scalar": scalar,
        "sparkline": sparkline,
        "progress": log_progress(own_log(folder, chosen, 1)),
    }


def log_progress(log: LogFile) -> dict[str, Any] | None:
    """Return what the log's last lines say about progress; ``updated``: epoch ms of the log."""
    size = log.size
    begin = max(0, size - _LOG_TAIL)
    ended, still_open = fold(read_bytes(log.path, begin, _LOG_TAIL))
    # A bar is rewritten by "\r" at its start or at its end.
    lines = [*ended, still_open.rstrip(b"\r")]
    found = progress.of_lines(line.decode("utf-8", "replace") for line in lines)
    if found is None:
        return None
    return {**found.to_json(), "updated": log.path.stat().st_mtime_ns // 1_000_000}


def main_series(series: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the series to show where there is room for one: the training loss, if any."""
    return min(series, key=_rank, default=None)


def _rank(series: Mapping[str, Any]) -> tuple[int, int]:
    tag = str(series["tag"]).lower()
    held_out = _HELD_OUT.search(f"{series['grouplabel']}/{tag}".lower()) is not None
    loss = "loss" in tag
    if loss and not held_out:
        rank = 0 if tag.rpartition("/")[2] == "loss" else 1
    elif loss:
        rank = 2
    elif _ASIDE.search(tag):
        rank = 5
    else:
        rank = 3 if "acc" in tag else 4
    return rank, int(series["id"])


def _scalar(path: Path, series: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Any]]:
    try:
        count = path.stat().st_size // ROW.size
        number = int(series["id"])
        rows = _sample(path, count, number)
    except OSError:
        return None, []
    if not len(rows):
        return None, []
    value = float(rows["value"][-1])
    scalar: dict[str, Any] = {"tag": series["tag"], "value": value, "step": int(rows["step"][-1])}
    if not np.isfinite(value):
        scalar["value"] = None
        scalar["mark"] = "nan" if np.isnan(value) else "inf" if value > 0 else "-inf"
        scalar["since_step"] = _broken_since(path, number)
    spread = np.linspace(0, len(rows) - 1, min(len(rows), MAX_POINTS)).astype(int)
    values = [v if np.isfinite(v) else None for v in rows["value"][spread].tolist()]
    return scalar, values


def _sample(path: Path, count: int, number: int) -> Array:
    """Return rows of one series spread over the file, its last one included."""
    if count <= _READ_WHOLE_ROWS:
        return _read_series(path, 0, count, number)
    parts = []
    windows = MAX_POINTS - 1
    for window in range(windows):
        first = window * (count - _WINDOW_ROWS) // windows
        parts.append(_read_series(path, first, _WINDOW_ROWS, number)[:1])
    tail = _TAIL_ROWS
    while True:
        last = _read_series(path, max(0, count - tail), tail, number)[-1:]
        if len(last) or tail >= count:
            break
        tail *= 8
    sampled: Array = np.concatenate([*parts, last])
    return sampled


def _broken_since(path: Path, number: int) -> int:
    """Return the step of the first of the last values that are all no numbers."""
    end = path.stat().st_size // ROW.size
    step = 0
    while end > 0:
        begin = max(0, end - _ROWS_AT_ONCE)
        rows = _read_series(path, begin, end - begin, number)
        sound = np.flatnonzero(np.isfinite(rows["value"]))
        first = int(sound[-1]) + 1 if len(sound) else 0
        if first < len(rows):
            step = int(rows["step"][first])
        if len(sound):
            break
        end = begin
    return step


def _read_series(path: Path, first: int, count: int, number: int) -> Array:
    rows = np.fromfile(path, ROWS, count, offset=first * ROW.size)
    own: Array = rows[rows["series"] == number]
    return own
