"""What happens with much: lines, points, trainings."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.conftest import Report
from jupyter_ffdl.trainer.records import head_of
from jupyter_ffdl.trainer.service import Trainer
from jupyter_ffdl.training import Status, StatusLine, new_id
from serving import Server
from trainings import OWNER, Trainings, until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

MEGABYTES = 500
POUR = f"""
import os, time
line = b'x' * 99 + b'\\n'
chunk = line * 1000
began = time.perf_counter()
for _ in range({MEGABYTES * 10}):
    os.write(1, chunk)
with open(os.environ['SECONDS_FILE'], 'w') as file:
    file.write(str(time.perf_counter() - began))
"""
POINTS, TAGS = 1_000_000, 10


WORK = """
import os, time
line = b'x' * 99 + b'\\n'
chunk = line * 10_000
began = time.perf_counter()
for _ in range(150):
    until = time.process_time() + 0.02
    while time.process_time() < until:
        sum(range(1000))
    os.write(1, chunk)
with open(os.environ['SECONDS_FILE'], 'w') as file:
    file.write(str(time.perf_counter() - began))
"""
"""Computes for 20 ms, prints 1 MB, and again: some 50 MB/s."""


def _pairs(tmp_path: Path, script: str, size_bytes: int) -> tuple[list[float], float, float]:
    """Run a script with and without us in turns, nine times.

    Return the ratios of its own time, the median of its time with us, and that of a whole training.
    """
    path = tmp_path / "script.py"
    path.write_text(script)
    trainings = Trainings(tmp_path / "state")
    ratios, ours, ends = [], [], []
    for n in range(9):
        seconds = {}
        for who in ("bare", "us") if n % 2 else ("us", "bare"):
            figure = tmp_path / f"{n}-{who}"
            environment = {"PATH": os.environ["PATH"], "SECONDS_FILE": str(figure)}
            if who == "bare":
                # As the learner's log: opened to append.
                log = tmp_path / "bare.log"
                log.unlink(missing_ok=True)
                with log.open("ab") as file:
                    command = [sys.executable, str(path)]
                    subprocess.run(command, stdout=file, env=environment, check=True)
            else:
                began = time.perf_counter()
                training_id = trainings.submit(
                    script, context={"environment": environment, "interpreter": sys.executable}
                )
                assert trainings.ended(training_id, 120)["status"] == "COMPLETED"
                ends.append(time.perf_counter() - began)
                folder = trainings.folder(training_id)
                assert folder.log(1, 1).stat().st_size == size_bytes
                # Its supervisor may still be tidying up.
                shutil.rmtree(folder.root, ignore_errors=True)
            seconds[who] = float(figure.read_text())
        ratios.append(seconds["us"] / seconds["bare"])
        ours.append(seconds["us"])
    return ratios, statistics.median(ours), statistics.median(ends)


def test_the_learners_time(tmp_path: Path, report: Report):
    ratios, seconds, _ = _pairs(tmp_path, WORK, 150_000_000)
    report.add(
        "time of a learner that computes and prints, median of 9 pairs",
        f"{seconds:.2f} s, {150 / seconds:.0f} MB/s",
        "the same script alone",
        f"{statistics.median(ratios):.3f}",
        "≤ 1.03",
    )


def test_log_ingest(tmp_path: Path, report: Report):
    ratios, seconds, whole = _pairs(tmp_path, POUR, MEGABYTES * 1_000_000)
    report.add(
        "500 MB poured out as fast as it goes, median of 9 pairs",
        f"{MEGABYTES / seconds:.0f} MB/s",
        "the same script alone",
        f"{statistics.median(ratios):.2f}",
        "–",
    )
    report.add(
        "log ingest, submission → all lines indexed and stored",
        f"{MEGABYTES / whole:.0f} MB/s",
        "–",
        "–",
        "≥ 50 MB/s",
    )


def _event_files(directory: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    directory.mkdir(parents=True)
    with (directory / "events.out.tfevents.1.bench").open("wb") as file:
        writer = RecordWriter(file)
        for step in range(POINTS // TAGS):
            event = Event(step=step, wall_time=1.7e9 + step)
            for tag in range(TAGS):
                event.summary.value.add(tag=f"tag{tag}", simple_value=step * 0.001 + tag)
            writer.write(event.SerializeToString())
        writer.flush()


COLD = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from jupyter_ffdl.trainingdata.series import read_scalars
found = read_scalars(Path(sys.argv[1]), max_points=1000)
print(json.dumps([time.perf_counter() - began, len(found.series)]))
"""
ACCUMULATOR = """
import sys, time
began = time.perf_counter()
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
found.Reload()
points = sum(len(found.Scalars(tag)) for tag in found.Tags()["scalars"])
print(time.perf_counter() - began, points)
"""


def test_a_million_scalars(tmp_path: Path, report: Report):
    """Recorded by the real collector; the first chart of a cold process, beside two peers."""
    events = tmp_path / "events"
    _event_files(events)
    trainings = Trainings(tmp_path / "state")
    training_id = trainings.submit(
        f"import os, shutil\nshutil.copytree({str(events)!r}, os.environ['LOG_DIR'] + '/tb')\n"
    )
    assert trainings.ended(training_id, 300)["status"] == "COMPLETED"
    root = trainings.folder(training_id).root

    def cold() -> float:
        runs = []
        for _ in range(5):
            found = subprocess.run(
                [sys.executable, "-c", COLD, str(root)], capture_output=True, text=True, check=True
            )
            seconds, series = json.loads(found.stdout)
            assert series == TAGS
            runs.append(seconds)
        return statistics.median(runs)

    first_chart = cold()
    rust = _rustboard(events)
    report.add(
        "1 M scalars, cold → first chart data",
        f"{first_chart:.2f} s",
        f"RustBoard {rust:.2f} s" if rust else "RustBoard: not to be had here",
        f"{first_chart / rust:.2f}" if rust else "–",
        "≤ 0.4 s, < RustBoard",
    )
    accumulator = subprocess.run(
        [sys.executable, "-c", ACCUMULATOR, str(events)],
        capture_output=True,
        text=True,
        check=True,
    )
    slow, points = (float(word) for word in accumulator.stdout.split())
    assert points == POINTS
    learner = root / "attempts" / "1" / "learner-1"
    for name in ("scalars.bin", "series.jsonl"):
        (learner / name).unlink()
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", COLD, str(root)], capture_output=True, check=True)
    rebuilt = time.perf_counter() - began
    report.add(
        "1 M scalars, rebuild of the columns",
        f"{rebuilt:.2f} s",
        f"EventAccumulator {slow:.2f} s",
        f"{rebuilt / slow:.2f}",
        "≤ 3 s",
    )


def _rustboard(events: Path) -> float | None:
    """Return RustBoard's seconds from its start to all scalars read."""
    try:
        import tensorboard_data_server
    except ImportError:
        return None
    import grpc
    from tensorboard.data.proto import data_provider_pb2, data_provider_pb2_grpc

    port_file = events.parent / "rustboard-port"
    runs = []
    for _ in range(5):
        port_file.unlink(missing_ok=True)
        began = time.perf_counter()
        process = subprocess.Popen(
            [
                str(tensorboard_data_server.server_binary()),
                f"--logdir={events}",
                "--reload=once",
                "--port=0",
                f"--port-file={port_file}",
                "--samples-per-plugin=scalars=10000000",
                "--die-after-stdin",
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: port_file.exists() and port_file.read_text().strip(), 30)
        channel = grpc.insecure_channel(f"localhost:{port_file.read_text().strip()}")
        stub = data_provider_pb2_grpc.TensorBoardDataProviderStub(channel)
        request = data_provider_pb2.ReadScalarsRequest(experiment_id="x")
        request.plugin_filter.plugin_name = "scalars"
        request.downsample.num_points = 1000

        def complete(stub=stub, request=request) -> bool:
            answer = stub.ReadScalars(request)
            series = [tag for run in answer.runs for tag in run.tags]
            last = POINTS // TAGS - 1
            return len(series) == TAGS and all(tag.data.step[-1] == last for tag in series)

        until(complete, 60)
        runs.append(time.perf_counter() - began)
        channel.close()
        process.kill()
        process.communicate()
    return statistics.median(runs)


def _many(state: Path, count: int) -> None:
    """Make ``count`` records after a real one."""
    trainings = Trainings(state)
    training_id = trainings.submit("print(1)")
    trainings.ended(training_id)
    record = trainings.folder(training_id).read_record()
    writer = trainings.trainer.records.writer
    for n in range(count):
        copy = {
            **record,
            "training_id": new_id(),
            "number": n + 2,
            "submitted": record["submitted"] + n,
        }
        folder = state / "trainings" / copy["training_id"]
        folder.mkdir()
        (folder / "training.json").write_text(json.dumps(copy))
        writer.submitted(copy["training_id"], head_of(copy))
        for status in (Status.PENDING, Status.DOWNLOADING, Status.PROCESSING, Status.COMPLETED):
            writer.status(copy["training_id"], StatusLine(status, copy["submitted"]))


def test_ten_thousand_trainings(tmp_path: Path, report: Report):
    state = tmp_path / "state"
    _many(state, 10_000)
    began = time.perf_counter()
    reread = [json.loads(p.read_bytes()) for p in (state / "trainings").glob("*/training.json")]
    folders = time.perf_counter() - began
    assert len(reread) == 10_001
    began = time.perf_counter()
    trainer = Trainer(state_dir=str(state), min_free_bytes=0)
    trainer.start()
    trainer.models(OWNER, limit=50)
    cold = time.perf_counter() - began
    warm = []
    for _ in range(20):
        began = time.perf_counter()
        page, _ = trainer.models(OWNER, limit=50)
        warm.append(time.perf_counter() - began)
        assert len(page) == 50
    report.add(
        "10 000 trainings, first look after a cold start",
        f"{cold:.2f} s",
        f"reading every folder, warm cache {folders:.2f} s",
        f"{cold / folders:.2f}",
        "≤ 1 s",
    )
    first_page = statistics.median(warm)
    report.add(
        "10 000 trainings, first page later",
        f"{first_page * 1000:.1f} ms",
        f"reading every folder {folders * 1000:.0f} ms",
        f"{first_page / folders:.3f}",
        "≤ 50 ms",
    )


def test_memory_of_trainings_nobody_looks_at(tmp_path: Path, report: Report):
    memory = []
    for count in (0, 5000):
        state = tmp_path / f"state{count}"
        _many(state, count)
        server = Server(tmp_path / f"home{count}", state_dir=state)
        time.sleep(5)
        memory.append(psutil.Process(server.process.pid).memory_info().rss / 2**20)
        server.stop()
    per_thousand = (memory[1] - memory[0]) / 5
    report.add(
        "server memory per 1 000 trainings nobody looks at",
        f"{per_thousand:.1f} MiB",
        f"the server without any {memory[0]:.0f} MiB",
        f"{memory[1] / memory[0]:.2f}",
        "≤ 5 MB",
    )


def test_a_restart_with_a_hundred_running_trainings(tmp_path: Path, report: Report):
    # The server's owner, so that it shows them.
    owner = f"local:{getpass.getuser()}"
    trainings = Trainings(tmp_path / "state", owner=owner)
    ids = [trainings.submit("import time\ntime.sleep(600)") for _ in range(100)]
    for training_id in ids:
        until(lambda i=training_id: trainings.status(i) is Status.PROCESSING, 120)
    server = Server(tmp_path / "first", state_dir=tmp_path / "state")
    server.stop(signal.SIGKILL)
    began = time.perf_counter()
    server = Server(tmp_path / "second", state_dir=tmp_path / "state")
    up = time.perf_counter()
    listed = server.request("GET", "v1/models").json["models"]
    truth = time.perf_counter() - up
    running = [m for m in listed if m["training"]["training_status"]["status"] == "PROCESSING"]
    server.stop()
    for training_id in ids:
        trainings.trainer.halt(training_id, owner, by="bench")
    for training_id in ids:
        trainings.ended(training_id, 300)
    assert len(running) == 100
    report.add(
        "restart with 100 running trainings, server answers → all shown running",
        f"{truth:.2f} s",
        f"the server's own start {up - began:.2f} s",
        f"{truth / (up - began):.2f}",
        "≤ 2 s",
    )
