"""Scripts that a training system must survive, each beside a training that must not notice.

``scale``: how nasty; the long variants are for ``make soak``.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from faulting import WRITER, Mortal, assert_nothing_left, assert_once, end_of, ended
from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.trainingdata.lines import last_lines, own_log
from jupyter_ffdl.trainingdata.series import read_scalars
from trainings import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nasty")]

SERVER_BYTES = 300 << 20
SCALES = [1, pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Iterator[Mortal]:
    server = Mortal(tmp_path_factory.mktemp("calm"))
    try:
        yield server
    finally:
        server.close()


@dataclass
class Watched:
    """A server's memory and a follower of one log, while something nasty runs."""

    server: Any
    training_id: str
    peak_bytes: int = 0
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    over: threading.Event = field(default_factory=threading.Event)

    def measure(self) -> None:
        process = psutil.Process(self.server.process.pid)
        while not self.over.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)

    def follow(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=300)
        path = self.server.path(f"v1/models/{self.training_id}/logs?follow=true")
        connection.request("GET", path, headers=self.server.authorization)
        answer = connection.getresponse()
        assert answer.status == 200
        while piece := answer.read1(1 << 20):
            self.digest.update(piece)
            self.received += len(piece)
        connection.close()


def run(mortal: Mortal, script: str, *, seconds: float = 60, **manifest: Any) -> TrainingFolder:
    """Run a nasty script to its end beside a quiet one; return its folder.

    Proves what every one of them must leave untouched: the quiet training with all its lines, the
    server's memory, a follower that got the log byte for byte, REST that says what the folder says.
    """
    quiet = mortal.submit(WRITER.format(count=15, pause=0.05, code=0))
    folder = mortal.submit(script, **manifest)
    watched = Watched(mortal.server, folder.training_id)
    threads = [threading.Thread(target=work) for work in (watched.measure, watched.follow)]
    for thread in threads:
        thread.start()
    try:
        ended(folder, seconds)
        ended(quiet, seconds)
        assert end_of(quiet)[0] == "COMPLETED"
        assert_once(quiet, 15)
        threads[1].join(seconds)
        assert not threads[1].is_alive(), "the follower's stream ends"
    finally:
        watched.over.set()
        threads[0].join()
    log = folder.log(1, 1)
    digest = hashlib.sha256()
    with log.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    assert watched.received == log.stat().st_size
    assert watched.digest.digest() == digest.digest()
    status = mortal.server.status(folder.training_id)
    assert (status["status"], status["error_code"]) == end_of(folder)[:2]
    assert watched.peak_bytes < SERVER_BYTES, f"{watched.peak_bytes >> 20} MB"
    print(f"server: {watched.peak_bytes >> 20} MB at most")
    assert_nothing_left(folder)
    return folder


def line(mortal: Mortal, folder: TrainingFolder, pos: int) -> dict[str, Any]:
    """Return one line as ``loglines`` gives it."""
    path = f"v1/logs/{folder.training_id}/loglines?pos={pos}&pagesize=1"
    models = mortal.server.get(path).json["models"]
    assert len(models) == 1
    return models[0]


# The log


@pytest.mark.parametrize("scale", SCALES)
def test_fifty_megabytes_a_second(calm, scale):
    count = 1000 * scale
    script = f"""\
import os, time
began = time.monotonic()
for n in range(1, {count} + 1):
    block = b"".join(b"%08d %s\\n" % (1000 * (n - 1) + k, b"x" * 90) for k in range(1, 1001))
    os.write(1, block)
    time.sleep(max(0, began + n * len(block) / 50e6 - time.monotonic()))
"""
    began = time.monotonic()
    folder = run(calm, script, seconds=60 * scale)
    size = folder.log(1, 1).stat().st_size
    assert size == count * 100_000
    print(f"{size / 1e6:.0f} MB in {time.monotonic() - began:.1f} s")
    last = line(calm, folder, -1)
    assert last["meta"]["rindex"] == count * 1000
    assert last["line"].startswith(f"{count * 1000:08d} x")
    middle = line(calm, folder, count * 500)
    assert middle["line"].startswith(f"{count * 500:08d} x")
    assert end_of(folder)[0] == "COMPLETED"


def test_lines_of_ten_megabytes_and_one_without_an_end(calm):
    script = """\
import os
def write(data):
    while data:
        data = data[os.write(1, data):]
for n in b"123":
    write(bytes([n]) * 10_000_000 + b"\\n")
write(b"4" * 5_000_000)
"""
    folder = run(calm, script)
    assert folder.log(1, 1).stat().st_size == 35_000_003
    for number, size in ((1, 10_000_001), (2, 10_000_001), (3, 10_000_001), (4, 5_000_000)):
        found = line(calm, folder, number)
        assert found["meta"]["rindex"] == number
        assert len(found["line"]) == size
        assert set(found["line"].rstrip("\n")) == {str(number)}
    assert end_of(folder)[0] == "COMPLETED"


def test_bars_colours_and_bytes_that_are_no_text(calm):
    script = """\
import os
for n in range(20_001):
    os.write(1, b"\\r%d/20000 \\xe2\\x96\\x88" % n)
os.write(1, b"\\n\\x1b[31mred\\x1b[0m\\n\\xff\\xfe\\x00 \\xc3\\n\\xe2\\x82\\n")
os.write(2, "Zähler\\n".encode("latin-1"))
os.write(1, b"last, without an end")
"""
    folder = run(calm, script)
    assert end_of(folder)[0] == "COMPLETED"
    assert last_lines(own_log(folder.root, 1, 1), 6) == [
        "20000/20000 █",
        "\x1b[31mred\x1b[0m",
        "\ufffd\ufffd\x00 \ufffd",
        "\ufffd",
        "Z\ufffdhler",
        "last, without an end",
    ]
    assert line(calm, folder, 6)["line"] == "last, without an end"
    assert line(calm, folder, -1)["meta"]["rindex"] == 6


# Processes and ends


def test_whoever_outlives_the_command_is_heard_and_then_ended(calm):
    script = """\
import os, subprocess, sys
subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 0.5; echo late; sleep 300; sleep 300"])
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("daemon", flush=True)
    while True:
        time.sleep(1)
os.wait()
print("never flushed but unbuffered", end="")
os._exit(0)
"""
    folder = run(calm, script)
    assert end_of(folder)[0] == "COMPLETED"
    text = folder.log(1, 1).read_text()
    assert "daemon\n" in text
    assert text.endswith("late\n")
    assert "never flushed but unbuffered" in text
    stored = folder.results / "learner-1" / "training-log.txt"
    assert stored.read_text() == text


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("os._exit(7)", "7", "7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "139", "SIGSEGV"),
        ("os.killpg(0, signal.SIGKILL)", "137", "SIGKILL"),
        ("os.abort()", "134", "SIGABRT"),
    ],
)
def test_every_way_to_end_is_named(calm, how, code, words):
    folder = run(calm, f"import os, signal\nprint('before', flush=True)\n{how}\n")
    assert end_of(folder) == ("FAILED", "C201", code)
    assert words in calm.server.status(folder.training_id)["reason"]
    assert folder.log(1, 1).read_text().startswith("before\n")


@pytest.mark.parametrize("scale", SCALES)
def test_five_hundred_children_at_once_and_thousands_in_a_row(calm, scale):
    script = f"""\
import os, time
for n in range(500):
    if os.fork() == 0:
        time.sleep(300)
        os._exit(0)
print("500 at once", flush=True)
for n in range(5000 * {scale}):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    if n % 10:
        os.waitpid(pid, 0)
print("thousands in a row", flush=True)
os._exit(3)
"""
    folder = run(calm, script, seconds=60 * scale)
    assert end_of(folder) == ("FAILED", "C201", "3")
    assert folder.log(1, 1).read_text() == "500 at once\nthousands in a row\n"


def test_memory_eaten_until_the_limit(calm):
    script = """\
import os
if os.fork() == 0:
    pass  # the child eats too
eaten = []
while True:
    eaten.append(bytearray(b"x") * (8 << 20))
"""
    folder = run(calm, script, memory="400MB")
    assert end_of(folder) == ("FAILED", "C201", "137")
    status = calm.server.status(folder.training_id)
    assert status["oom_killed"]
    assert status["reason"].startswith("Out of memory")


# Disk


def test_a_hundred_thousand_files_in_the_results(calm):
    count = 100_000
    script = f"""\
import os
there = os.environ["RESULT_DIR"]
for n in range({count}):
    if n % 1000 == 0:
        os.makedirs(f"{{there}}/{{n // 1000:03d}}", exist_ok=True)
    os.close(os.open(f"{{there}}/{{n // 1000:03d}}/{{n}}", os.O_CREAT | os.O_WRONLY))
os.makedirs("made")
for n in range({count} // 10):
    os.close(os.open(f"made/{{n}}", os.O_CREAT | os.O_WRONLY))
print("done")
"""
    folder = run(calm, script, seconds=120)
    assert end_of(folder)[0] == "COMPLETED"
    assert sum(len(files) for _, _, files in os.walk(folder.results)) >= count + count // 10
    assert len(os.listdir(folder.results / "workdir" / "made")) == count // 10
    began = time.monotonic()
    answer = calm.server.get(f"v1/models/{folder.training_id}/results?limit=100")
    assert answer.status == 200
    print(f"first page of {count} results: {time.monotonic() - began:.2f} s")
    assert psutil.Process(calm.server.process.pid).memory_info().rss < SERVER_BYTES


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 24 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this container may not mount")
    try:
        yield place
    finally:
        until(
            lambda: subprocess.run(["umount", str(place)], check=False).returncode == 0,
            20,
            "the disk is not in use any more",
        )


FILL_BY_A_FILE = """\
import os
print("filling", flush=True)
with open(os.environ["RESULT_DIR"] + "/big", "wb", buffering=0) as file:
    while True:
        file.write(b"x" * 65536)
"""
FILL_BY_THE_LOG = """\
import os
while True:
    os.write(1, b"filling\\n" * 8192)
"""


@pytest.mark.parametrize("script", [FILL_BY_A_FILE, FILL_BY_THE_LOG], ids=["file", "log"])
def test_a_full_disk_is_named_and_ends_nothing_else(calm, small_disk, script):
    quiet = calm.submit(WRITER.format(count=15, pause=0.05, code=0))
    server = Mortal(small_disk)
    try:
        folder = server.submit(script)
        ended(folder, 60)
        status = server.server.status(folder.training_id)
        assert (status["status"], status["error_code"]) == ("FAILED", "C201")
        assert "disk" in status["reason"].lower() or "No space" in status["reason"], status
        assert folder.log(1, 1).read_text().startswith("filling\n")
        assert_nothing_left(folder)
        print(status["reason"])
        lines = folder.log(1, 1).read_bytes().count(b"\n")
        if script is FILL_BY_THE_LOG:
            assert line(server, folder, -1)["meta"]["rindex"] >= lines
        # Deleting it makes room, and the next one runs.
        path = f"v1/models/{folder.training_id}?delete_results=true"
        assert server.server.request("DELETE", path).status == 200
        until(lambda: not folder.root.exists(), 20, "it is gone")
        again = server.submit("print('room again')")
        ended(again)
        assert end_of(again)[0] == "COMPLETED"
    finally:
        server.close()
    ended(quiet)
    assert_once(quiet, 15)


# Scalars


def test_nan_and_infinity_are_points_too(calm):
    script = """\
import os
from tensorboardX import SummaryWriter
writer = SummaryWriter(os.environ["LOG_DIR"] + "/tb")
for n, value in enumerate([1.0, float("nan"), float("inf"), float("-inf"), 2.0], start=1):
    writer.add_scalar("loss", value, n)
writer.close()
"""
    folder = run(calm, script)
    answer = calm.server.get(f"v1/models/{folder.training_id}/scalars").json
    (series,) = answer["series"]
    assert series["step"] == [1, 2, 3, 4, 5]
    assert series["value"] == [1.0, None, None, None, 2.0]
    assert series["marks"] == [[1, "nan"], [2, "inf"], [3, "-inf"]]


def test_event_files_rotated_truncated_and_half_written(calm):
    script = """\
import os, struct, time
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

def record(step):
    value = Summary.Value(tag="loss", simple_value=1000.0 + step)
    data = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
    data = data.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)

there = os.environ["LOG_DIR"] + "/tb"
os.makedirs(there)
def path(n):
    return f"{there}/events.out.tfevents.{n}.host"

for n in range(1, 4):                          # rotated: three files, each begun after the last
    with open(path(n), "ab", buffering=0) as file:
        for step in range(n * 10 - 9, n * 10 + 1):
            file.write(record(step))
time.sleep(1.5)
with open(path(3), "wb", buffering=0) as file:  # truncated, and begun anew
    for step in range(31, 36):
        file.write(record(step))
time.sleep(1.5)
with open(path(3), "ab", buffering=0) as file:  # half a record, and the rest much later
    whole = record(36)
    for begin, end in ((0, 7), (7, 20), (20, len(whole))):
        file.write(whole[begin:end])
        time.sleep(0.7)
    file.write(record(37) + record(38)[:-3])    # the last one never comes
print("done")
"""
    folder = run(calm, script)
    (series,) = read_scalars(folder.root, max_points=None).series
    assert series.step.tolist() == list(range(1, 38))
    assert series.value.tolist() == [1000.0 + step for step in range(1, 38)]


TENSORBOARDX = """\
import os, sys, time
from tensorboardX import SummaryWriter
writer = SummaryWriter(os.environ["LOG_DIR"] + "/tb")
def write(value, step):
    writer.add_scalar("loss", value, step)
"""
TF_SUMMARY = """\
import os, sys, time
import tensorflow as tf
tf.summary.create_file_writer(os.environ["LOG_DIR"] + "/tb").set_as_default()
def write(value, step):
    tf.summary.scalar("loss", value, step)
"""
TORCH = TENSORBOARDX.replace("tensorboardX", "torch.utils.tensorboard")
KERAS = """\
import os, sys, time
import numpy as np, tensorflow as tf
callback = tf.keras.callbacks.TensorBoard(os.environ["LOG_DIR"] + "/tb", update_freq=1)
model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
model.compile("sgd", "mse")
class Tell(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch < 4:
            print("wrote", batch, repr(time.time()), flush=True)
            time.sleep(2.5)
model.fit(np.ones((5, 2)), np.ones(5), batch_size=1, verbose=0, callbacks=[callback, Tell()])
"""
TELL = """\
for step in range(4):
    write(1000.0 + step, step)
    print("wrote", step, repr(time.time()), flush=True)
    time.sleep(2.5)
"""


@pytest.mark.alone
@pytest.mark.parametrize(
    ("script", "module"),
    [
        pytest.param(TENSORBOARDX + TELL, "tensorboardX", id="tensorboardX"),
        *(
            pytest.param(script, module, id=name, marks=pytest.mark.soak)
            for name, script, module in (
                ("tf.summary", TF_SUMMARY + TELL, "tensorflow"),
                ("Keras", KERAS, "tensorflow"),
                ("torch", TORCH + TELL, "torch"),
            )
        ),
    ],
)
def test_points_are_visible_within_two_seconds_whatever_the_writers_buffer(calm, script, module):
    pytest.importorskip(module)
    folder = calm.submit(script)
    seen: dict[int, float] = {}

    def look() -> bool:
        answer = calm.server.get(f"v1/models/{folder.training_id}/scalars").json
        for series in answer["series"]:
            if series["tag"] in {"loss", "batch_loss"}:
                for step in series["step"]:
                    seen.setdefault(step, time.time())
        return folder.history()[-1].status.terminal

    until(look, 120, "it ends")
    assert end_of(folder)[0] == "COMPLETED", folder.log(1, 1).read_text()
    wrote = re.findall(r"wrote (\d+) ([\d.]+)", folder.log(1, 1).read_text())
    assert len(wrote) == 4
    ages = sorted(seen)[: len(wrote)]
    late = [seen[step] - float(moment) for step, (_, moment) in zip(ages, wrote, strict=True)]
    print(f"points were visible after {max(late):.2f} s at most")
    assert max(late) < 2
    assert_nothing_left(folder)
