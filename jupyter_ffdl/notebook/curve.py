"""Curves as SVG text and as letters. Pure.

The SVG is shown as an image, so it cannot take its page's colours: lines and words are in colours
that read on white and on nearly black.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .scalars import Series
from .words import number

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 8, 20
COLOURS = ("#1e88e5", "#ef6c00", "#43a047", "#ab47bc", "#00acc1", "#8d6e63")
INK = "#808080"
GRID = "#808080"
_SMOOTH_FROM = 40
_MOST_POINTS = 160

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "eval"})
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass
class Line:
    """One line of a chart: its name within it, and its points in order."""

    name: str
    step: list[float]
    value: list[float]

    @property
    def last(self) -> float | None:
        """The last value that can be drawn."""
        return next((value for value in reversed(self.value) if math.isfinite(value)), None)


@dataclass
class Chart:
    """Lines of one quantity."""

    title: str
    lines: list[Line] = field(default_factory=list)

    def summary(self) -> str:
        """Return the last values in words, for whoever cannot see the picture."""
        lasts = [
            f"{line.name} {number(line.value[-1])}".strip() for line in self.lines if line.value
        ]
        step = max((line.step[-1] for line in self.lines if line.step), default=0)
        return f"{self.title}: {', '.join(lasts)} at step {step:g}"


def charts(series: Iterable[Series], most: int = 4) -> list[Chart]:
    """Group curves: one chart a quantity, a line each for train, val and test, and for learners.

    The loss comes first, then in order of appearance; ``most`` charts at the most.
    """
    series = list(series)
    found: dict[str, Chart] = {}
    several_learners = len({one.learner for one in series}) > 1
    sources: dict[str, set[str]] = {}
    for one in series:
        title, _ = _title(one.tag)
        sources.setdefault(title, set()).add(one.source)
    for one in series:
        if not len(one):
            continue
        title, split = _title(one.tag)
        names = [split] if split else []
        if len(sources[title]) > 1 and not split:
            names.append(one.source.rstrip("/").rpartition("/")[2])
        if several_learners:
            names.append(f"learner {one.learner}")
        chart = found.setdefault(title, Chart(title))
        chart.lines.append(Line(" · ".join(filter(None, names)), one.step, one.value))
    ordered = sorted(found.values(), key=lambda chart: "loss" not in chart.title.lower())
    return ordered[:most]


def svg(chart: Chart, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return a chart as SVG; values that cannot be drawn are gaps, named below the axis."""
    lines = [(line.name, *_thinned(line.step, line.value)) for line in chart.lines]
    steps = [step for _, xs, _ in lines for step in xs if math.isfinite(step)]
    values = [value for _, _, ys in lines for value in ys if math.isfinite(value)]
    low_x, high_x = (min(steps), max(steps)) if steps else (0.0, 1.0)
    ticks_y = ticks(*(min(values), max(values))) if values else [0.0, 1.0]
    low_y, high_y = ticks_y[0], ticks_y[-1]
    if high_x <= low_x:
        high_x = low_x + 1

    def x(step: float) -> float:
        return LEFT + (step - low_x) / (high_x - low_x) * (width - LEFT - RIGHT)

    def y(value: float) -> float:
        return height - BOTTOM - (value - low_y) / (high_y - low_y) * (height - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{html.escape(chart.summary())}</title>",
        f'<g font-family="system-ui,sans-serif" font-size="10" fill="{INK}">',
    ]
    for tick in ticks_y:
        at = f"{y(tick):.1f}"
        parts.append(
            f'<path d="M{LEFT} {at}H{width - RIGHT}" stroke="{GRID}" stroke-opacity=".28"/>'
            f'<text x="{LEFT - 5}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>'
        )
    for tick in [one for one in ticks(low_x, high_x, 5) if low_x <= one <= high_x]:
        anchor = "start" if x(tick) < LEFT + 8 else "end" if x(tick) > width - 18 else "middle"
        parts.append(
            f'<text x="{x(tick):.1f}" y="{height - 5}" text-anchor="{anchor}">{_tick(tick)}</text>'
        )
    parts.append("</g>")
    for index, (_, xs, ys) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        points = [
            (x(step), y(value)) if math.isfinite(step) and math.isfinite(value) else None
            for step, value in zip(xs, ys, strict=True)
        ]
        if len(points) > _SMOOTH_FROM:
            smooth = [
                (x(step), y(value)) if math.isfinite(value) else None
                for step, value in zip(xs, smoothed(ys), strict=True)
            ]
            parts.append(_path(points, colour, 1.0, 0.35))
            points = smooth
        parts.append(_path(points, colour, 1.8, 1.0))
        drawn = [point for point in points if point is not None]
        if drawn:
            end_x, end_y = drawn[-1]
            parts.append(f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="2.8" fill="{colour}"/>')
    parts += _marks(chart, x, height)
    parts.append("</svg>")
    return "".join(parts)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Return round values from at or below ``low`` to at or above ``high``, some ``wanted``."""
    if high - low <= max(abs(high) * 1e-9, 1e-300):
        around = abs(high) * 0.1 or 1.0
        low, high = low - around, high + around
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [_round(index * step, step) for index in range(first, last + 1)]


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the moving average over some thirtieth of the curve, without a pull to zero at first.

    A short curve is hardly smoothed: the average must not lag behind what it shows.
    """
    weight = 1 - 1 / max(len(values) / 30, 1)
    mean, seen, result = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean = weight * mean + (1 - weight) * value
            seen = weight * seen + (1 - weight)
            result.append(mean / seen)
        else:
            result.append(value)
    return result


def letters(values: Sequence[float], width: int = 40) -> str:
    """Return a curve as a row of blocks, low to high."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    count = min(width, len(finite))
    picked = [
        finite[round(index * (len(finite) - 1) / max(count - 1, 1))] for index in range(count)
    ]
    return "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1))] for value in picked)


def _title(tag: str) -> tuple[str, str]:
    """Return quantity and split of a tag such as ``train/loss`` or ``loss/val``."""
    first, slash, rest = tag.partition("/")
    if slash and first.lower() in _SPLITS:
        return rest, first
    before, slash, last = tag.rpartition("/")
    if slash and last.lower() in _SPLITS:
        return before, last
    head, underscore, rest = tag.partition("_")
    if underscore and head.lower() in _SPLITS:
        return rest, head
    return tag, ""


def _thinned(steps: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """Keep the least and the greatest of each stretch: peaks are seen however few the pixels."""
    if len(values) <= _MOST_POINTS:
        return steps, values
    xs, ys = [], []
    size = len(values) * 2 / _MOST_POINTS
    start = 0.0
    while start < len(values):
        indices = range(int(start), min(int(start + size) or 1, len(values)))
        finite = [index for index in indices if math.isfinite(values[index])] or list(indices)[:1]
        least = min(finite, key=lambda index: values[index])
        greatest = max(finite, key=lambda index: values[index])
        for index in sorted({least, greatest}):
            xs.append(steps[index])
            ys.append(values[index])
        start += size
    if xs[-1] != steps[-1]:
        xs.append(steps[-1])
        ys.append(values[-1])
    return xs, ys


def _path(
    points: Sequence[tuple[float, float] | None], colour: str, width: float, opacity: float
) -> str:
    commands, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        commands.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L"
    return (
        f'<path d="{"".join(commands)}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"/>'
    )


def _marks(chart: Chart, x: Callable[[float], float], height: int) -> list[str]:
    """Mark the first value of each line that cannot be drawn."""
    parts = []
    for line in chart.lines:
        for step, value in zip(line.step, line.value, strict=True):
            if not math.isfinite(value) and math.isfinite(step):
                at = x(step)
                parts.append(
                    f'<path d="M{at:.1f} {TOP}V{height - BOTTOM}" stroke="#e53935" '
                    'stroke-dasharray="3 3" stroke-opacity=".8"/>'
                )
                break
    return parts


def not_drawable(series: Iterable[Series]) -> list[str]:
    """Return a sentence for each curve with a value that is no number: the first such step."""
    found = []
    for one in series:
        for step, value in zip(one.step, one.value, strict=True):
            if not math.isfinite(value):
                word = {"nan": "NaN", "inf": "Inf", "-inf": "−Inf"}[number(value)]
                found.append(f"{one.tag} became {word} at step {step:g}")
                break
    return found


def _tick(value: float) -> str:
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:g}"


def _round(value: float, step: float) -> float:
    return round(value, max(0, 2 - math.floor(math.log10(step)))) + 0.0
