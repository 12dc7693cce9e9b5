from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from jupyter_ffdl.lifecycle.local.containment import Containment, available, own_cgroup

pytestmark = pytest.mark.skipif(not available(), reason="no cgroup can be made here")


@pytest.fixture
def containment():
    made = Containment.create(f"ffdl-test-{os.getpid()}")
    assert made is not None
    yield made
    made.kill()
    made.remove()


def test_what_joined_is_in_it_with_all_that_it_starts(containment):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        containment.join(os.getpid())
        os.write(write, b"x")
        if os.fork() == 0:
            os.setsid()
        time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    deadline = time.monotonic() + 5
    while len(containment.pids()) < 2:
        assert time.monotonic() < deadline
    assert pid in containment.pids()
    assert not containment.remove(), "nothing is removed under a living process"
    assert containment.kill()
    os.waitpid(pid, 0)
    assert containment.pids() == []
    assert containment.remove()
    assert not containment.path.exists()


def test_cgroups_that_user_code_made_below_are_removed_with_it(containment):
    (containment.path / "inner").mkdir()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (containment.path / "inner" / "cgroup.procs").write_text(f"{child.pid}")
    assert containment.pids() == [child.pid]
    assert containment.kill()
    child.wait()
    assert containment.remove()


def test_one_that_is_gone_is_harmless(containment):
    containment.remove()
    again = Containment.from_json(containment.to_json())
    assert again == containment
    assert (again.pids(), again.join(os.getpid()), again.memory_bytes()) == ([], False, None)
    assert again.kill()
    assert again.remove()


def test_making_it_twice_gives_the_same_one(containment):
    assert Containment.create(containment.path.name) == containment
    assert containment.path.parent == own_cgroup()


def test_nothing_is_described_by_nothing():
    assert Containment.from_json(None) is None
