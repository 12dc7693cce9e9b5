from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import sys

import pytest

from jupyter_ffdl.lifecycle.local.identity import Process, boot_id, pid_namespace, read_stat


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_a_process_is_told_from_a_later_one_with_its_pid(sleeper):
    process = Process.of(sleeper.pid)
    earlier = dataclasses.replace(process, start_time=process.start_time - 1)
    assert process.alive()
    assert not earlier.alive()
    assert not earlier.send(signal.SIGKILL)
    assert earlier.open_pidfd() is None
    assert sleeper.poll() is None


@pytest.mark.parametrize("change", [{"boot_id": "another"}, {"pid_ns": "pid:[1]"}])
def test_a_process_of_another_boot_or_container_is_not_here(sleeper, change):
    elsewhere = dataclasses.replace(Process.of(sleeper.pid), **change)
    assert not elsewhere.visible()
    assert not elsewhere.alive()


def test_a_process_that_waits_to_be_reaped_has_ended(sleeper):
    process = Process.of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not process.alive()
    assert read_stat(sleeper.pid) is not None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux")
def test_a_pidfd_tells_the_end(sleeper):
    descriptor = Process.of(sleeper.pid).open_pidfd()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []
    assert Process.of(sleeper.pid).send(signal.SIGTERM)
    assert select.select([descriptor], [], [], 5)[0] == [descriptor]
    os.close(descriptor)


def test_a_process_survives_json():
    process = Process.of(os.getpid())
    assert Process.from_json({**process.to_json(), "more": 1}) == process
    assert process.boot_id == boot_id()
    assert process.pid_ns == pid_namespace()


@pytest.mark.parametrize("value", [None, {}, [], "x", {"pid": "x"}, {"pid": 1, "start_time": None}])
def test_what_describes_no_process_is_none(value):
    assert Process.from_json(value) is None


def test_there_is_no_process_of_an_unused_pid(sleeper):
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(ProcessLookupError):
        Process.of(sleeper.pid)


def test_a_name_with_blanks_and_parentheses_is_no_riddle():
    script = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0)\n"
        "print(flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    stat = read_stat(child.pid)
    child.communicate()
    assert stat is not None
    assert stat.ppid == os.getpid()
