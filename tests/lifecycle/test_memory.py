from __future__ import annotations

import subprocess
import sys

import pytest

from jupyter_ffdl.lifecycle.local.identity import Process
from jupyter_ffdl.lifecycle.local.memory import Meter, used_bytes

MIB = 1 << 20


@pytest.fixture
def run():
    children = []

    def start(script: str) -> Process:
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        children.append(child)
        child.stdout.readline()
        return Process.of(child.pid)

    yield start
    for child in children:
        child.communicate()


def test_memory_that_workers_share_counts_once(run):
    root = run(
        "import os, sys\n"
        "block = bytearray(b'x') * (100 << 20)\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        sys.stdin.read(); os._exit(0)\n"
        "print(flush=True); sys.stdin.read()"
    )
    used = used_bytes(None, [root])
    assert 100 * MIB < used < 200 * MIB


def test_memory_of_a_child_counts(run):
    root = run(
        "import os, sys\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    block = bytearray(b'x') * (60 << 20); os.write(w, b'x')\n"
        "    sys.stdin.read(); os._exit(0)\n"
        "os.read(r, 1); print(flush=True); sys.stdin.read()"
    )
    assert 60 * MIB < used_bytes(None, [root]) < 150 * MIB


def test_what_has_ended_uses_nothing(run):
    root = run("print(flush=True)")
    gone = Process(root.pid, root.start_time - 1, root.boot_id, root.pid_ns)
    assert used_bytes(None, [gone]) == 0


def test_a_meter_is_exact_where_the_limit_is_near(run):
    root = run(
        "import sys\nblock = bytearray(b'x') * (200 << 20)\nprint(flush=True); sys.stdin.read()"
    )
    meter = Meter(None, [root])
    assert 200 * MIB < meter.used_bytes(10**12) < 260 * MIB
    assert 200 * MIB < meter.used_bytes(1) < 260 * MIB
    assert 200 * MIB < meter.peak_bytes < 260 * MIB


def test_a_meter_sees_a_limit_passed_between_two_measurements():
    script = (
        "import sys\n"
        "block = bytearray(b'x') * (100 << 20); print(flush=True); sys.stdin.readline()\n"
        "more = bytearray(b'x') * (100 << 20); print(flush=True); sys.stdin.readline()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    meter = Meter(None, [Process.of(child.pid)])
    limit = 150 * MIB
    assert meter.used_bytes(limit) < limit
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    assert meter.used_bytes(limit) > limit
    child.communicate()
