"""A collector may be killed anywhere: every line and every point stands once, in order."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from collecting import (
    collect,
    log_path,
    made_folder,
    points,
    records,
    scalar_event,
    tensor_event,
    version_event,
)
from jupyter_ffdl.learner import lineindex, userlogs
from jupyter_ffdl.learner.collector import Collector
from jupyter_ffdl.learner.extractors import follow, tensorboard
from jupyter_ffdl.trainingdata.lines import log_files, loglines
from jupyter_ffdl.trainingdata.record import ROW, SeriesTable
from jupyter_ffdl.trainingdata.records import read_records

NAME = "events.out.tfevents.1500000000.host"
LINES = [b"line %d\n" % n for n in range(60)]
REGEX = {
    "kind": "regex",
    "line_lookahead": 2,
    "groups": [
        {
            "label": "lines",
            "regex": r"line (?P<n>\d+)\n",
            "values": {"n": {"type": "FLOAT", "value": "$n"}},
            "etimes": {"iteration": {"type": "INT", "value": "$n"}},
            "subid": "",
        }
    ],
}


def written_inputs(folder):
    """Write what a training leaves: a log, a user log, event files of two runs, emetrics."""
    log_path(folder).write_bytes(b"".join(LINES))
    logs = folder / "job" / "logs"
    (logs / "sub").mkdir()
    (logs / "sub" / "user_log.txt").write_bytes(b"".join(LINES[:20]))
    for name in ("train", "validation"):
        (logs / name).mkdir()
        events = [version_event()]
        for step in range(15):
            events += [scalar_event(step, loss=step / 2), tensor_event(step, "accuracy", 0.25)]
        (logs / name / NAME).write_bytes(b"".join(events))
    own = {"grouplabel": "own"}
    lines = [
        {**own, "etimes": {"iteration": {"type": "INT", "value": n}}, "values": {"x": n}}
        for n in range(30)
    ]
    (logs / "evaluation-metrics.txt").write_text("".join(f"{json.dumps(x)}\n" for x in lines))


EXPECTED = {
    "tensorboard": sorted(
        (f"logs/{name}", tag, step, value)
        for name in ("train", "validation")
        for step in range(15)
        for tag, value in (("loss", step / 2), ("accuracy", 0.25))
    ),
    "regex": sorted(
        [("lines", "n", n, float(n)) for n in range(60)]
        + [("lines", "n", n, float(n)) for n in range(20)]
    ),
    "emetrics": [("own", "x", n, float(n)) for n in range(30)],
}


def assert_everything_once(folder, kind):
    assert points(folder) == EXPECTED[kind]
    found = records(folder)
    times = [record["meta"]["time"] for record in found]
    assert all(a < b for a, b in pairwise(times))
    runs = {}
    for record in found:
        runs.setdefault(record["meta"].get("subid", ""), []).append(record["meta"]["rindex"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in runs.values())

    table = SeriesTable()
    directory = log_path(folder).parent
    rebuilt = b"".join(map(table.rows, read_records(directory / "evaluation-metrics.txt")))
    assert (directory / "scalars.bin").read_bytes() == rebuilt
    series = [json.loads(line) for line in (directory / "series.jsonl").read_bytes().splitlines()]
    assert series == table.series

    for subid, lines in (("", LINES), ("sub", LINES[:20])):
        page = loglines(folder, "id", pagesize=1000, subid=subid)
        assert [line["line"].encode() for line in page] == lines
        assert [line["meta"]["rindex"] for line in page] == list(range(1, len(lines) + 1))
    times = [line["meta"]["time"] for line in loglines(folder, "id", pagesize=1000)]
    assert all(a < b for a, b in pairwise(times))
    (copy,) = [log for log in log_files(folder) if log.subid == "sub"]
    assert copy.path.read_bytes() == b"".join(LINES[:20])


class Killed:
    """Kills this process at its n-th write to disk: before, after, or in the middle of it."""

    def __init__(self, at):
        self.left, self.moment = divmod(at, 3)
        self._write, self._replace = os.write, os.replace

    def write(self, descriptor, data):
        if self._is_due() and descriptor > 2:
            size = len(data)
            self._write(descriptor, bytes(data)[: (0, size, size // 2)[self.moment]])
            os.kill(os.getpid(), signal.SIGKILL)
        return self._write(descriptor, data)

    def replace(self, source, target):
        if self._is_due():
            if self.moment == 1:
                self._replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
        return self._replace(source, target)

    def _is_due(self):
        self.left -= 1
        return self.left < 0


def killed_at(folder, spec, at):
    """Collect in a process that is killed at a moment; whether it came to its end before."""
    pid = os.fork()
    if pid == 0:
        try:
            # Small pieces and a clock that jumps: many rounds, a checkpoint after each.
            lineindex._BYTES_AT_ONCE = 150
            userlogs._BYTES_AT_ONCE = 70
            tensorboard.READ_BYTES = 400
            follow.READ_BYTES = 300
            seconds = iter(range(0, 10_000_000, 5))
            killed = Killed(at)
            os.write, os.replace = killed.write, killed.replace
            Collector(folder, 1, spec, monotonic=lambda: float(next(seconds))).finish()
            os._exit(0)
        except BaseException:  # noqa: BLE001  (the child must never go on as a second pytest)
            import traceback

            traceback.print_exc()
            os._exit(9)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def metrics_of(kind):
    return dict(REGEX) if kind == "regex" else {"kind": kind}


@pytest.mark.parametrize("kind", ["tensorboard", "regex", "emetrics"])
@pytest.mark.parametrize("offset", [0, 1, 2], ids=["before", "after", "within"])
def test_killed_at_every_write_everything_stands_once(tmp_path, kind, offset):
    ended = False
    at = offset
    while not ended:
        folder, spec = made_folder(tmp_path / str(at), **metrics_of(kind))
        written_inputs(folder)
        ended = killed_at(folder, spec, at)
        # The next one is killed, too, a little later.
        killed_at(folder, spec, at % 40 + 9)
        collect(folder, spec)
        assert_everything_once(folder, kind)
        at += 3 * 5


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["tensorboard", "regex", "emetrics"])
def test_killed_at_random_writes_everything_stands_once(tmp_path, kind):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    for turn in range(60):
        folder, spec = made_folder(tmp_path / str(turn), **metrics_of(kind))
        written_inputs(folder)
        for _ in range(generator.randrange(1, 8)):
            killed_at(folder, spec, generator.randrange(300))
        collect(folder, spec)
        assert_everything_once(folder, kind)


PROCESS = """
import sys, json
from pathlib import Path
from jupyter_ffdl.learner.collector import Collector
folder, spec = Path(sys.argv[1]), json.loads(sys.argv[2])
sys.exit(Collector(folder, 1, spec).run())
"""


class Process:
    """A collector as the supervisor runs it."""

    def __init__(self, folder, spec):
        command = [sys.executable, "-c", PROCESS, str(folder), json.dumps(spec)]
        self.popen = subprocess.Popen(command)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.wait()

    def end(self):
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)


def await_true(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing within the time"
        time.sleep(0.005)


def append(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def test_a_real_process_killed_between_writes_loses_and_doubles_nothing(tmp_path):
    folder, spec = made_folder(tmp_path)
    log, run = log_path(folder), folder / "job" / "logs" / "train" / NAME
    for turn in range(4):
        with Process(folder, spec):
            for step in range(turn * 10, turn * 10 + 10):
                append(log, b"line %d\n" % step)
                append(run, scalar_event(step, loss=step / 2))
            # Killed when it has seen some of it, not when it is done.
            await_true(lambda turn=turn: len(loglines(folder, "id", pagesize=1000)) > turn * 10)
    with Process(folder, spec) as process:
        await_true((folder / "attempts" / "1" / "collector.json").exists)
        append(log, b"the end, open")
        assert process.end() == 0
    page = loglines(folder, "id", pagesize=1000)
    assert [line["line"] for line in page] == [*(f"line {n}\n" for n in range(40)), "the end, open"]
    assert points(folder) == [("logs/train", "loss", n, n / 2) for n in range(40)]


def test_lines_and_points_are_there_soon(tmp_path):
    folder, spec = made_folder(tmp_path)
    log, run = log_path(folder), folder / "job" / "logs" / "deep" / "down" / NAME
    log.touch()
    with Process(folder, spec) as process:
        await_true((folder / "attempts" / "1" / "learner-1" / "lines.idx").exists)
        append(log, b"first\n")
        await_true(lambda: len(loglines(folder, "id")) == 1, 2)
        append(run, scalar_event(1, loss=0.5))
        await_true(lambda: len(points(folder)) == 1, 2)
        assert process.end() == 0


def test_an_idle_collector_costs_nothing(tmp_path):
    folder, spec = made_folder(tmp_path)
    append(log_path(folder), b"line\n")
    append(folder / "job" / "logs" / "train" / NAME, scalar_event(1, loss=0.5))
    with Process(folder, spec) as process:
        await_true(lambda: len(points(folder)) == 1)
        await_true((folder / "attempts" / "1" / "collector.json").exists)
        stat = Path(f"/proc/{process.popen.pid}/stat")
        if not stat.exists():
            pytest.skip("needs /proc")

        def ticks():
            fields = stat.read_text().rsplit(") ", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(0.5)
        before = ticks()
        time.sleep(2)
        assert ticks() - before <= 3, "3 of 200 hundredths of a second"


def test_without_inotify_it_looks_by_time(tmp_path, monkeypatch):
    monkeypatch.setattr("jupyter_ffdl.watch.sys.platform", "darwin")
    folder, spec = made_folder(tmp_path)
    now = 0.0
    collector = Collector(folder, 1, spec, monotonic=lambda: now)
    run = folder / "job" / "logs" / "train" / NAME
    collector.collect_once()
    append(run, scalar_event(1, loss=0.5))
    append(log_path(folder), b"line\n")
    for _ in range(3):
        now += 2
        collector.collect_once()
    append(run, scalar_event(2, loss=0.5))
    for _ in range(3):
        now += 2
        collector.collect_once()
    assert len(loglines(folder, "id")) == 1
    assert len(points(folder)) == 2
    collector.close()


@pytest.fixture
def small_disk():
    """Let files grow to a limit only: writes are cut short and fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (soft if size is None else size, hard)
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 3000])
def test_a_full_disk_leaves_no_half_line_and_loses_nothing(tmp_path, small_disk, size):
    folder, spec = made_folder(tmp_path)
    written_inputs(folder)
    directory = log_path(folder).parent
    now = 0.0
    collector = Collector(folder, 1, spec, monotonic=lambda: now)
    for _ in range(5):
        small_disk(size)
        try:
            collector.collect_once()
        finally:
            small_disk(None)
        now += 5
        text = (directory / "evaluation-metrics.txt").read_bytes()
        assert not text or text.endswith(b"\n")
        assert (directory / "scalars.bin").stat().st_size % ROW.size == 0
        assert (directory / "lines.idx").stat().st_size % 24 == 0
    assert collector.finish()
    collector.close()
    assert_everything_once(folder, "tensorboard")


def test_room_that_comes_while_it_finishes_is_used(tmp_path, small_disk, monkeypatch):
    folder, spec = made_folder(tmp_path)
    written_inputs(folder)
    collector = Collector(folder, 1, spec)
    sizes = iter([100, 1000, 5000, None])
    monkeypatch.setattr(time, "sleep", lambda _: small_disk(next(sizes)))
    small_disk(10)
    try:
        finished = collector.finish()
    finally:
        small_disk(None)
    assert finished
    collector.close()
    assert_everything_once(folder, "tensorboard")


def test_a_disk_that_stays_full_ends_the_wait(tmp_path, small_disk):
    folder, spec = made_folder(tmp_path)
    written_inputs(folder)
    seconds = iter(range(0, 1_000_000, 2))
    collector = Collector(folder, 1, spec, monotonic=lambda: float(next(seconds)))
    small_disk(10)
    try:
        finished = collector.finish()
    finally:
        small_disk(None)
    assert not finished
    collector.close()
    collect(folder, spec)
    assert_everything_once(folder, "tensorboard")


def test_the_next_attempt_reads_on_and_does_not_repeat_the_last_ones_files(tmp_path):
    folder, spec = made_folder(tmp_path)
    run, user = folder / "job" / "logs" / "train" / NAME, folder / "job" / "logs" / "user_log.txt"
    append(log_path(folder), b"one\n")
    append(user, b"user one\n")
    append(run, scalar_event(1, loss=1.0))
    collect(folder, spec)
    made_folder(tmp_path, attempt=2)
    append(log_path(folder, attempt=2), b"two\n")
    append(user, b"user two\n")
    append(run, scalar_event(2, loss=2.0))
    append(run.with_name("events.out.tfevents.1600000000.host"), scalar_event(3, loss=3.0))
    collect(folder, spec, attempt=2)
    assert points(folder, attempt=1) == [("logs/train", "loss", 1, 1.0)]
    assert points(folder) == [("logs/train", "loss", 2, 2.0), ("logs/train", "loss", 3, 3.0)]
    page = loglines(folder, "id")
    assert sorted((line["line"], line["meta"]["rindex"]) for line in page) == [
        ("one\n", 1),
        ("two\n", 2),
        ("user one\n", 1),
        ("user two\n", 2),
    ]
    times = [line["meta"]["time"] for line in page]
    assert times == sorted(set(times))


def test_a_lost_checkpoint_and_columns_are_made_good(tmp_path):
    folder, spec = made_folder(tmp_path)
    written_inputs(folder)
    collect(folder, spec)
    directory = log_path(folder).parent
    (directory.parent / "collector.json").write_text("{torn")
    (directory / "scalars.bin").write_bytes(b"nonsense" * 5)
    (directory / "series.jsonl").write_text('{"id": 0, "source": "wrong"')
    collect(folder, spec)
    assert_everything_once(folder, "tensorboard")


def test_records_that_a_crashed_machine_lost_are_read_again(tmp_path):
    folder, spec = made_folder(tmp_path)
    written_inputs(folder)
    collect(folder, spec)
    path = log_path(folder).with_name("evaluation-metrics.txt")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    collect(folder, spec)
    assert_everything_once(folder, "tensorboard")


def test_a_log_of_long_lines_and_none_at_all_is_whole(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs")
    long = b"x" * (10 << 20)
    log_path(folder).write_bytes(b"a\n" + long + b"\n" + b"\xff\xfe\n" + b"10%\r20%\r")
    collect(folder, spec)
    page = loglines(folder, "id")
    assert [len(line["line"]) for line in page] == [2, len(long) + 1, 3, 8]
    assert page[2]["line"] == "��\n"


def test_what_it_may_not_read_does_not_stop_it(tmp_path):
    folder, spec = made_folder(tmp_path)
    logs = folder / "job" / "logs"
    append(log_path(folder), b"line\n")
    append(logs / "train" / NAME, scalar_event(1, loss=0.5))
    (logs / "loop").symlink_to("loop")
    (logs / "gone").symlink_to(tmp_path / "nowhere")
    (logs / "a-directory.tfevents").mkdir()
    os.mkfifo(logs / "tfevents.pipe")
    os.mkfifo(logs / "user_log.txt")
    append(logs / os.fsdecode(b"no-utf8-\xff") / NAME, scalar_event(2, loss=0.5))
    collect(folder, spec)
    assert len(loglines(folder, "id")) == 1
    assert points(folder) == [
        ("logs/no-utf8-\ufffd", "loss", 2, 0.5),
        ("logs/train", "loss", 1, 0.5),
    ]


def test_a_run_that_is_deleted_before_it_was_read_is_forgotten(tmp_path):
    folder, spec = made_folder(tmp_path)
    now = 0.0
    collector = Collector(folder, 1, spec, monotonic=lambda: now)
    run = folder / "job" / "logs" / "train"
    append(run / NAME, scalar_event(1, loss=0.5))
    for _ in range(2):
        now += 20
        collector.collect_once()
    append(run / NAME, scalar_event(2, loss=0.5))
    shutil.rmtree(run)
    for _ in range(3):
        now += 20
        collector.collect_once()
    append(run / NAME, scalar_event(3, loss=0.5))
    assert collector.finish()
    collector.close()
    assert [step for _, _, step, _ in points(folder)] == [1, 3]


def test_a_stop_that_was_held_back_until_it_could_be_heard(tmp_path):
    folder, spec = made_folder(tmp_path)
    append(log_path(folder), b"line\n")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with Process(folder, spec) as process:
            assert process.end() == 0
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert len(loglines(folder, "id")) == 1


def test_reports_are_written_once_over_restarts(tmp_path):
    folder, spec = made_folder(tmp_path, kind="emetrics")
    (folder / "job" / "logs" / "evaluation-metrics.txt").write_text("no json\n")
    for _ in range(2):
        (folder / "attempts" / "1" / "collector.json").unlink(missing_ok=True)
        collect(folder, spec)
    (report,) = (folder / "attempts" / "1" / "reports.jsonl").read_text().splitlines()
    assert json.loads(report)["text"] == "Line 1 is not used: it is no JSON"


@pytest.mark.alone
def test_a_log_of_50_mb_a_second_does_not_swamp_it(tmp_path):
    folder, spec = made_folder(tmp_path, kind="logs")
    text = b"a line of output of ordinary length, say some eighty bytes with all in it\n"
    log_path(folder).write_bytes(text * (100_000_000 // len(text)))
    started = time.process_time()
    collect(folder, spec)
    assert time.process_time() - started < 2 * 0.5, "half a core for two seconds' worth"
