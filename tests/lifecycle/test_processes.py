from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyter_ffdl.lifecycle.local import processes
from jupyter_ffdl.lifecycle.local.containment import Containment, available
from jupyter_ffdl.lifecycle.local.identity import Process

ID = f"training-{os.getpid()}"


class Command:
    """A learner's command, started as the learner's parent starts it."""

    def __init__(self, script: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "TRAINING_ID": ID},
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.child.stdout is not None
        self.said = self.child.stdout.readline().split()
        self.root = Process.of(self.child.pid)

    def found(self) -> list[Process]:
        return processes.started_by(ID, [self.root])

    def end(self) -> None:
        processes.kill_until_gone(self.found, seconds=10)
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()


@pytest.fixture
def start():
    commands: list[Command] = []

    def run(script: str) -> Command:
        commands.append(Command(script))
        return commands[-1]

    yield run
    for command in commands:
        command.end()


def daemon(environment: str) -> str:
    """Return a script whose daemon leaves parent, group and session, and ignores TERM."""
    return (
        "import os, signal, subprocess, sys, time\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        os.write(write, b'%d' % os.getpid())\n"
        "        os.close(write); os.dup2(os.open(os.devnull, os.O_RDWR), 1)\n"
        "        os.execve('/bin/sleep', ['sleep', '60'], " + environment + ")\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(os.getpid(), os.read(read, 20).decode(), flush=True)\n"
        "time.sleep(60)\n"
    )


def test_a_daemon_that_left_everything_is_found_by_its_environment(start):
    command = start(daemon("dict(os.environ)"))
    assert {str(process.pid) for process in command.found()} == set(command.said)
    command.child.kill()
    command.child.wait()
    assert [str(process.pid) for process in command.found()] == [command.said[1]]


def test_a_child_that_cleared_its_environment_is_found_by_group_and_tree(start):
    command = start(
        "import subprocess, time\n"
        "a = subprocess.Popen(['sleep', '60'], env={})\n"
        "b = subprocess.Popen(['sleep', '60'], env={}, start_new_session=True)\n"
        "print(a.pid, b.pid, flush=True); time.sleep(60)"
    )
    pids = {str(process.pid) for process in command.found()}
    assert set(command.said) < pids
    assert set(map(str, processes.tree([command.root]))) == pids


def test_a_child_in_the_group_of_a_command_that_ended_is_found(start):
    command = start(
        "import subprocess\n"
        "a = subprocess.Popen(['sleep', '60'], env={}, stdout=subprocess.DEVNULL)\n"
        "print(a.pid, flush=True)"
    )
    command.child.wait()
    assert [str(process.pid) for process in command.found()] == command.said


@pytest.mark.skipif(not available(), reason="no cgroup can be made here")
def test_what_left_all_else_is_found_by_its_cgroup():
    containment = Containment.create(f"ffdl-test-{os.getpid()}")
    assert containment is not None
    child = subprocess.Popen(["sleep", "60"], env={}, start_new_session=True)
    try:
        assert containment.join(child.pid)
        found = processes.started_by(ID, [], [containment])
        assert [process.pid for process in found] == [child.pid]
    finally:
        child.kill()
        child.wait()
        assert containment.remove()


def test_500_children_are_gone_within_seconds(start):
    command = start(
        "import os, time\n"
        "for _ in range(500):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid(); time.sleep(60); os._exit(0)\n"
        "print(flush=True); time.sleep(60)"
    )
    began = time.monotonic()
    found = command.found()
    looked = time.monotonic() - began
    assert len(found) == 501
    assert processes.signal_all(found, signal.SIGTERM) == 501
    assert processes.kill_until_gone(command.found, seconds=10) == []
    assert looked < 2


def test_a_parent_that_starts_children_all_the_time_is_ended(start):
    command = start(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "print(flush=True)\n"
        "while True:\n"
        "    if os.fork() == 0:\n"
        "        os.setsid(); time.sleep(60)\n"
        "    time.sleep(0.002)"
    )
    time.sleep(0.2)
    assert processes.kill_until_gone(command.found, seconds=10) == []
    assert command.found() == []


def test_the_searcher_and_all_above_it_are_spared():
    script = (
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
        "import os\n"
        "from jupyter_ffdl.lifecycle.local import processes\n"
        "from jupyter_ffdl.lifecycle.local.identity import Process\n"
        "roots = [Process.of(os.getppid())]\n"
        f"print([p.pid for p in processes.started_by({ID!r}, roots)])"
    )
    ran = subprocess.run(
        ["bash", "-c", '"$0" -c "$1"; true', sys.executable, script],
        env={**os.environ, "TRAINING_ID": ID},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


def test_a_later_process_of_a_commands_pid_is_spared(start):
    command = start("print(flush=True); import time; time.sleep(60)")
    earlier = dataclasses.replace(command.root, start_time=command.root.start_time - 5)
    assert processes.started_by("training-another", [earlier]) == []
    assert processes.tree([earlier]) == []


def test_another_trainings_processes_are_spared(start):
    command = start(daemon("{**os.environ, 'TRAINING_ID': '" + ID + "9'}"))
    pids = {str(process.pid) for process in command.found()}
    assert command.said[1] not in pids
    os.kill(int(command.said[1]), signal.SIGKILL)
