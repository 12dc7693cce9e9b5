"""How long a person waits: for the first line, for each line, for the server."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.conftest import Report, percentile
from serving import Server

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

FIRST_LINE = "import time\nprint('first', flush=True)\n"
LINES = 200


@pytest.fixture
def server(tmp_path, monkeypatch):
    found = Server(tmp_path / "home")
    monkeypatch.setenv("FFDL_URL", f"http://127.0.0.1:{found.port}/ffdl")
    monkeypatch.setenv("FFDL_TOKEN", found.token)
    yield found
    found.stop()


def test_magic_call_to_first_line(tmp_path: Path, server: Server, report: Report):
    import jupyter_ffdl

    script = tmp_path / "first.py"
    script.write_text(FIRST_LINE)
    ours, bare = [], []
    for _ in range(21):
        began = time.perf_counter()
        training = jupyter_ffdl.train(str(script), name="first")
        assert next(iter(training.logs(follow=True))).strip() == "first"
        ours.append(time.perf_counter() - began)
        training.wait(timeout=60)
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            bare.append(time.perf_counter() - began)
    p50, floor = statistics.median(ours[1:]), statistics.median(bare[1:])
    report.add(
        "magic call → first line, p50",
        f"{p50 * 1000:.0f} ms",
        f"bare Popen {floor * 1000:.0f} ms",
        f"{p50 / floor:.1f}",
        "≤ 300 ms",
    )


def test_line_printed_to_line_received(tmp_path: Path, server: Server, report: Report):
    import jupyter_ffdl

    script = tmp_path / "lines.py"
    script.write_text(
        "import time\ntime.sleep(1)\n"
        f"for _ in range({LINES}):\n    print(time.time(), flush=True)\n    time.sleep(0.02)\n"
    )
    training = jupyter_ffdl.train(str(script), name="lines")
    ours = [time.time() - float(line) for line in training.logs(follow=True)]
    log = tmp_path / "bare.log"
    log.touch()
    with (
        log.open("ab") as file,
        subprocess.Popen(["tail", "-n", "0", "-f", str(log)], stdout=subprocess.PIPE) as tail,
        subprocess.Popen([sys.executable, str(script)], stdout=file),
    ):
        assert tail.stdout is not None
        bare = [-(float(tail.stdout.readline()) - time.time()) for _ in range(LINES)]
        tail.kill()
    assert len(ours) == LINES
    p95, floor = percentile(ours, 95), percentile(bare, 95)
    report.add(
        "line printed → received over HTTP, p95",
        f"{p95 * 1000:.0f} ms",
        f"tail -f {floor * 1000:.1f} ms",
        f"{p95 / floor:.0f}",
        "≤ 250 ms (painted)",
    )


def _until_up(tmp_path: Path, number: int, *, enabled: bool) -> tuple[float, float]:
    """Return seconds until the server answers, and its memory in MiB a moment later."""
    import urllib.request

    import psutil

    from serving import free_port

    port = free_port()
    home = tmp_path / f"{number}-{enabled}"
    home.mkdir()
    began = time.perf_counter()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter_server",
                "--allow-root",
                "--no-browser",
                f"--ServerApp.port={port}",
                f"--ServerApp.jpserver_extensions={{'jupyter_ffdl': {enabled}}}",
                f"--FfdlApp.state_dir={home / 'state'}",
            ],
            stdout=log,
            stderr=log,
            cwd=home,
            env={**os.environ, "JUPYTER_RUNTIME_DIR": str(home), "JUPYTER_NO_CONFIG": "1",
                 "JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home)},
        )  # fmt: skip
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/login", timeout=5).read()
            break
        except OSError:
            assert time.perf_counter() - began < 60
            time.sleep(0.005)
    seconds = time.perf_counter() - began
    time.sleep(3)
    memory = psutil.Process(process.pid).memory_info().rss / 2**20
    process.terminate()
    process.wait()
    return seconds, memory


def test_server_start_and_memory(tmp_path: Path, report: Report):
    pairs = [
        (_until_up(tmp_path, n, enabled=True), _until_up(tmp_path, n, enabled=False))
        for n in range(7)
    ]
    ours = statistics.median(with_us[0] for with_us, _ in pairs[1:])
    bare = statistics.median(without[0] for _, without in pairs[1:])
    added = statistics.median(with_us[0] - without[0] for with_us, without in pairs[1:])
    report.add(
        "server start-up added by the extension",
        f"{added * 1000:.0f} ms ({ours:.2f} s)",
        f"empty Jupyter server {bare:.2f} s",
        f"{ours / bare:.2f}",
        "≤ 100 ms",
    )
    memory = [statistics.median(pair[i][1] for pair in pairs) for i in (0, 1)]
    report.add(
        "server memory after the start",
        f"{memory[0]:.0f} MiB",
        f"empty Jupyter server {memory[1]:.0f} MiB",
        f"{memory[0] / memory[1]:.2f}",
        "–",
    )


def test_kernel_extension_load(report: Report):
    code = (
        "import time, IPython\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\nbegan = time.perf_counter()\n"
        "shell.run_line_magic('load_ext', '{}')\nprint(time.perf_counter() - began)"
    )

    def seconds(name: str) -> float:
        runs = [
            subprocess.run(
                [sys.executable, "-c", code.format(name)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for _ in range(7)
        ]
        return statistics.median(float(run.split()[-1]) for run in runs)

    ours, bare = seconds("jupyter_ffdl"), seconds("autoreload")
    report.add(
        "%load_ext jupyter_ffdl",
        f"{ours * 1000:.0f} ms",
        f"%load_ext autoreload {bare * 1000:.0f} ms",
        f"{ours / bare:.1f}",
        "≤ 150 ms",
    )


def test_the_same_script_from_submission_to_end(tmp_path: Path, server: Server, report: Report):
    import jupyter_ffdl

    scheduler = pytest.importorskip("jupyter_scheduler", reason="make bench installs it")
    assert scheduler
    script = tmp_path / "same.py"
    script.write_text("print(sum(range(1000)))\n")
    ours = []
    for _ in range(5):
        began = time.perf_counter()
        jupyter_ffdl.train(str(script)).wait(timeout=60)
        ours.append(time.perf_counter() - began)
    theirs = [_with_scheduler(tmp_path, n) for n in range(3)]
    mine, peer = statistics.median(ours), statistics.median(theirs)
    report.add(
        "one-line script, submission → end",
        f"{mine:.2f} s",
        f"jupyter-scheduler {peer:.2f} s",
        f"{mine / peer:.2f}",
        "–",
    )


def _with_scheduler(tmp_path: Path, number: int) -> float:
    """Run the same line as a notebook of jupyter-scheduler, with its own manager."""
    import nbformat
    from jupyter_scheduler.models import CreateJob
    from jupyter_scheduler.orm import create_tables
    from jupyter_scheduler.scheduler import Scheduler

    root = tmp_path / f"scheduler{number}"
    root.mkdir()
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("print(sum(range(1000)))")]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "same.ipynb")
    database = f"sqlite:///{root}/jobs.sqlite"
    create_tables(database)
    scheduler = Scheduler(
        root_dir=str(root), environments_manager=_environments(), db_url=database, config=None
    )
    began = time.perf_counter()
    job = scheduler.create_job(
        CreateJob(
            name="same",
            input_uri="same.ipynb",
            output_formats=["ipynb"],
            runtime_environment_name=sys.executable,
        )
    )
    while scheduler.get_job(job, False).status not in {"COMPLETED", "FAILED"}:
        assert time.perf_counter() - began < 120
        time.sleep(0.02)
    assert scheduler.get_job(job, False).status == "COMPLETED"
    return time.perf_counter() - began


def _environments():
    from jupyter_scheduler.environments import StaticEnvironmentManager

    return StaticEnvironmentManager()
