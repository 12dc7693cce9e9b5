from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jupyter_ffdl.lifecycle.local import ownership as ownerships
from jupyter_ffdl.lifecycle.local.identity import Process
from jupyter_ffdl.lifecycle.local.ownership import Observer, Ownership

OWNER = """
import sys, time
from pathlib import Path
from jupyter_ffdl.lifecycle.local.ownership import Ownership
mine = Ownership.acquire(Path(sys.argv[1]))
print(mine.generation if mine else 0, flush=True)
while mine and mine.still_mine():
    mine.beat()
    time.sleep(0.01)
print("lost", flush=True)
"""


@pytest.fixture
def another(tmp_path):
    """Start owners in processes of their own."""
    started = []

    def start():
        child = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        return child, int(child.stdout.readline())

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def record(folder):
    return json.loads((folder / "owner.lock").read_text())


def rewrite(folder, **changes):
    """Write what an owner elsewhere would have written."""
    text = json.dumps({**record(folder), **changes}).encode().ljust(511) + b"\n"
    (folder / "owner.lock").write_bytes(text)


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_at_a_time_owns_a_training(tmp_path):
    first = Ownership.acquire(tmp_path)
    assert first is not None
    assert first.generation == 1
    assert Ownership.acquire(tmp_path) is None
    assert Observer().state(tmp_path).kind == "held"
    first.release()
    assert Observer().state(tmp_path).kind == "free"
    second = Ownership.acquire(tmp_path)
    assert second is not None
    assert second.generation == 2
    second.release()


def test_a_training_that_nobody_ever_owned_is_free(tmp_path):
    assert Observer().state(tmp_path).kind == "free"
    assert Observer().state(tmp_path / "gone").kind == "free"


def test_the_file_says_who_and_shows_life(tmp_path):
    mine = Ownership.acquire(tmp_path)
    assert mine is not None
    before = record(tmp_path)
    mine.beat()
    assert before["pid"] == os.getpid()
    assert before["host"] == os.uname().nodename
    assert record(tmp_path) == {**before, "counter": 1}
    mine.release()


def test_a_killed_owner_is_followed_at_once(tmp_path, another):
    child, generation = another()
    assert generation == 1
    assert Ownership.acquire(tmp_path) is None
    child.kill()
    child.wait()
    assert Observer().state(tmp_path).kind == "free"
    mine = Ownership.acquire(tmp_path)
    assert mine is not None
    assert mine.generation == 2
    mine.release()


def test_a_forked_child_that_closes_the_lock_does_not_own(tmp_path):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = Ownership.acquire(tmp_path)
        assert mine is not None
        grandchild = os.fork()
        if grandchild == 0:
            for descriptor in mine.descriptors():
                os.close(descriptor)
            os.write(write, b"%d" % os.getpid())
            time.sleep(30)
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
    grandchild = int(os.read(read, 20))
    try:
        assert Observer().state(tmp_path).kind == "free"
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_a_program_that_is_started_does_not_inherit_the_lock(tmp_path):
    mine = Ownership.acquire(tmp_path)
    assert mine is not None
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    os.close(mine.descriptors()[0])
    try:
        assert Observer().state(tmp_path).kind == "free"
    finally:
        child.kill()
        child.wait()


def test_a_frozen_owner_is_taken_over_and_notices_when_it_wakes(tmp_path, another):
    now = [0.0]
    observer = Observer(seconds=120, clock=lambda: now[0])
    child, _ = another()
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: Process.of(child.pid).stat().state == "T")
    assert observer.state(tmp_path).kind == "held"
    now[0] = 119.0
    assert observer.state(tmp_path).kind == "held"
    now[0] = 121.0
    state = observer.state(tmp_path)
    assert state.kind == "stale"
    mine = Ownership.acquire(tmp_path, stale=state.owner.beat)
    assert mine is not None
    assert mine.generation == 2
    os.kill(child.pid, signal.SIGCONT)
    assert child.stdout.readline() == "lost\n"
    assert mine.still_mine()
    mine.beat()
    assert observer.state(tmp_path).kind == "held"
    mine.release()


def test_an_owner_that_moved_again_is_not_taken_over(tmp_path, another):
    child, _ = another()
    os.kill(child.pid, signal.SIGSTOP)
    old = Observer().state(tmp_path).owner.beat
    os.kill(child.pid, signal.SIGCONT)
    until(lambda: Observer().state(tmp_path).owner.beat != old)
    assert Ownership.acquire(tmp_path, stale=old) is None


@pytest.mark.parametrize("locked", [True, False])
def test_an_owner_on_another_machine_counts_until_its_counter_stands_still(tmp_path, locked):
    theirs = Ownership.acquire(tmp_path)
    assert theirs is not None
    rewrite(tmp_path, boot_id="another machine", counter=7)
    if not locked:
        os.close(theirs.descriptors()[0])
    now = [0.0]
    observer = Observer(seconds=120, clock=lambda: now[0], shared=True)
    assert observer.state(tmp_path).kind == "held"
    assert Ownership.acquire(tmp_path, shared=True) is None
    now[0] = 100.0
    rewrite(tmp_path, counter=8)
    assert observer.state(tmp_path).kind == "held"
    now[0] = 219.0
    assert observer.state(tmp_path).kind == "held", "it moved at 100"
    now[0] = 221.0
    state = observer.state(tmp_path)
    assert state.kind == "stale"
    mine = Ownership.acquire(tmp_path, stale=state.owner.beat, shared=True)
    assert mine is not None
    assert mine.generation == 2
    assert not theirs.still_mine()
    mine.release()


def test_an_owner_of_an_earlier_boot_ended_where_only_this_machine_has_the_disk(tmp_path):
    old = Ownership.acquire(tmp_path)
    assert old is not None
    os.close(old.descriptors()[0])
    rewrite(tmp_path, boot_id="before the reboot")
    assert Observer(shared=False).state(tmp_path).kind == "free"
    assert Ownership.acquire(tmp_path, shared=False) is not None


def test_an_owner_that_let_go_is_waited_for_on_no_machine(tmp_path):
    old = Ownership.acquire(tmp_path)
    assert old is not None
    old.release()
    rewrite(tmp_path, boot_id="another machine")
    assert Observer(shared=True).state(tmp_path).kind == "free"
    mine = Ownership.acquire(tmp_path, shared=True)
    assert mine is not None
    mine.release()


def test_of_many_that_take_over_at_once_one_wins(tmp_path):
    theirs = Ownership.acquire(tmp_path)
    assert theirs is not None
    beat = Observer().state(tmp_path).owner.beat
    script = (
        "import sys, time; from pathlib import Path\n"
        "from jupyter_ffdl.lifecycle.local.ownership import Ownership\n"
        "sys.stdin.readline()\n"
        "mine = Ownership.acquire(Path(sys.argv[1]), stale=sys.argv[2])\n"
        "print(mine.generation if mine else 0, flush=True); sys.stdin.readline()\n"
        "print(bool(mine and mine.still_mine()), flush=True)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), beat],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    generations = sorted(int(child.stdout.readline()) for child in children)
    still = [child.communicate("end\n")[0].strip() for child in children]
    assert generations == [0, 0, 0, 0, 0, 2]
    assert still.count("True") == 1
    assert not theirs.still_mine()


def test_a_claim_whose_maker_died_does_not_block_the_next(tmp_path):
    theirs = Ownership.acquire(tmp_path)
    assert theirs is not None
    dead = subprocess.Popen(["true"])
    claim = {**record(tmp_path), "pid": dead.pid, "start_time": 1}
    dead.wait()
    (tmp_path / "owner.claim-2").write_text(json.dumps(claim))
    mine = Ownership.acquire(tmp_path, stale=Observer().state(tmp_path).owner.beat)
    assert mine is not None
    assert mine.generation == 2


def test_a_lost_lock_file_does_not_lose_the_generation(tmp_path):
    (tmp_path / "status.jsonl").write_text('{"generation": 4}\n{"generation": 9}\n{"torn')
    mine = Ownership.acquire(tmp_path)
    assert mine is not None
    assert mine.generation == 10


def test_a_folder_that_was_deleted_is_nobodys(tmp_path):
    mine = Ownership.acquire(tmp_path)
    assert mine is not None
    (tmp_path / "owner.lock").unlink()
    assert not mine.still_mine()


def test_the_record_fits_one_sector(tmp_path):
    owner = dataclasses.replace(ownerships._me(10**9), host="h" * 64, counter=10**9, released=True)
    assert len(json.dumps(owner.to_json())) < ownerships._RECORD_BYTES


def test_observing_10_000_trainings_costs_little(tmp_path):
    mine = Ownership.acquire(tmp_path)
    observer = Observer()
    began = time.monotonic()
    for _ in range(1000):
        observer.state(tmp_path)
    assert time.monotonic() - began < 1
    assert mine is not None
    mine.release()
