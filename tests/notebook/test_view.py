"""What is shown: one line, HTML that nobody else's text can break, curves."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.notebook import curve, words
from jupyter_ffdl.notebook.html import view
from jupyter_ffdl.notebook.logtail import LogTail, clean
from jupyter_ffdl.notebook.scalars import Scalars, Series
from jupyter_ffdl.notebook.state import State

NOW = 1_700_000_100.0
ALLOWED_TAGS = {"div", "span", "b", "code", "img", "pre"}


def state(status: str = "PROCESSING", **more) -> State:
    begun = [("NOT_STARTED", 0), ("PENDING", 1), ("DOWNLOADING", 2), ("PROCESSING", 3)]
    if status in {"COMPLETED", "FAILED", "HALTED"}:
        begun += [("STORING", 15), (status, 16)]
    start = NOW - 20
    stamp = [(name, str(int((start + after) * 1000))) for name, after in begun]
    told = State("training-ab12cd34ef56", "mnist")
    told.status = {
        "status": status,
        "submitted": str(int(start * 1000)),
        "history": [{"status": name, "timestamp": at} for name, at in stamp],
        **({"completed": stamp[-1][1]} if len(stamp) > 4 else {}),
        **more,
    }
    return told


def points(told: State, tag: str, values: list[float], source: str = "tb") -> None:
    columns = {
        "learner": 1,
        "source": source,
        "tag": tag,
        "step": list(range(len(values))),
        "wall_time": [0.0] * len(values),
        "value": values,
    }
    told.apply({"type": "scalars", "series": [columns]})


def test_one_line_tells_status_time_and_loss():
    told = state()
    points(told, "accuracy", [0.5])
    points(told, "loss", [1.0, 0.4123])
    assert told.line(NOW) == 'Training training-ab12cd34ef56 "mnist" Running 00:00:17 loss=0.412'


def test_a_failure_is_told_by_its_sentence():
    told = state("FAILED", exit_code=1)
    told.verdict = {"sentence": "ValueError in Cell [5], line 3: no"}
    assert told.line(NOW).endswith("Failed 00:00:13: ValueError in Cell [5], line 3: no")


def test_a_repeated_name_has_its_number():
    told = state()
    told.apply({"type": "row", "row": {"name": "mnist", "number": 3}})
    assert '"mnist #3"' in told.line(NOW)


def test_an_unreachable_service_is_told_with_the_age_of_what_is_known():
    told = state()
    told.apply({"type": "offline", "since": NOW - 40})
    assert "last seen 40 s ago" in told.line(NOW)
    assert "Reconnecting, last update 40 s ago" in view(told, NOW)
    told.apply({"type": "log", "learner": 1, "text": "back\n"})
    assert "Reconnecting" not in view(told, NOW)


@pytest.mark.parametrize(
    ("status", "more", "at", "kind"),
    [
        pytest.param("PROCESSING", {}, "training", "now", id="running"),
        pytest.param("FAILED", {"error_code": "C201"}, "training", "failed", id="the code failed"),
        pytest.param("FAILED", {"error_code": "S303"}, "saving", "failed", id="storing failed"),
        pytest.param("HALTED", {}, "training", "halted", id="halted"),
        pytest.param("COMPLETED", {}, "done", "done", id="completed"),
    ],
)
def test_the_phases_show_where_it_is_or_ended(status, more, at, kind):
    assert {name: shown for name, shown, _ in state(status, **more).phases()}[at] == kind


class _Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.depth += tag != "img"

    def handle_endtag(self, tag):
        self.depth -= 1

    def handle_data(self, data):
        self.text += data


EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>&\"'"


def test_no_text_becomes_markup():
    told = state("FAILED", reason=EVIL)
    told.name = EVIL
    told.warnings = [EVIL]
    told.tail.feed(1, EVIL + "\n")
    told.verdict = {
        "sentence": EVIL,
        "code": EVIL,
        "where": {"line": 3, "file": EVIL, "function": EVIL},
        "source": [{"line": 3, "text": EVIL, "failing": True}],
        "shapes": [{"name": EVIL, "dtype": EVIL}],
        "remedy": {"text": EVIL},
    }
    points(told, EVIL, [1.0, 2.0], source=EVIL)
    parsed = _Parsed(view(told, NOW))
    assert {tag for tag, _ in parsed.tags} <= ALLOWED_TAGS
    assert parsed.depth == 0
    for tag, attributes in parsed.tags:
        assert set(attributes) <= {"style", "src", "alt", "width", "height"}, tag
        assert (attributes.get("src") or "data:image/svg+xml;base64,").startswith("data:image/svg")
    assert "<script>alert(1)</script>" in parsed.text


def test_nothing_is_fetched_from_anywhere():
    told = state()
    points(told, "loss", [1.0, 0.5])
    text = view(told, NOW)
    assert "url(" not in text
    assert not re.search(r"""(src|href)="(?!data:)""", text)


def test_pictures_are_drawings_with_words_for_those_who_cannot_see_them():
    told = state()
    points(told, "loss", [1.0, 0.5])
    images = [attributes for tag, attributes in _Parsed(view(told, NOW)).tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Running", "loss: 0.500 at step 1"]
    for image in images:
        ET.fromstring(base64.b64decode((image["src"] or "").partition(",")[2]))


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colours"),
        pytest.param("\x1b]0;title\x07x", "x", id="a window's title"),
        pytest.param("a\x00b\x07", "ab", id="controls"),
        pytest.param("a\tb", "a\tb", id="a tab stays"),
        pytest.param("ä€😀", "ä€😀", id="letters of the world"),
    ],
)
def test_a_line_is_shown_without_its_controls(written, seen):
    assert clean(written) == seen


def test_a_progress_bar_is_one_line_at_its_last_value():
    tail = LogTail(3)
    for percent in range(100):
        tail.feed(1, f"\r{percent}%")
    assert tail.lines() == [(1, "99%")]
    tail.feed(1, "\ndone\n")
    assert tail.lines() == [(1, "99%"), (1, "done")]


def test_a_line_of_ten_megabytes_is_cut_with_its_size():
    tail = LogTail(3)
    tail.feed(1, "x" * 10_000_000 + "\n")
    text = tail.lines()[0][1]
    assert len(text) < 2100
    assert "10000000 characters" in text


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_cutting_the_log_anywhere_shows_the_same(text, cuts):
    whole, pieces = LogTail(5), LogTail(5)
    whole.feed(1, text)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in pairwise(edges):
        pieces.feed(1, text[start:end])
    assert pieces.lines() == whole.lines()


def test_marks_become_the_values_that_json_lacks():
    one = Series("loss")
    one.extend(
        {
            "step": [1, 2, 3],
            "wall_time": [0, 0, 0],
            "value": [1.0, None, None],
            "marks": [[1, "nan"], [2, "inf"]],
        }
    )
    assert math.isnan(one.value[1])
    assert one.value[2] == math.inf
    assert curve.not_drawable([one]) == ["loss became NaN at step 2"]


def test_a_tag_of_two_sources_has_a_key_for_each():
    scalars = Scalars(
        [Series("loss", source="tb/train"), Series("loss", source="tb/val"), Series("acc")]
    )
    assert list(scalars) == ["loss", "acc", "tb/val/loss"]
    assert scalars["loss"].source == "tb/train"
    with pytest.raises(KeyError, match="recorded: loss"):
        scalars["los"]


@pytest.mark.parametrize(
    ("tags", "charts"),
    [
        pytest.param(
            ["train/loss", "val/loss"], {"loss": ["train", "val"]}, id="splits share a chart"
        ),
        pytest.param(["loss/train", "loss/test"], {"loss": ["train", "test"]}, id="either way"),
        pytest.param(["val_loss", "loss"], {"loss": ["val", ""]}, id="as Keras names them"),
        pytest.param(["lr", "loss"], {"loss": [""], "lr": [""]}, id="the loss comes first"),
    ],
)
def test_curves_are_grouped_by_what_they_measure(tags, charts):
    made = curve.charts([Series(tag, step=[1], wall_time=[1], value=[1]) for tag in tags])
    assert {chart.title: [line.name for line in chart.lines] for chart in made} == charts


@given(st.lists(st.floats(width=32) | st.just(math.nan), max_size=400))
def test_any_values_can_be_drawn(values):
    line = curve.Line("", [float(step) for step in range(len(values))], values)
    text = curve.svg(curve.Chart("a", [line]))
    ET.fromstring(text)
    numbers = re.findall(r'(?:d|cx|cy|x|y)="([^"]*)"', text)
    assert not any("nan" in number or "inf" in number for number in numbers)


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_ticks_hold_the_values_between_them(low, width):
    high = low + width
    marks = curve.ticks(low, high)
    slack = max(abs(low), abs(high), 1e-9) * 1e-6
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 9
    assert marks == sorted(marks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0.41234, "0.412", id="three digits"),
        pytest.param(12.0, "12.0", id="tens"),
        pytest.param(1234.5, "1234", id="thousands"),
        pytest.param(1e-7, "1.00e-7", id="tiny"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(-0.5, "-0.500", id="negative"),
        pytest.param(math.nan, "nan", id="no number"),
        pytest.param(-math.inf, "-inf", id="minus infinity"),
    ],
)
def test_numbers_are_short(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.6, "12 s"), (192, "3:12"), (3792, "1:03:12"), (-1, "0.0 s")],
)
def test_durations_are_short(seconds, text):
    assert words.short_duration(seconds) == text
