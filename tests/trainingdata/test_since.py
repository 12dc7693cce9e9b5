import contextlib
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.trainingdata.since import parse

NOW = datetime(2026, 7, 7, 15, 0, 30, 250_000, timezone.utc)
NOW_MS = 1783436430250


def ms(*parts, zone=timezone.utc):
    return int(datetime(*parts, tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("0", 0),
        ("1531000000000", 1531000000000),
        (" 1531000000000 ", 1531000000000),
        ("now", NOW_MS),
        ("yesterday", NOW_MS - 86_400_000),
        ("10m", NOW_MS - 600_000),
        ("1h30m", NOW_MS - 5_400_000),
        ("1.5h", NOW_MS - 5_400_000),
        ("-10m", NOW_MS - 600_000),
        ("90s", NOW_MS - 90_000),
        ("250ms", NOW_MS - 250),
        ("5 s ago", NOW_MS - 5_000),
        ("5 sec ago", NOW_MS - 5_000),
        ("5 secs ago", NOW_MS - 5_000),
        ("1 second ago", NOW_MS - 1_000),
        ("5 seconds ago", NOW_MS - 5_000),
        ("5 m ago", NOW_MS - 300_000),
        ("5 min ago", NOW_MS - 300_000),
        ("5 mins ago", NOW_MS - 300_000),
        ("1 minute ago", NOW_MS - 60_000),
        ("5 minutes ago", NOW_MS - 300_000),
        ("2 h ago", NOW_MS - 7_200_000),
        ("2 hours ago", NOW_MS - 7_200_000),
        ("1 hour ago", NOW_MS - 3_600_000),
        ("3 d ago", NOW_MS - 259_200_000),
        ("3 days ago", NOW_MS - 259_200_000),
        ("1 day ago", NOW_MS - 86_400_000),
        ("1 week ago", NOW_MS - 604_800_000),
        ("2 weeks ago", NOW_MS - 1_209_600_000),
        ("2026-07-07T14:00:00Z", ms(2026, 7, 7, 14)),
        ("2026-07-07T14:00:00.123456Z", ms(2026, 7, 7, 14) + 123),
        ("2026-07-07T14:00:00.123456789+02:00", ms(2026, 7, 7, 12) + 123),
        ("2026-07-07T14:00:00+0200", ms(2026, 7, 7, 12)),
        ("2026-07-07 14:00", ms(2026, 7, 7, 14)),
        ("2026-07-07", ms(2026, 7, 7)),
        ("Mon Jan 2 15:04:05 2006", ms(2006, 1, 2, 15, 4, 5)),
        ("Mon Jan  2 15:04:05 2006", ms(2006, 1, 2, 15, 4, 5)),
        ("Mon Jan 2 15:04:05 MST 2006", ms(2006, 1, 2, 22, 4, 5)),
        ("Mon Jan 02 15:04:05 -0700 2006", ms(2006, 1, 2, 22, 4, 5)),
        ("Mon Jan 2 15:04:05 UTC 2006", ms(2006, 1, 2, 15, 4, 5)),
        ("02 Jan 06 15:04 MST", ms(2006, 1, 2, 22, 4)),
        ("02 Jan 06 15:04 -0700", ms(2006, 1, 2, 22, 4)),
        ("31 Dec 99 23:59 UTC", ms(1999, 12, 31, 23, 59)),
        ("3:04PM", ms(2026, 7, 7, 15, 4)),
        ("12:30AM", ms(2026, 7, 7, 0, 30)),
        ("12:30pm", ms(2026, 7, 7, 12, 30)),
    ],
)
def test_what_people_write(text, since):
    assert parse(text, NOW) == since


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "ago",
        "5 ago",
        "5 fortnights ago",
        "10 m",
        "m10",
        "1e3",
        "-5",
        "٣",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-07-07T25:00:00Z",
        "13:04PM",
        "0:04AM",
        "Mon Foo 2 15:04:05 2006",
        "02 Jan 06 15:04 XYZ",
        "9" * 20,
        "9" * 500 + "h",
        "1" * 30 + " weeks ago",
        "99999999999h",
    ],
)
def test_what_is_not_understood_is_refused_by_name(text):
    with pytest.raises(BadInput) as caught:
        parse(text, NOW)
    assert caught.value.field == "since_time"
    assert caught.value.hint


def test_a_time_without_a_zone_is_in_the_zone_of_now():
    zone = timezone(timedelta(hours=2), "CEST")
    assert parse("3:04PM", NOW.astimezone(zone)) == ms(2026, 7, 7, 13, 4)
    assert parse("Mon Jan 2 15:04:05 2006", NOW.astimezone(zone)) == ms(2006, 1, 2, 13, 4, 5)


@settings(deadline=None)
@given(st.integers(0, 253_402_300_799_999))
def test_every_time_in_iso_comes_back_in_milliseconds(milliseconds):
    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
    assert parse(at.isoformat(), NOW) == milliseconds
    assert parse(str(milliseconds), NOW) == milliseconds


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_time_or_bad_input(text):
    with contextlib.suppress(BadInput):
        assert parse(text, NOW) >= -(10**15)
