import time

import pytest

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.learner.lineindex import LineIndex
from jupyter_ffdl.learner.outputs import Stamps
from jupyter_ffdl.trainingdata import search as module
from jupyter_ffdl.trainingdata.logfile import LogFile
from jupyter_ffdl.trainingdata.search import search

TEXT = """\
start
Loss is 0.5, loss again
WARNING: hot
Traceback (most recent call last):
  File "x.py"
ValueError: Ärger
the end: loss
""".encode()


@pytest.fixture
def log(tmp_path):
    made = LogFile(tmp_path / "log", tmp_path / "idx", 1, 1)
    made.path.write_bytes(TEXT)
    return made


def lines(found):
    return [hit.line for hit in found.hits]


def test_text_is_found_once_a_line_whatever_its_case(log):
    found = search(log, "loss")
    assert lines(found) == [2, 7]
    assert found.next_offset is None
    first = found.hits[0]
    assert (first.offset, first.text) == (6, "Loss is 0.5, loss again")
    assert first.text[first.start : first.end] == "Loss"
    assert lines(search(log, "Loss", match_case=True)) == [2]


def test_text_beyond_ascii_is_found_whatever_its_case(log):
    (hit,) = search(log, "ärger").hits
    assert hit.text[hit.start : hit.end] == "Ärger"
    assert search(log, "ärger", match_case=True).hits == []


@pytest.mark.parametrize(("level", "expected"), [("error", [4, 6]), ("warning", [3])])
def test_levels(log, level, expected):
    assert lines(search(log, "", level=level)) == expected


def test_a_pattern_runs_on_its_own(log):
    found = search(log, r"(?:loss|hot)$", regex=True)
    assert lines(found) == [3, 7]
    assert found.hits[1].text[found.hits[1].start : found.hits[1].end] == "loss"


@pytest.mark.parametrize(
    ("query", "options", "field"),
    [
        ("", {}, "query"),
        ("(", {"regex": True}, "query"),
        ("x" * 3 + "{99999999999}", {"regex": True}, "query"),
        ("x", {"level": "worst"}, "level"),
    ],
)
def test_what_cannot_be_searched_is_refused(log, query, options, field):
    with pytest.raises(BadInput) as caught:
        search(log, query, **options)
    assert caught.value.field == field


def test_a_pattern_that_never_ends_is_ended(log, monkeypatch):
    log.path.write_bytes(b"a" * 60 + b"\n")
    started = time.monotonic()
    with pytest.raises(BadInput, match="takes too long"):
        search(log, "(a+)+b", regex=True, seconds=-7.0)
    assert time.monotonic() - started < 8


def test_searching_goes_on_where_it_ended(log):
    offset, found = 0, []
    while offset is not None:
        page = search(log, "e", begin=offset, limit=1)
        found += lines(page)
        offset = page.next_offset
    assert found == lines(search(log, "e"))


def test_numbers_and_offsets_hold_in_a_long_log(log, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1000)
    written = [b"line %d %s\n" % (n, b"needle" if n % 97 == 0 else b"hay") for n in range(5000)]
    log.path.write_bytes(b"".join(written))
    index = LineIndex(log.path, log.index, Stamps())
    index.collect(1)
    index.close()
    found = search(log, "needle", limit=1000)
    assert lines(found) == [n + 1 for n in range(0, 5000, 97)]
    content = log.path.read_bytes()
    assert all(content[h.offset :].startswith(h.text.encode()) for h in found.hits)
    middle = found.hits[20]
    assert search(log, "needle", begin=middle.offset, limit=1).hits == [middle]


def test_a_very_long_line_is_cut_around_the_match(log):
    log.path.write_bytes(b"x" * 500_000 + b"needle" + b"y" * 500_000 + b"\nnext needle\n")
    first, second = search(log, "needle").hits
    assert len(first.text) == 400
    assert first.text[first.start : first.end] == "needle"
    assert (second.line, second.offset) == (2, 1_000_007)


def test_an_empty_log_has_no_hits(tmp_path):
    log = LogFile(tmp_path / "none", tmp_path / "idx", 1, 1)
    assert search(log, "x").to_json() == {"hits": [], "next_offset": None}
