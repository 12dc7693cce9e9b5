"""``kill -9`` of anything at any moment: the end is true, nothing is lost or doubled or left."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

from faulting import (
    WRITER,
    Truth,
    assert_nothing_left,
    assert_once,
    end_of,
    ended,
    kill,
    part,
)
from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.lifecycle.local.containment import available
from jupyter_ffdl.lifecycle.local.identity import read_stat
from trainings import processes_of, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

COUNT = 40


def write_until(folder: TrainingFolder, line: int) -> None:
    """Wait until the training has printed that line."""
    log = folder.log(1, 1)
    until(lambda: log.exists() and f"line {line}\n" in log.read_text(), 20, f"line {line}")


@pytest.mark.parametrize(
    "killed",
    [
        ("server",),
        ("supervisor",),
        ("runner",),
        ("learner",),
        ("collector",),
        ("supervisor", "supervisor"),
        ("supervisor", "learner"),
        ("runner", "learner"),
        ("supervisor", "runner"),
        ("runner", "supervisor"),
        ("server", "supervisor", "learner"),
    ],
    ids="-".join,
)
def test_whatever_is_killed_the_end_is_true(mortal, killed):
    folder = mortal.submit(WRITER.format(count=COUNT, pause=0.05, code=3))
    truth = Truth(code=3)
    write_until(folder, 5)
    for number, name in enumerate(killed):
        if name == "server":
            mortal.kill()
        else:
            if "supervisor" in killed[:number] and name == "supervisor":
                until(lambda: part(folder, "supervisor").alive(), 10, "a second supervisor")
            assert kill(folder, name)
        truth.killed_part(name)
    mortal.restart()
    took = ended(folder)
    assert end_of(folder) == truth.end
    assert not (truth.killed or truth.lost) or took < 10
    status = mortal.server.status(folder.training_id)
    assert (status["status"], status["error_code"]) == truth.end[:2]
    if truth.killed:
        assert "SIGKILL" in status["reason"]
    if truth.lost:
        assert status["reason"].startswith("Lost")
    assert_once(folder, None if truth.killed or truth.lost else COUNT)
    assert_nothing_left(folder)


@pytest.mark.alone
def test_within_two_seconds_of_the_servers_return_rest_tells_the_truth(mortal):
    goes_on = mortal.submit(WRITER.format(count=200, pause=0.1, code=0))
    ends = mortal.submit(WRITER.format(count=5, pause=0.05, code=0))
    lost = mortal.submit(WRITER.format(count=200, pause=0.1, code=0))
    write_until(lost, 1)
    write_until(goes_on, 1)
    mortal.kill()
    assert kill(lost, "supervisor")
    assert kill(lost, "runner")
    ended(ends)
    mortal.restart()
    returned = time.monotonic()
    try:
        assert mortal.server.status(goes_on.training_id)["status"] == "PROCESSING"
        assert mortal.server.status(ends.training_id)["status"] == "COMPLETED"
        until(
            lambda: mortal.server.status(lost.training_id)["status"] in {"STORING", "FAILED"},
            2,
            "the lost one is known to be lost",
        )
        print(f"truth after {time.monotonic() - returned:.2f} s")
        ended(lost)
        assert end_of(lost)[1] == "S104"
        assert_once(ends, 5)
        assert_once(lost)
    finally:
        mortal.server.request("PATCH", f"v1/models/{goes_on.training_id}", {"status": "halt"})
        ended(goes_on)
    assert_once(goes_on)
    assert_nothing_left(lost)
    assert_nothing_left(goes_on)


def test_a_command_that_ends_just_when_its_parent_is_killed_keeps_its_exit_code(mortal):
    folder = mortal.submit(WRITER.format(count=10, pause=0.02, code=5))
    write_until(folder, 1)
    runner, learner = part(folder, "runner"), part(folder, "learner")
    # Frozen, it cannot take note of the end, which comes now.
    assert runner.send(signal.SIGSTOP)
    until(lambda: not learner.alive(), 20, "the command has ended")
    assert runner.send(signal.SIGKILL)
    assert ended(folder) < 10
    assert end_of(folder) == ("FAILED", "C201", "5")
    assert_once(folder, 10)
    assert_nothing_left(folder)


def test_a_halt_outlives_the_supervisor_that_began_it(mortal):
    script = (
        "import signal, time\n"
        "def stop(*_):\n"
        "    for n in range(1, 21):\n"
        "        print('saving', n, flush=True)\n"
        "        time.sleep(0.1)\n"
        "    raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', flush=True)\n"
        "time.sleep(100)\n"
    )
    folder = mortal.submit(script)
    log = folder.log(1, 1)
    until(lambda: log.exists() and "up" in log.read_text(), 20, "it runs")
    mortal.server.request("PATCH", f"v1/models/{folder.training_id}", {"status": "halt"})
    until(lambda: "saving 2" in log.read_text(), 10, "it saves")
    assert kill(folder, "supervisor")
    ended(folder)
    assert end_of(folder)[0] == "HALTED"
    # The grace was given whole, and what was printed meanwhile is stored.
    expected = "up\n" + "".join(f"saving {n}\n" for n in range(1, 21))
    assert log.read_text() == expected
    assert (folder.results / "learner-1" / "training-log.txt").read_text() == expected
    assert_nothing_left(folder)


def test_a_supervisor_killed_after_max_runtime_leaves_the_reason(mortal):
    script = "import time\nprint('up', flush=True)\ntime.sleep(100)\n"
    # It ignores TERM for a while, so that the supervisor can be killed while it stops it.
    script = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + script
    folder = mortal.submit(script, max_runtime="1s")
    stopping = folder.attempt(1) / "stopping.json"
    until(stopping.exists, 10, "its time is up")
    time.sleep(0.2)
    assert kill(folder, "supervisor")
    ended(folder)
    assert end_of(folder) == ("FAILED", "C104", "MAX_RUNTIME_EXCEEDED")
    assert_nothing_left(folder)


def test_whatever_it_started_is_found_when_its_keepers_died(mortal):
    script = """\
import os, subprocess, time
stubborn = "trap '' TERM; echo $$ >> $0; sleep 300; sleep 300"
there = os.environ["RESULT_DIR"] + "/pids"
subprocess.Popen(["sh", "-c", stubborn, there])
subprocess.Popen(["setsid", "sh", "-c", stubborn, there])
subprocess.Popen(["setsid", "sh", "-c", "(sh -c \\"$1\\" $0 &) &", there, stubborn])
if {cgroup}:
    subprocess.Popen(["env", "-i", "/usr/bin/setsid", "/bin/sh", "-c",
                      "(/bin/sh -c \\"$1\\" $0 &) &", there, stubborn])
while open(there, "a+").seek(0) or len(open(there).read().split()) < {count}:
    time.sleep(0.02)
print("up", flush=True)
time.sleep(300)
"""
    cgroup = available()
    folder = mortal.submit(script.format(cgroup=cgroup, count=3 + cgroup))
    log = folder.log(1, 1)
    until(lambda: log.exists() and "up" in log.read_text(), 20, "it runs")
    pids = [int(pid) for pid in (folder.results / "pids").read_text().split()]
    assert len(pids) == 3 + cgroup
    assert kill(folder, "runner")
    assert kill(folder, "supervisor")
    ended(folder, 30)
    assert end_of(folder)[1] == "S104"
    assert_nothing_left(folder)
    assert [pid for pid in pids if (stat := read_stat(pid)) is not None and not stat.ended] == []


def test_after_a_reboot_it_says_that_the_machine_was_stopped(mortal):
    folder = mortal.submit(WRITER.format(count=300, pause=0.05, code=0))
    write_until(folder, 3)
    mortal.kill()
    for name in ("supervisor", "runner", "learner"):
        assert kill(folder, name)
    for process in processes_of(folder.training_id):
        process.kill()
    learner = folder.learner(1, 1)
    another = "00000000-1111-2222-3333-444444444444"
    for path in (
        folder.root / "owner.lock",
        learner / "runner.json",
        learner / "command.json",
        folder.attempt(1) / "attempt.json",
    ):
        record = json.loads(path.read_bytes())
        path.write_text(json.dumps({**record, "boot_id": another}).ljust(512))
    mortal.restart()
    ended(folder)
    assert end_of(folder)[:2] == ("FAILED", "S104")
    reason = mortal.server.status(folder.training_id)["reason"]
    assert reason.startswith("Lost: the machine was stopped")
    assert_once(folder)
    assert_nothing_left(folder)


def test_a_lost_training_is_tried_again_in_the_same_places(mortal):
    script = """\
import os, time
for name in ("RESULT_DIR", "CHECKPOINT_DIR"):
    print(os.environ[name], flush=True)
state = os.environ["CHECKPOINT_DIR"] + "/state"
if os.path.exists(state):
    print("resumed from", open(state).read())
else:
    open(state, "w").write("7")
    time.sleep(300)
"""
    folder = mortal.submit(script, max_retries=1)
    until(lambda: (folder.log(1, 1).exists() and folder.log(1, 1).read_text().count("\n")) == 2, 20)
    assert kill(folder, "supervisor")
    assert kill(folder, "runner")
    ended(folder)
    assert end_of(folder)[0] == "COMPLETED"
    first = folder.log(1, 1).read_text().splitlines()
    second = folder.log(2, 1).read_text().splitlines()
    assert second == [*first, "resumed from 7"]
    statuses = [line.status.value for line in folder.history()]
    assert statuses.count("PENDING") == 2
    assert [line.attempt for line in folder.history()][-1] == 2
    assert_nothing_left(folder)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_random_series_of_kills(mortal):
    seed = int(os.environ.get("FFDL_SEED") or random.SystemRandom().randrange(2**32))
    runs = int(os.environ.get("FFDL_RUNS", "50"))
    print(f"FFDL_SEED={seed}")
    slowest = 0.0
    for run in range(runs):
        chance = random.Random(seed * 1000 + run)
        slowest = max(slowest, one_random_series(mortal, chance, f"seed {seed}, run {run}"))
    print(f"{runs} runs; a death was told of after {slowest:.1f} s at most")
    assert slowest < 10


def one_random_series(mortal, chance: random.Random, name: str) -> float:
    """Kill what chance picks while a training runs, and check its end; return how long it took."""
    code = chance.choice([0, 0, 3])
    count = chance.randrange(30, 100)
    folder = mortal.submit(WRITER.format(count=count, pause=0.05, code=code))
    truth = Truth(code=code)
    ends: set[tuple[str, str, str]] = set()
    if chance.random() < 0.9:
        until(lambda: began(folder), 20, "it has begun")
    for _ in range(chance.randrange(1, 5)):
        pause = chance.choice([0.0, 0.02, 0.1, 0.5, 1.0, 2.0]) * chance.random()
        time.sleep(pause)
        # A learner's death ends the series, so it comes more rarely.
        picked = chance.choices(
            ["server", "supervisor", "runner", "collector", "learner"], [2, 3, 2, 2, 1]
        )[0]
        before = truth.end
        if picked == "server":
            mortal.kill()
            if chance.random() < 0.5:
                mortal.restart()
        elif not began(folder) and picked != "supervisor":
            continue
        else:
            running = began(folder)
            told = folder.learner(1, 1) / "exit.json"
            over = told.exists() or folder.history()[-1].status.terminal
            if not kill(folder, picked) or over:
                continue
            if picked == "supervisor" and not running:
                runner = part(folder, "runner")
                if runner is None or not runner.alive():
                    continue  # its learner had not begun: another supervisor starts it
            truth.killed_part(picked, told=told.exists())
        if truth.end != before:
            # What was killed may have ended just before.
            ends.add(before)
    mortal.restart()
    took = ended(folder, 40)
    assert end_of(folder) in ends | {truth.end}, (name, truth, folder.history())
    completed = end_of(folder)[1] == "000" or end_of(folder)[2] == "3"
    lines = assert_once(folder, count if completed else None)
    assert_nothing_left(folder)
    print(f"{name}: {truth.happened} → {end_of(folder)}, {lines} lines, {took:.1f} s")
    return 0.0 if completed else took


def began(folder: TrainingFolder) -> bool:
    """Whether the command has begun."""
    return (folder.learner(1, 1) / "command.json").exists()
