r"""How far a training is, as its last lines of output tell.

One table of the forms that libraries print: a form is a pattern over one line, as last rewritten
by ``\r`` and without colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_NUMBER = r"\d[\d_,]*"
_CLOCK = r"(?:\d+ days?, )?(?:\d+:)?\d{1,2}:\d\d"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_MAX_LINE = 2000


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` in ``unit``; ``eta_seconds`` where the line says what is left.

    ``form`` names the library whose way of printing it is. ``text`` is the line, for a tooltip.
    """

    done: float
    total: float
    unit: str
    form: str
    text: str
    eta_seconds: float | None = None

    @property
    def fraction(self) -> float:
        """Return a number from 0 to 1."""
        return max(0.0, min(1.0, self.done / self.total)) if self.total > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the progress for the wire."""
        return {
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "form": self.form,
            "fraction": self.fraction,
            "eta_seconds": self.eta_seconds,
            "text": self.text,
        }


def _form(name: str, unit: str, pattern: str) -> tuple[str, str, re.Pattern[str]]:
    return name, unit, re.compile(pattern, re.ASCII)


FORMS = (
    # Epoch 3:  45%|████▌     | 45/100 [00:12<00:15,  3.61it/s, loss=0.3]; Lightning and Hugging
    # Face print through tqdm; Lightning 2 without the bar's frame in notebooks.
    _form(
        "tqdm",
        "step",
        rf"(?P<percent>\d{{1,3}})%\|.*?\|\s*(?P<done>[\d.,_]+[kMGT]?)/(?P<total>[\d.,_]+[kMGT]?)"
        rf"\s*\[(?P<elapsed>{_CLOCK})<(?P<left>{_CLOCK}|\?)",
    ),
    # Lightning's rich bar: Epoch 1/9 ━━━━━ 120/938 0:00:03 • 0:00:20 41.21it/s
    _form(
        "rich",
        "step",
        rf"[━╸╺─█╌-]{{3,}}.*?(?P<done>{_NUMBER})/(?P<total>{_NUMBER})\s+{_CLOCK}\s*•\s*"
        rf"(?P<left>{_CLOCK}|-:--:--)",
    ),
    # Keras 3:  625/1875 ━━━━━━━━━━ 3s 2ms/step - loss: 0.3; Keras 2: 625/1875 [====>....] - ETA: 3s
    _form("keras", "step", rf"^\s*(?P<done>{_NUMBER})/(?P<total>{_NUMBER})\s+(?:\[[=>.]+\]|━+)"),
    # Hugging Face without a bar: {'loss': 0.51, …, 'epoch': 1.2}: no total, so not in this table.
    # PyTorch examples: Train Epoch: 3 [12800/60000 (21%)]
    _form(
        "pytorch",
        "sample",
        rf"[Ee]poch:?\s*\d+\s*\[\s*(?P<done>{_NUMBER})/(?P<total>{_NUMBER}) \(\d+%\)\]",
    ),
    # ImageNet and torchvision: Epoch: [3][ 120/5005]  eta: 0:10:05
    _form("torchvision", "step", r"[Ee]poch:\s*\[\d+\]\s*\[\s*(?P<done>\d+)/(?P<total>\d+)\]"),
    # epoch 3/10, Epoch: 3 of 10, [Epoch 3/10], step 100/1000, iter 5/9
    _form(
        "counter",
        "",
        rf"(?i:\b(?P<unit>epoch|step|iter(?:ation)?|batch|round|fold|trial))s?[\s:\[(#]*"
        rf"(?P<done>{_NUMBER})\s*(?:/|\bof\b)\s*(?P<total>{_NUMBER})",
    ),
    _form("percent", "%", r"(?:^|\s)(?P<done>\d{1,3}(?:\.\d+)?)\s?%(?:\s|$)"),
)
"""First match wins, so what says most stands first."""

_KERAS_LEFT = re.compile(r"ETA:\s*(?:(?:(\d+):)?(\d+):(\d\d)|(\d+)s)")
_UNITS = {"iter": "iteration"}
_FACTORS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def of_lines(lines: Iterable[str]) -> Progress | None:
    """Return what the last line with a progress in it says; ``lines`` oldest first."""
    for line in reversed(list(lines)):
        progress = of_line(line)
        if progress is not None:
            return progress
    return None


def of_line(line: str) -> Progress | None:
    """Return the progress in one line, None where it has none."""
    text = _COLOURS.sub("", line[:_MAX_LINE]).strip()
    if not any(character.isdigit() for character in text):
        return None
    for name, unit, pattern in FORMS:
        match = pattern.search(text)
        if match is not None:
            found = match.groupdict()
            done, total = _count(found["done"]), _count(found.get("total") or "100")
            if done is None or total is None or total <= 0 or done > total:
                continue
            word = (found.get("unit") or unit).lower()
            return Progress(
                done, total, _UNITS.get(word, word), name, text[:200], _left(found, text)
            )
    return None


def _count(text: str) -> float | None:
    factor = _FACTORS.get(text[-1:], 1.0)
    digits = text.rstrip("kMGT").replace("_", "").rstrip(".,")
    # "1,200" is a count, "1.2k" a short one.
    try:
        return float(digits.replace(",", "")) * factor
    except ValueError:
        return None


def _left(found: dict[str, str | None], text: str) -> float | None:
    clock = found.get("left")
    if clock and clock[0].isdigit():
        days, _, rest = clock.rpartition(", ")
        seconds = 0.0
        for part in rest.split(":"):
            seconds = seconds * 60 + int(part)
        return seconds + (86400 * int(days.split()[0]) if days else 0)
    match = _KERAS_LEFT.search(text)
    if match is None:
        return None
    hours, minutes, seconds_text, only = match.groups()
    if only is not None:
        return float(only)
    return float(int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds_text))
