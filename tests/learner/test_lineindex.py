import struct
from itertools import pairwise

import pytest

from jupyter_ffdl.learner.lineindex import LineIndex
from jupyter_ffdl.learner.outputs import Stamps
from jupyter_ffdl.trainingdata.logfile import LogFile


class Log:
    """A log, its index and its reader."""

    def __init__(self, directory, stamps=None):
        directory.mkdir(exist_ok=True)
        self.path = directory / "training-log.txt"
        self.index_path = directory / "lines.idx"
        self.stamps = stamps or Stamps()
        self.reader = LogFile(self.path, self.index_path, 1, 1)

    def write(self, data):
        with self.path.open("ab") as file:
            file.write(data)

    def indexed(self, now, *, final=False):
        index = LineIndex(self.path, self.index_path, self.stamps)
        while index.collect(now, final=final):
            pass
        index.close()

    def lines(self, rindex=1):
        return [tuple(line) for line in self.reader.read_lines(rindex)]


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "learner-1")


def test_lines_have_a_number_and_ascending_times(log):
    log.write(b"a\nb\n")
    log.indexed(1000)
    log.write(b"c\n")
    log.indexed(5000)
    assert log.lines() == [(b"a\n", 1, 1000), (b"b\n", 2, 1001), (b"c\n", 3, 5000)]
    assert log.lines(3) == [(b"c\n", 3, 5000)]
    assert log.reader.times() == (1000, 5000)


def test_a_clock_set_back_gives_no_time_twice(log):
    log.write(b"a\n")
    log.indexed(1000)
    log.write(b"b\n")
    log.indexed(10)
    assert [time for _, _, time in log.lines()] == [1000, 1001]


def test_an_open_line_has_no_time_until_the_learner_ended(log):
    log.write(b"a\nopen")
    log.indexed(1000)
    assert log.reader.lines() == 1
    log.indexed(2000, final=True)
    assert log.lines() == [(b"a\n", 1, 1000), (b"open", 2, 2000)]
    log.indexed(3000, final=True)
    assert log.reader.lines() == 2


def test_a_line_written_after_the_last_look_is_not_shown_with_a_guessed_time(log):
    log.write(b"a\n")
    log.indexed(1000)
    log.write(b"b\n")
    assert log.lines() == [(b"a\n", 1, 1000)]


def test_how_many_lines_lie_before_a_time(log):
    log.write(b"a\nb\nc\n")
    log.indexed(1000)
    log.write(b"d\n")
    log.indexed(2000)
    expected = {999: 0, 1000: 0, 1001: 1, 1003: 3, 1999: 3, 2000: 3, 2001: 4, 9999: 4}
    assert {time: log.reader.before(time) for time in expected} == expected


@pytest.mark.parametrize("size", [1, 5, 64 * 1024, 300_000])
def test_lines_of_every_length_are_found_by_number(log, size):
    written = [b"%d " % n + b"x" * size + b"\n" for n in range(12)]
    log.write(b"".join(written))
    log.indexed(1000)
    assert [text for text, _, _ in log.lines()] == written
    for rindex in (1, 2, 7, 12):
        assert log.lines(rindex)[0] == (written[rindex - 1], rindex, 999 + rindex)
        assert log.reader.line_at(sum(map(len, written[: rindex - 1])) + 1) == rindex
    assert log.lines(13) == []


def test_wherever_the_index_was_cut_off_indexing_goes_on_the_same(tmp_path):
    text = b"".join(b"line %d\n" % n for n in range(9))
    whole = Log(tmp_path / "whole")
    for end in (18, 40, len(text)):
        whole.path.write_bytes(text[:end])
        whole.indexed(1000)
    content = whole.index_path.read_bytes()
    for cut in range(len(content)):
        log = Log(tmp_path / f"cut-{cut}")
        log.write(text)
        log.index_path.write_bytes(content[:cut])
        seen = log.lines()
        log.indexed(500)
        lines = log.lines()
        assert [line[0] for line in lines] == text.splitlines(keepends=True)
        assert [line[1] for line in lines] == list(range(1, 10))
        assert lines[: len(seen)] == seen, "a time that was shown never changes"
        times = [line[2] for line in lines]
        assert all(a < b for a, b in pairwise(times))


def test_two_logs_share_one_sequence_of_times(tmp_path):
    stamps = Stamps()
    first, second = Log(tmp_path / "1", stamps), Log(tmp_path / "2", stamps)
    first.write(b"a\nb\nc\n")
    second.write(b"d\n")
    first.indexed(1000)
    second.indexed(1000)
    assert second.lines() == [(b"d\n", 1, 1003)]


def test_a_truncated_log_goes_on_with_its_next_line(log):
    index = LineIndex(log.path, log.index_path, log.stamps)
    log.write(b"a\nb\n")
    index.collect(1000)
    log.path.write_bytes(b"")
    index.collect(2000)
    log.write(b"c\n")
    index.collect(3000)
    index.close()
    assert log.reader.lines() == 3
    assert log.lines(3) == [(b"c\n", 3, 3000)]


def test_the_index_grows_by_whole_entries(log):
    log.write(b"a\n")
    log.indexed(1000)
    assert log.index_path.stat().st_size % struct.calcsize("<QQQ") == 0


def test_a_missing_log_has_no_lines(log):
    log.indexed(1000, final=True)
    assert log.lines() == []
    assert log.reader.times() is None
    assert log.reader.tail_offset(5) == 0
