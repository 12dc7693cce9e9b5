"""A training's view as HTML. Pure: a state in, text out.

No text of a log, a name or an error ever becomes markup. JupyterLab's sanitizer drops CSS
variables, inline SVG and scripts from untrusted outputs, so colours are fixed ones that read on
light and on dark, and pictures are images with data URIs.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from ..training import Status
from . import words
from .curve import COLOURS, HEIGHT, WIDTH, Chart, charts, not_drawable, svg
from .scalars import Series
from .state import State

BRAND, GOOD, BAD, WARN, QUIET = "#1e88e5", "#43a047", "#e53935", "#ef6c00", "#808080"
LINE = "rgba(128,128,128,0.3)"
SOFT = "rgba(128,128,128,0.09)"
_DIM = "opacity:0.68"
_MONO = "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_ONE_LINE = "white-space:nowrap;overflow:hidden;text-overflow:ellipsis"
_PLAIN = "margin:0;padding:0;border:0;background:none"

_ICONS = {
    "wait": f'<circle cx="8" cy="8" r="6.2" fill="none" stroke="{WARN}" stroke-width="1.8"/>'
    f'<path d="M8 4.4V8l2.6 1.8" stroke="{WARN}" stroke-width="1.6" fill="none"/>',
    "run": f'<circle cx="8" cy="8" r="6" fill="none" stroke="{BRAND}" stroke-width="2" '
    'stroke-dasharray="28 10" transform="rotate(-60 8 8)"/>'
    f'<path d="M6.3 5v6l5-3z" fill="{BRAND}"/>',
    "save": f'<circle cx="8" cy="8" r="6" fill="none" stroke="{BRAND}" stroke-width="2" '
    'stroke-dasharray="28 10" transform="rotate(-60 8 8)"/>'
    f'<path d="M8 4.6v5.6M5.4 8l2.6 2.6L10.6 8" stroke="{BRAND}" stroke-width="1.6" fill="none"/>',
    "good": f'<circle cx="8" cy="8" r="7" fill="{GOOD}"/>'
    '<path d="M4.6 8.3l2.3 2.3 4.5-4.8" stroke="#fff" stroke-width="1.8" fill="none"/>',
    "bad": f'<path d="M8 .8 15.6 14.6H.4z" fill="{BAD}"/>'
    '<path d="M8 5.4v4.4M8 11.3v1.7" stroke="#fff" stroke-width="1.8"/>',
    "halt": f'<rect x="1.6" y="1.6" width="12.8" height="12.8" rx="2" fill="none" stroke="{QUIET}" '
    f'stroke-width="1.8"/><path d="M6 5v6M10 5v6" stroke="{QUIET}" stroke-width="1.8"/>',
}
_ICON_OF: Mapping[Status, str] = {
    Status.PROCESSING: "run",
    Status.STORING: "save",
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.HALTED: "halt",
}
_PHASE_COLOURS = {"done": GOOD, "now": BRAND, "failed": BAD, "halted": QUIET, "later": LINE}


def view(state: State, now: float | None = None) -> str:
    """Return the whole view."""
    now = time.time() if now is None else now
    if state.gone:
        return _frame(_row(f"<b>{escape(state.training_id)}</b> is not on this server"))
    parts = [_head(state, now), _phases(state, now)]
    if state.offline_since is not None:
        ago = words.short_duration(now - state.offline_since)
        parts.append(_note(f"Reconnecting, last update {ago} ago", WARN))
    if state.here is Status.FAILED:
        parts.append(_failure(state))
    elif state.sentence:
        parts.append(_note(state.sentence, WARN))
    parts += [_note(warning, WARN) for warning in state.warnings]
    parts += [_note(text, BAD) for text in not_drawable(state.series.values())]
    drawn = curves(state.series.values())
    if drawn:
        parts.append(f'<div style="padding:4px 10px 6px">{drawn}</div>')
    parts.append(_log(state))
    return _frame("".join(parts))


def curves(series: Iterable[Series], most: int = 4) -> str:
    """Return charts side by side, each with its last values above it; empty without points."""
    shown = [_chart(chart) for chart in charts(series, most)]
    if not shown:
        return ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 14px">{"".join(shown)}</div>'


def _frame(inner: str) -> str:
    return (
        f'<div style="max-width:860px;border:1px solid {LINE};border-radius:3px;'
        f'font-size:13px;line-height:1.5;overflow:hidden">{inner}</div>'
    )


def _row(inner: str, more: str = "") -> str:
    style = f"display:flex;align-items:center;gap:8px;padding:6px 10px;{more}"
    return f'<div style="{style}">{inner}</div>'


def _head(state: State, now: float) -> str:
    kind = _ICON_OF.get(state.here, "wait")
    label = words.label(state.status)
    said = [label]
    if state.here in {Status.COMPLETED, Status.FAILED, Status.HALTED}:
        said = [f"{label} after {words.short_duration(state.elapsed(now))}"]
    else:
        said.append(words.duration(state.elapsed(now)).removeprefix("00:"))
    progress = _progress(state)
    if progress and not state.terminal:
        said.append(progress)
    inner = (
        f"{_image(_icon(kind), label, 16, 16, 'margin:0;max-width:16px')}"
        f"<b>{escape(state.title)}</b>"
        f'<span style="{_DIM};{_ONE_LINE};flex:1 1 0">{escape(" · ".join(said))}</span>'
        f'<code style="{_PLAIN};{_MONO};font-size:11px;opacity:0.55">'
        f"{escape(state.training_id)}</code>"
    )
    return _row(inner, f"border-bottom:1px solid {LINE}")


def _progress(state: State) -> str:
    """Return steps and what is left, only where the log says how many there are."""
    progress = state.row.get("progress")
    if not isinstance(progress, Mapping) or not progress.get("total"):
        return ""
    unit, total = progress.get("unit") or "step", progress["total"]
    text = f"{unit} {progress.get('done') or 0:g}/{total:g}"
    left = progress.get("eta_seconds")
    if isinstance(left, (int, float)) and left > 0:
        text += f" · about {words.short_duration(left)} left"
    return text


def _phases(state: State, now: float) -> str:
    cells = []
    for name, kind, seconds in state.phases():
        text = name
        if kind == "now" and name == "training":
            text = f"{name} {words.short_duration(state.elapsed(now))}"
        elif seconds is not None and seconds >= 0.05:
            text = f"{name} {words.short_duration(seconds)}"
        colour = _PHASE_COLOURS[kind]
        shade = f"color:{colour}" if kind == "failed" else "opacity:1" if kind == "now" else _DIM
        cells.append(
            f'<div style="flex:1 1 0;min-width:0;border-top:3px solid {colour};padding-top:2px;'
            f'overflow:hidden;white-space:nowrap;text-overflow:ellipsis">'
            f'<span style="{shade}">{escape(text)}</span></div>'
        )
    return (
        '<div style="display:flex;gap:3px;padding:8px 10px 4px;font-size:11px">'
        f"{''.join(cells)}</div>"
    )


def _chart(chart: Chart) -> str:
    lasts = []
    for index, line in enumerate(chart.lines):
        if not line.value:
            continue
        name = f'<span style="{_DIM}">{escape(line.name)}</span> ' if line.name else ""
        colour = COLOURS[index % len(COLOURS)]
        lasts.append(f'{name}<b style="color:{colour}">{words.number(line.value[-1])}</b>')
    head = (
        '<div style="display:flex;gap:8px;font-size:12px;white-space:nowrap;overflow:hidden">'
        f'<b style="flex:1 1 0;overflow:hidden;text-overflow:ellipsis">{escape(chart.title)}</b>'
        f"<span>{' · '.join(lasts)}</span></div>"
    )
    picture = _image(svg(chart), chart.summary(), WIDTH, HEIGHT, "width:100%;height:auto;margin:0")
    return f'<div style="flex:1 1 260px;min-width:0;max-width:420px">{head}{picture}</div>'


def _failure(state: State) -> str:
    verdict = state.verdict or {}
    parts = [f'<div style="font-weight:600;padding-bottom:2px">{escape(state.sentence)}</div>']
    place = _place(verdict)
    if place:
        parts.append(f'<div style="{_DIM}">{escape(place)}</div>')
    lines = [line for line in verdict.get("source") or () if isinstance(line, Mapping)]
    if lines:
        parts.append(_source(lines))
    shapes = _shapes(verdict.get("shapes") or ())
    if shapes:
        parts.append(f'<div style="{_DIM}">At that line: {escape(shapes)}</div>')
    remedy = verdict.get("remedy")
    if isinstance(remedy, Mapping) and remedy.get("text"):
        parts.append(f'<div style="padding-top:2px">{escape(str(remedy["text"]))}</div>')
    code = verdict.get("code") or state.status.get("error_code")
    if code and code != "000":
        parts.append(f'<div style="font-size:11px;opacity:0.55">{escape(str(code))}</div>')
    return (
        f'<div style="background-color:rgba(229,57,53,0.09);border-left:3px solid {BAD};'
        f'margin:6px 10px 8px;padding:7px 12px">{"".join(parts)}</div>'
    )


def _place(verdict: Mapping[str, Any]) -> str:
    where = verdict.get("where")
    if not isinstance(where, Mapping) or not where.get("line"):
        return ""
    cell = where.get("cell")
    place = str(where.get("file") or "")
    if isinstance(cell, Mapping):
        count = cell.get("execution_count")
        place = f"Cell [{count}]" if count is not None else "The cell"
    text = f"{place}, line {where['line']}"
    if where.get("function"):
        text += f", in {where['function']}"
    if int(where.get("learner") or 1) > 1:
        text += f" (learner {where['learner']})"
    return text


def _source(lines: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for line in lines:
        failing = bool(line.get("failing"))
        mark = "→" if failing else " "
        shade = "background-color:rgba(229,57,53,0.16);" if failing else ""
        text = f"{mark} {line.get('line', ''):>4}  {line.get('text', '')}"
        rows.append(
            f'<div style="{shade}white-space:pre;overflow:hidden;text-overflow:ellipsis">'
            f"{escape(text)}</div>"
        )
    return (
        f'<div style="{_MONO};font-size:12px;line-height:1.45;background-color:{SOFT};'
        f'border:1px solid {LINE};padding:4px 8px;margin:5px 0">{"".join(rows)}</div>'
    )


def _shapes(shapes: Iterable[Any]) -> str:
    said = []
    for shape in shapes:
        if isinstance(shape, Mapping) and shape.get("name"):
            facts = [str(shape[key]) for key in ("dtype", "type", "shape") if shape.get(key)]
            said.append(" ".join([str(shape["name"]), *dict.fromkeys(facts)]))
    return " · ".join(said[:8])


def _note(text: str, colour: str) -> str:
    return (
        f'<div style="border-left:3px solid {colour};margin:2px 10px 4px;padding:1px 8px;'
        f'font-size:12px">{escape(text)}</div>'
    )


def _log(state: State) -> str:
    lines = state.tail.lines()
    prefix = len(state.tail.learners) > 1
    rows = []
    for learner, text in lines:
        who = ""
        if prefix:
            colour = COLOURS[(learner - 1) % len(COLOURS)]
            who = f'<span style="color:{colour}">{learner}│</span> '
        rows.append(f"{who}{escape(text) or ' '}")
    if not rows:
        if state.terminal:
            return ""
        rows = [f'<span style="{_DIM}">No output yet</span>']
    body = "\n".join(rows)
    return (
        f'<div style="background-color:{SOFT};border-top:1px solid {LINE};padding:6px 10px">'
        f'<pre style="{_PLAIN};{_MONO};font-size:12px;line-height:1.5;white-space:pre;'
        f'overflow-x:auto">{body}</pre></div>'
    )


def _image(svg_text: str, words_for_it: str, width: int, height: int, style: str) -> str:
    data = base64.b64encode(svg_text.encode()).decode("ascii")
    return (
        f'<img alt="{escape(words_for_it)}" width="{width}" height="{height}" style="{style}" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _icon(kind: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" width="16" height="16">'
        f"{_ICONS[kind]}</svg>"
    )
