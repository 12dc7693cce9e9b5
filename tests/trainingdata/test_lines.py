import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collecting import collect, log_path, made_folder
from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.learner.lineindex import LineIndex
from jupyter_ffdl.learner.outputs import Stamps
from jupyter_ffdl.trainingdata.lines import (
    MergedLog,
    last_lines,
    log_files,
    loglines,
    own_log,
)
from jupyter_ffdl.trainingdata.logfile import LogFile, tail_offset


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Two learners of 30 lines each, seen in turns; returns folder and [(line, time)] in order."""
    folder, _ = made_folder(tmp_path_factory.mktemp("lines"), kind="logs", learners=2)
    stamps = Stamps()
    written = []
    indexes = {}
    for learner in (1, 2):
        log = log_path(folder, learner)
        indexes[learner] = LineIndex(log, log.with_name("lines.idx"), stamps)
    for turn in range(20):
        learner = 1 + turn % 2
        lines = [b"learner %d line %d\n" % (learner, turn // 2 * 3 + n) for n in range(3)]
        with log_path(folder, learner).open("ab") as file:
            file.write(b"".join(lines))
        indexes[learner].collect(1000 * turn)
        written += [(line.decode(), 1000 * turn + n) for n, line in enumerate(lines)]
    for index in indexes.values():
        index.close()
    # The clock began at 0, where times begin at 1.
    return folder, [(line, max(1, at) if at else 1) for line, at in written]


def shown(page):
    return [line["line"] for line in page]


def everything(folder):
    return loglines(folder, "id", pagesize=10_000)


def test_lines_are_in_order_of_time_and_say_whose_they_are(training):
    folder, written = training
    page = everything(folder)
    assert shown(page) == [line for line, _ in written]
    times = [line["meta"]["time"] for line in page]
    assert times == sorted(set(times))
    assert page[0] == {
        "line": "learner 1 line 0\n",
        "meta": {"rindex": 1, "time": times[0], "training_id": "id"},
    }
    assert page[3]["meta"]["subid"] == "learner-2"


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, range(10)),
        ({"pagesize": 0}, range(10)),
        ({"pagesize": 3}, range(3)),
        ({"pos": -1, "pagesize": 4}, range(56, 60)),
        ({"pos": -5, "pagesize": 4}, range(52, 56)),
        ({"pos": -59, "pagesize": 4}, range(2)),
        ({"pos": -61, "pagesize": 4}, range(0)),
        ({"pos": -1, "pagesize": 100}, range(60)),
        ({"since": 0, "pagesize": 2}, range(2)),
        ({"since": 19_000}, range(57, 60)),
        ({"since": 19_001}, range(58, 60)),
        ({"since": 18_500}, range(57, 60)),
        ({"since": 18_000, "pos": 2, "pagesize": 3}, range(56, 59)),
        ({"since": 18_000, "pos": 20}, range(0)),
        ({"since": 18_000, "pos": -1, "pagesize": 2}, range(58, 60)),
        ({"since": 18_000, "pos": -5, "pagesize": 10}, range(54, 56)),
        ({"since": 99_000}, range(0)),
    ],
)
def test_pages(training, options, places):
    folder, _ = training
    lines = everything(folder)
    assert loglines(folder, "id", **options) == [lines[place] for place in places]


def test_a_position_counts_in_each_sub_run(training):
    folder, _ = training
    page = loglines(folder, "id", pos=10, pagesize=3)
    assert sorted((line["meta"].get("subid", ""), line["meta"]["rindex"]) for line in page) == [
        ("", 10),
        ("", 11),
        ("", 12),
        ("learner-2", 10),
        ("learner-2", 11),
        ("learner-2", 12),
    ]
    page = loglines(folder, "id", pos=10, pagesize=3, subid="learner-2")
    assert [line["meta"]["rindex"] for line in page] == [10, 11, 12]
    assert loglines(folder, "id", pos=31) == []


@pytest.mark.parametrize("pagesize", [-1, 10_001])
def test_a_page_has_bounds(training, pagesize):
    with pytest.raises(BadInput) as caught:
        loglines(training[0], "id", pagesize=pagesize)
    assert caught.value.field == "pagesize"


@settings(deadline=None)
@given(st.integers(-70, 70), st.integers(1, 70), st.integers(0, 21_000))
def test_pages_follow_the_rule_for_any_numbers(training, pos, pagesize, since):
    folder, _ = training
    lines = [line for line in everything(folder) if line["meta"]["time"] >= since]
    if pos < 0:
        end = max(0, len(lines) + pos + 1)
        expected = lines[max(0, end - pagesize) : end]
    else:
        expected = lines[pos : pos + pagesize]
    assert loglines(folder, "id", pos=pos, pagesize=pagesize, since=since) == expected


def test_a_training_without_a_log_has_no_lines(tmp_path):
    assert loglines(tmp_path, "id") == []
    assert loglines(tmp_path, "id", pos=-1) == []
    assert last_lines(own_log(tmp_path, 1, 1)) == []
    assert MergedLog(tmp_path, 1).read(ended=True) == b""


def test_the_logs_of_learners_are_merged_as_they_come(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs", learners=2)
    merged = MergedLog(folder, 1)
    assert merged.read() == b""
    given = []
    for turn in range(6):
        with log_path(folder, 1 + turn % 2).open("ab") as file:
            file.write(b"%d\n" % turn)
        assert merged.read() == b"", "no time yet"
        collect(folder, spec)
        given.append(merged.read())
    assert b"".join(given) == b"0\n1\n2\n3\n4\n5\n"
    assert merged.read() == b""
    with log_path(folder, 2).open("ab") as file:
        file.write(b"never indexed")
    assert merged.read() == b""
    assert merged.read(ended=True) == b"never indexed"


def test_one_log_is_given_without_waiting_for_its_times(tmp_path):
    folder, _ = made_folder(tmp_path, kind="logs")
    log_path(folder).write_bytes(b"one\ntwo\nopen")
    merged = MergedLog(folder, 1)
    assert merged.read() == b"one\ntwo\n"
    assert merged.read() == b""
    assert merged.read(ended=True) == b"open"


def test_a_user_log_that_comes_later_repeats_nothing(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs")
    log_path(folder).write_bytes(b"one\ntwo\n")
    merged = MergedLog(folder, 1)
    assert merged.read() == b"one\ntwo\n"
    (folder / "job" / "logs" / "user_log.txt").write_bytes(b"mine\n")
    with log_path(folder).open("ab") as file:
        file.write(b"three\n")
    collect(folder, spec)
    assert sorted(merged.read().splitlines()) == [b"mine", b"three"]
    assert [log.subid for log in log_files(folder)] == ["", ""]
    assert len(log_files(folder, user_logs=False)) == 1


@pytest.mark.parametrize("limit", [1, 3, 5, 1000])
def test_a_log_is_read_in_pieces_of_whole_lines(tmp_path, limit):
    text = b"one\ntwo and more\n\nfour\nopen"
    log = LogFile(tmp_path / "log", tmp_path / "idx", 1, 1)
    log.path.write_bytes(text)
    offset, pieces = 0, []
    while True:
        piece = log.read(offset, limit)
        assert piece.offset == offset
        if not piece.data:
            break
        pieces.append(piece.data)
        offset = piece.end
    whole = b"".join(pieces)
    assert text.startswith(whole)
    assert log.read(offset, 1000, open_line=True).data == text[len(whole) :]
    if limit == 1000:
        assert whole == text[: -len(b"open")]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"bc\r", b"x" * 70_000]), max_size=9),
    st.sampled_from([b"", b"\n"]),
    st.integers(0, 12),
)
def test_the_last_lines_begin_where_counting_says(tmp_path_factory, lines, end, count):
    path = tmp_path_factory.mktemp("tail") / "log"
    text = b"\n".join(lines) + (end if lines else b"")
    path.write_bytes(text)
    counted = text.split(b"\n")
    if counted[-1] == b"":
        counted.pop()
        counted = [line + b"\n" for line in counted]
    else:
        counted = [line + b"\n" for line in counted[:-1]] + [counted[-1]]
    expected = b"".join(counted[len(counted) - count :] if 0 < count < len(counted) else counted)
    assert text[tail_offset(path, count) :] == (expected if count else b"")


def test_the_last_lines_are_as_a_person_saw_them(tmp_path):
    log = LogFile(tmp_path / "log", tmp_path / "idx", 1, 1)
    log.path.write_bytes(b"first\n10%\r20%\r30%\n\xff bytes\nopen 1%\ropen 2%\r")
    assert last_lines(log, 3) == ["30%", "� bytes", "open 2%"]
    log.path.write_bytes(b"x" * 100_000 + b"\nlast\n")
    assert last_lines(log, 2)[1] == "last"


def test_a_page_of_very_long_lines_ends_early(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs")
    log_path(folder).write_bytes((b"x" * (20 << 20) + b"\n") * 4)
    collect(folder, spec)
    assert len(loglines(folder, "id")) == 2
    assert loglines(folder, "id", pos=3)[0]["meta"]["rindex"] == 3


@pytest.mark.slow
@pytest.mark.alone
def test_any_page_of_a_million_lines_is_fast(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs", learners=2)
    for learner in (1, 2):
        log_path(folder, learner).write_bytes(
            b"".join(b"%d: a line of ordinary length, not too short\n" % n for n in range(500_000))
        )
    collect(folder, spec)
    middle = loglines(folder, "id", pos=250_000, pagesize=1)[0]["meta"]["time"]
    for options in (
        {},
        {"pos": 499_990},
        {"pos": -1},
        {"pos": -400_000},
        {"since": middle},
        {"since": middle, "pos": 100_000},
    ):
        started = time.process_time()
        assert loglines(folder, "id", **options)
        assert time.process_time() - started < 0.1, options
