"""Several servers on one state directory, an upgrade under a running training, a frozen owner."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from faulting import (
    CELL,
    CONTEXT,
    WRITER,
    Mortal,
    assert_nothing_left,
    assert_once,
    end_of,
    ended,
    paged,
    part,
)
from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.lifecycle.local.identity import Process
from jupyter_ffdl.trainingdata.series import read_scalars
from serving import Server
from trainings import end_everything, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

SHORT = """\
import os, time
id = os.environ["TRAINING_ID"]
there = os.open({shared!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(there, f"{{id}} +1 {{time.time_ns()}}\\n".encode())
print("ran")
time.sleep(0.1)
os.write(there, f"{{id}} -1 {{time.time_ns()}}\\n".encode())
"""


def test_three_servers_run_forty_trainings_each_once_in_order_two_at_a_time(tmp_path):
    shared = tmp_path / "shared"
    state_dir = tmp_path / "state"
    servers = [
        Server(
            tmp_path / f"home{number}",
            "--Trainer.max_running=2",
            "--Trainer.min_free_bytes=0",
            state_dir=state_dir,
            standalone=number == 2,
        )
        for number in range(3)
    ]
    try:
        began = time.monotonic()
        ids = [
            servers[number % 3].submit(
                SHORT.format(shared=str(shared)), origin=CELL, context=CONTEXT
            )
            for number in range(40)
        ]
        folders = [TrainingFolder(state_dir / "trainings" / training_id) for training_id in ids]
        for folder in folders:
            ended(folder, 90)
        print(f"40 trainings, two at a time: {time.monotonic() - began:.1f} s")
        events = [line.split() for line in shared.read_text().splitlines()]
        starts = [training_id for training_id, change, _ in events if change == "+1"]
        assert sorted(starts) == sorted(ids)
        assert {end_of(folder)[0] for folder in folders} == {"COMPLETED"}
        running = most = 0
        for _, change, _ in sorted(events, key=lambda event: int(event[2])):
            running += int(change)
            most = max(most, running)
        assert most == 2
        turns = {
            folder.training_id: next(
                line.timestamp for line in folder.history() if line.status.value == "PENDING"
            )
            for folder in folders
        }
        assert (
            sorted(ids, key=lambda training_id: (turns[training_id], ids.index(training_id))) == ids
        )
        until(lambda: len({_shown(server) for server in servers}) == 1, 5, "all agree")
        listed = json.loads(_shown(servers[0]))
        assert [row[0] for row in listed] == ids[::-1]
        assert {row[1] for row in listed} == {"COMPLETED"}
    finally:
        for server in servers:
            server.stop()
        end_everything(state_dir)


def _shown(server: Server) -> str:
    models = server.get("v1/models").json["models"]
    return json.dumps([(m["model_id"], m["training"]["training_status"]["status"]) for m in models])


@pytest.fixture
def home(tmp_path):
    """A directory with a state directory, of which nothing runs on."""
    yield tmp_path / "home"
    end_everything(tmp_path / "home" / "state")


def test_an_upgrade_of_the_package_does_not_reach_a_running_training(tmp_path, home):
    import jupyter_ffdl

    package = tmp_path / "site" / "jupyter_ffdl"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(jupyter_ffdl.__file__).parent, package, ignore=ignored)
    script = WRITER.format(count=40, pause=0.05, code=0) + "\nraise ValueError('at last')\n"
    script = script.replace("raise SystemExit(0)\n", "")
    submit = (
        "import sys; from pathlib import Path; from faulting import *; "
        "import trainings, jupyter_ffdl; "
        "assert jupyter_ffdl.__file__.startswith(sys.argv[1]), jupyter_ffdl.__file__; "
        "found = trainings.Trainings(Path(sys.argv[2])); "
        "print(found.folder(found.submit(sys.argv[3])).root)"
    )
    home.mkdir()
    paths = [str(tmp_path / "site"), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", submit, str(tmp_path), str(home / "state"), script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = TrainingFolder(Path(done.stdout.strip()))
    until(lambda: folder.log(1, 1).exists() and "line 10\n" in folder.log(1, 1).read_text(), 20)
    for path in package.rglob("*.py"):
        path.write_text("raise ImportError('another version')\n")
    for path in list(package.rglob("__pycache__")):
        shutil.rmtree(path)
    supervisor = part(folder, "supervisor")
    runner = part(folder, "runner")
    collectors = [
        child
        for child in psutil.Process(supervisor.pid).children()
        if child.pid != runner.pid and child.status() != psutil.STATUS_ZOMBIE
    ]
    assert len(collectors) == 1
    collectors[0].kill()
    ended(folder)
    assert end_of(folder) == ("FAILED", "C201", "1")
    verdict = json.loads(folder.verdict.read_bytes())
    assert verdict["sentence"].startswith("ValueError")
    log = folder.log(1, 1)
    lines = log.read_text().splitlines()
    assert lines[:40] == [f"line {n}" for n in range(1, 41)]
    stored = folder.results / "learner-1" / "training-log.txt"
    assert stored.read_bytes() == log.read_bytes()
    steps = read_scalars(folder.root, max_points=None).series[0].step.tolist()
    assert steps == list(range(1, 41))
    assert paged(folder)[:40] == [f"line {n}\n" for n in range(1, 41)]
    assert "another version" not in (folder.root / "supervisor.log").read_text()
    assert_nothing_left(folder)


@pytest.fixture
def hasty(tmp_path):
    """A server that takes over after a second."""
    server = Mortal(
        tmp_path / "hasty",
        FFDL_BEAT_SECONDS="0.2",
        FFDL_TAKE_OVER_SECONDS="1",
        FFDL_TEND_SECONDS="0.3",
    )
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_an_owner_that_was_frozen_changes_nothing_when_it_wakes(hasty, elsewhere):
    """Here the next owner ends it; on another machine it cannot, and it really wakes up."""
    folder = hasty.submit(WRITER.format(count=80, pause=0.05, code=3))
    ends_meanwhile = hasty.submit(WRITER.format(count=12, pause=0.05, code=0))
    both = (folder, ends_meanwhile)
    frozen = []
    for each in both:
        log = each.log(1, 1)
        until(lambda log=log: log.exists() and "line 5\n" in log.read_text(), 20, "it runs")
        owner = part(each, "supervisor")
        collector = part(each, "collector")
        assert owner.send(signal.SIGSTOP)
        if elsewhere:
            assert collector.send(signal.SIGSTOP)
            record = json.loads((each.root / "owner.lock").read_bytes())
            record["boot_id"] = "00000000-1111-2222-3333-444444444444"
            (each.root / "owner.lock").write_text(json.dumps(record).ljust(512))
        frozen.append((owner, collector))
    for each, (owner, _) in zip(both, frozen, strict=True):
        until(lambda each=each, owner=owner: taken_over(each, owner), 20, "a take-over")
    before = [each.status.read_bytes() for each in both]
    assert [owner.alive() for owner, _ in frozen] == [elsewhere, elsewhere]
    for process in (process for pair in frozen for process in pair):
        process.send(signal.SIGCONT)
    for each, pair in zip(both, frozen, strict=True):
        for process in pair:
            until(lambda process=process: not process.alive(), 10, "the old ones are gone")
        ended(each)
        assert_nothing_left(each)
    assert end_of(folder) == ("FAILED", "C201", "3")
    assert end_of(ends_meanwhile)[0] == "COMPLETED"
    assert_once(folder, 80)
    assert_once(ends_meanwhile, 12)
    for each, start in zip(both, before, strict=True):
        assert each.status.read_bytes().startswith(start)
        generations = [line.generation for line in each.history()]
        assert generations == sorted(generations)
        assert len([line for line in each.history() if line.status.terminal]) == 1


def taken_over(folder: TrainingFolder, owner: Process) -> bool:
    """Whether somebody else owns the training, and has ended the old owner if it could."""
    now = part(folder, "supervisor")
    if now is None or now.pid == owner.pid:
        return False
    # It collects, so it is past the take-over.
    return folder.history()[-1].status.terminal or part(folder, "collector") is not None
