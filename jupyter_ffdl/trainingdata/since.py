"""What people write for ``since_time`` (FfDL contract §2.6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo

from jupyter_ffdl.errors import BadInput

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("week", "weeks"), 604800.0),
}
_DURATION_UNITS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Go, too, knows only its own zone and UTC by name; these are what `date` prints most.
_ZONES: dict[str, float] = {
    "UTC": 0,
    "GMT": 0,
    "Z": 0,
    "CET": 1,
    "CEST": 2,
    "EET": 2,
    "EEST": 3,
    "BST": 1,
}
_ZONES |= {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
_ZONES |= {"WET": 0, "WEST": 1, "JST": 9, "IST": 5.5}

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago", re.IGNORECASE)
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*"
    r"(Z|[-+]\d\d(?::?\d\d)?)?)?",
    re.IGNORECASE | re.ASCII,
)
_ANSI = re.compile(  # Mon Jan 2 15:04:05 2006, with a zone before or after the year
    r"(?:[A-Z][a-z]{2},?\s+)([A-Z][a-z]{2})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)(?:\s+(ZONE))?"
    r"\s+(\d{4})(?:\s+(ZONE))?".replace("ZONE", r"[-+]\d{4}|[A-Z]{1,5}"),
    re.ASCII,
)
_RFC822 = re.compile(  # 02 Jan 06 15:04 MST
    r"(\d{1,2})\s+([A-Z][a-z]{2})\s+(\d\d)\s+(\d\d):(\d\d)\s+([-+]\d{4}|[A-Z]{1,5})", re.ASCII
)
_KITCHEN = re.compile(r"(\d{1,2}):(\d\d)\s*([AP]M)", re.IGNORECASE | re.ASCII)

Form = Callable[[str, datetime], "datetime | None"]


def parse(text: str, now: datetime) -> int:
    """Return epoch milliseconds; raises BadInput for what is not understood.

    ``now`` is aware; its zone holds where ``text`` names none.
    """
    text = text.strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        return _milliseconds_given(text)
    for form in _FORMS:
        try:
            found = form(text, now)
        except (ValueError, OverflowError) as e:
            raise _not_understood(text) from e
        if found is not None:
            return _milliseconds(found)
    raise _not_understood(text)


def _milliseconds_given(text: str) -> int:
    # Beyond 19 digits nothing was ever logged, and a database of ours would overflow.
    if len(text) > 19:
        raise _not_understood(text)
    return int(text)


def _milliseconds(at: datetime) -> int:
    since_epoch = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since_epoch // timedelta(milliseconds=1)


def _not_understood(text: str) -> BadInput:
    return BadInput(
        f"since_time is not understood: {text[:100]}",
        hint="Use epoch milliseconds, ISO 8601, a duration such as 10m, or '5 min ago'",
        field="since_time",
    )


def _word(text: str, now: datetime) -> datetime | None:
    word = text.lower()
    if word == "now":
        return now
    return now - timedelta(days=1) if word == "yesterday" else None


def _ago(text: str, now: datetime) -> datetime | None:
    match = _AGO.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        return None
    return now - timedelta(seconds=float(match[1]) * _UNITS[match[2].lower()])


def _duration(text: str, now: datetime) -> datetime | None:
    """Read a duration as Go does: ``1h30m``; whatever its sign it goes back from now."""
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        return None
    seconds = 0.0
    for part in parts:
        number, unit = re.fullmatch(r"[-+]?([\d.]+)(\D+)", part).groups()  # type: ignore[union-attr]
        seconds += float(number) * _DURATION_UNITS[unit]
    return now - timedelta(seconds=seconds)


def _iso(text: str, now: datetime) -> datetime | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    microsecond = int((match[7] or "0").ljust(9, "0")) // 1000
    zone = _zone(match[8], now)
    return datetime(year, month, day, hour, minute, second, microsecond, zone)


def _ansi(text: str, now: datetime) -> datetime | None:
    match = _ANSI.fullmatch(text)
    if match is None:
        return None
    month, day, hour, minute, second, before, year, after = match.groups()
    zone = _zone(before or after, now)
    return datetime(
        int(year), _month(month), int(day), int(hour), int(minute), int(second), tzinfo=zone
    )


def _rfc822(text: str, now: datetime) -> datetime | None:
    match = _RFC822.fullmatch(text)
    if match is None:
        return None
    day, month, short_year, hour, minute, zone = match.groups()
    year = int(short_year) + (1900 if int(short_year) >= 69 else 2000)
    return datetime(year, _month(month), int(day), int(hour), int(minute), tzinfo=_zone(zone, now))


def _kitchen(text: str, now: datetime) -> datetime | None:
    match = _KITCHEN.fullmatch(text)
    if match is None:
        return None
    hour = int(match[1])
    if not 1 <= hour <= 12:
        raise ValueError(text)
    hour = hour % 12 + (12 if match[3].upper() == "PM" else 0)
    return now.replace(hour=hour, minute=int(match[2]), second=0, microsecond=0)


def _month(name: str) -> int:
    return _MONTHS.index(name.lower()) + 1


def _zone(text: str | None, now: datetime) -> tzinfo | None:
    if not text:
        return now.tzinfo
    if text.upper() in _ZONES:
        return timezone(timedelta(hours=_ZONES[text.upper()]))
    if text[0] not in "+-":
        if text == now.tzname():
            return now.tzinfo
        raise ValueError(text)
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


_FORMS: tuple[Form, ...] = (_word, _ago, _duration, _iso, _ansi, _rfc822, _kitchen)
