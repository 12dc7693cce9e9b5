"""Sizes of memory and storage, in FfDL's spelling and FfDL's bytes (FfDL contract §1.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

_MEGA = 1_048_576
_MAX_BYTES = 2**62


@dataclass(frozen=True)
class Size:
    """An amount: ``value`` and ``unit`` as JSON shows them, and the ``bytes`` that are meant."""

    value: int | float
    unit: str
    bytes: int


_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)[ \t]*([A-Za-z]{1,3})")
_FFDL = {"mb": "MB", "mib": "MiB", "gb": "GB", "gib": "GiB"}
_POWERS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_POWERS |= {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TERA = {"tb": 10**12, "tib": 2**40}


def parse(text: str) -> Size | None:
    """Return the size that ``text`` names, or None where it names none.

    Part bytes are dropped. FfDL's ``GB`` is 1000 × 1 048 576 bytes, its ``MiB`` is rounded to two
    digits first: the oddities are kept, because a running cluster's quotas were set by them.
    """
    match = _SIZE.fullmatch(text.strip(" \t\r\n"))
    if match is None:
        return None
    amount, unit = Decimal(match[1]), match[2]
    name = _FFDL.get(unit.lower())
    if name is not None:
        size = Size(_plain(amount), name, _ffdl_bytes(amount, name))
    else:
        factor = _POWERS.get(unit) or _TERA.get(unit.lower())
        if factor is None:
            return None
        size_bytes = int(amount * factor)
        size = in_megabytes(size_bytes)
    return size if size.bytes <= _MAX_BYTES else None


def in_megabytes(size_bytes: int) -> Size:
    """Return a size that FfDL's four units cannot spell: JSON shows it in ``MB`` of 2**20."""
    return Size(_plain(Decimal(size_bytes) / _MEGA), "MB", size_bytes)


def _ffdl_bytes(amount: Decimal, unit: str) -> int:
    if unit == "MB":
        mega = amount
    elif unit == "GB":
        mega = amount * 1000
    else:
        factor = Decimal("1.048576") if unit == "MiB" else Decimal("1073.741824")
        mega = (amount * factor).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return int((mega * _MEGA).to_integral_value(ROUND_FLOOR))


def _plain(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def hint(text: str) -> str:
    """Return what to write instead of ``text``."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return f"Add a unit: {text}MB or {text}GB"
    match = re.fullmatch(r"([0-9.]{1,30}) *([A-Za-z]{1,3})", text)
    spelled = match and next((u for u in _POWERS if u.lower() == match[2].lower()), None)
    if match and spelled and parse(match[1] + spelled) is not None:
        return f"Capitals count here: {match[1]}{spelled}"
    return "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"


DEFAULT_MEMORY = Size(8, "GB", 8_388_608_000)
"""What FfDL's user guide promised (its code gave 512 MB)."""

DEFAULT_STORAGE = in_megabytes(10 * 2**30)
