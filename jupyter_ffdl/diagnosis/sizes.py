"""Amounts of memory in sentences and as a manifest spells them (FfDL contract §1.3)."""

from __future__ import annotations

from math import ceil

from .verdict import Remedy

MB = 1_048_576
GB = 1000 * MB
GIB = 1 << 30
_UNITS = ((GIB, "Gi"), (GB, "Gb"), (MB, "MB"))


def shown(size_bytes: int) -> str:
    """Return the size for people: ``1.00 GiB``, ``300 MiB``."""
    if size_bytes >= GIB:
        return f"{size_bytes / GIB:.2f} GiB"
    return f"{size_bytes / MB:.0f} MiB"


def spelled(size_bytes: int) -> str:
    """Return the size as a manifest may hold it, at least as much."""
    for unit, name in _UNITS:
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    unit, name = _UNITS[1] if size_bytes > 2 * GB else _UNITS[2]
    return f"{ceil(size_bytes / unit)}{name}"


def ask_for_more(limit_bytes: int | None) -> Remedy | None:
    """Return the remedy for a limit that was too low: twice as much."""
    if not limit_bytes:
        return None
    more = spelled(2 * limit_bytes)
    return Remedy(
        f"Ask for more memory: {spelled(limit_bytes)} → {more}, or load less at once",
        "--memory",
        more,
    )
