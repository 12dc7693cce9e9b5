"""What people read: labels of statuses, durations, numbers, sizes, sentences. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..training import LABELS, TERMINAL, Status

PHASES = ("submitted", "starting", "loading", "training", "saving", "done")
_PHASE_OF: Mapping[str, str] = {
    "NOT_STARTED": "submitted",
    "QUEUED": "submitted",
    "PENDING": "starting",
    "DOWNLOADING": "loading",
    "PROCESSING": "training",
    "STORING": "saving",
    "COMPLETED": "done",
    "FAILED": "done",
    "HALTED": "done",
}


def phase(status: str) -> str:
    """Return the phase that a status belongs to."""
    return _PHASE_OF.get(status, "submitted")


def known(status: Mapping[str, Any]) -> Status:
    """Return the status in a ``training_status``; one of a newer service counts as queued."""
    try:
        return Status(status.get("status", "NOT_STARTED"))
    except ValueError:
        return Status.NOT_STARTED


def label(status: Mapping[str, Any]) -> str:
    """Return the words for a ``training_status`` (FfDL contract §2.4), without the reason."""
    here = known(status)
    if here in TERMINAL:
        by = status.get("halted_by")
        return f"Halted by {by}" if here is Status.HALTED and by else LABELS[here]
    if status.get("halting"):
        return "Stopping"
    if here is Status.QUEUED and status.get("queue_position"):
        return f"{LABELS[here]} ({status['queue_position']})"
    return LABELS[here]


def describe(status: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """Return why it waits or failed, in one sentence; empty if nothing is to say."""
    here = known(status)
    if verdict and verdict.get("sentence") and here is Status.FAILED:
        return str(verdict["sentence"])
    if here is Status.FAILED:
        code = status.get("exit_code")
        unknown = f"Cause not identified (exit code {code})" if code else "Cause not identified"
        return str(status.get("reason") or unknown)
    if here in {Status.QUEUED, Status.NOT_STARTED, Status.PENDING}:
        return str(status.get("pending_reason") or "")
    return ""


def duration(seconds: float) -> str:
    """Return ``00:03:12``; days count on in hours."""
    whole = max(int(seconds), 0)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def short_duration(seconds: float) -> str:
    """Return ``0.4 s``, ``12 s``, ``3:12`` or ``1:03:12``."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def number(value: float) -> str:
    """Return a value with three significant digits, as a person writes it."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text and abs(value) >= 100 else text
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def size(size_bytes: float) -> str:
    """Return ``512 bytes``, ``1.2 MiB``."""
    if size_bytes < 1024:
        return f"{int(size_bytes)} bytes"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size_bytes /= 1024
        if size_bytes < 1024 or unit == "TiB":
            return f"{size_bytes:.1f} {unit}"
    raise AssertionError("unreachable")


def plural(count: int, one: str, many: str = "") -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def title(name: str, counted: int) -> str:
    """Return the name as it is shown: a repeated one with its number."""
    return f"{name} #{counted}" if counted > 1 else name
