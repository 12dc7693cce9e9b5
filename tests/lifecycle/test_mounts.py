from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from jupyter_ffdl.lifecycle.local import mounts

pytestmark = pytest.mark.skipif(
    not mounts.available(), reason="no mount namespace is to be had here"
)

FACTS = {"uuid": "0f0f", "addresses": ["127.3.4.5", "127.3.4.6"]}
NOBODY = 65534
PR_SET_DUMPABLE = 4


@pytest.fixture
def training(tmp_path_factory):
    for_all = tmp_path_factory.mktemp("training")
    everyones = Path(tempfile.gettempdir())
    for path in (for_all, *for_all.parents):
        if everyones in path.parents:
            path.chmod(0o755)
    for name in ("job", "data", "results", "checkpoints"):
        (for_all / name).mkdir()
    (for_all / "data" / "train.csv").write_text("1,2")
    return for_all


def inside(training: Path, script: str, *, user: int | None = None) -> str:
    """Run a script in the namespace and return what it printed."""
    plan = {
        "/job": training / "job",
        "/mnt/data/in": training / "data",
        "/mnt/results/out/training-x": training / "results",
        "/mnt/results/out/_wml_checkpoints": training / "checkpoints",
    }
    if user is not None:
        subprocess.run(["chown", "-R", str(user), str(training)], check=True)
        # What follows needs modules that this user may not be able to read.
        mounts._libc()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write, 1)
            os.dup2(write, 2)
            if user is not None:
                os.setgid(user)
                os.setuid(user)
                # A user's processes usually are; this one was root's.
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            mounts.enter(plan, FACTS)
            os.execv("/bin/sh", ["sh", "-c", script])
        except BaseException as failure:  # noqa: BLE001
            os.write(2, str(failure).encode())
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as output:
        said = output.read()
    os.waitpid(pid, 0)
    return said


USERS = [
    pytest.param(None, id="as who runs the tests"),
    pytest.param(
        NOBODY,
        id="as another user",
        marks=pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another"),
    ),
]


@pytest.mark.parametrize("user", USERS)
def test_the_command_sees_the_paths_it_names(training, user):
    said = inside(
        training,
        "cat /mnt/data/in/train.csv; echo; echo made > /job/file;"
        " echo r > /mnt/results/out/training-x/r;"
        " echo c > /mnt/results/out/_wml_checkpoints/c; ls /mnt/results/out; pwd; id -u",
        user=user,
    )
    assert said.split("\n") == [
        "1,2",
        "_wml_checkpoints",
        "training-x",
        "/",
        str(os.getuid() if user is None else user),
        "",
    ]
    assert (training / "job" / "file").read_text() == "made\n"
    assert (training / "results" / "r").exists()
    assert (training / "checkpoints" / "c").exists()


@pytest.mark.parametrize("user", USERS)
def test_learners_names_resolve(training, user):
    said = inside(
        training, "getent hosts learner-0f0f-1.learner-0f0f; getent hosts localhost", user=user
    )
    assert said.split()[0] == "127.3.4.6"
    assert "localhost" in said


@pytest.mark.parametrize("user", USERS)
def test_nothing_of_it_is_seen_outside(training, user):
    before = Path("/proc/self/mountinfo").read_text()
    there = sorted(os.listdir("/")), sorted(os.listdir("/mnt"))
    inside(training, "true", user=user)
    assert Path("/proc/self/mountinfo").read_text() == before
    assert (sorted(os.listdir("/")), sorted(os.listdir("/mnt"))) == there


def test_all_else_is_as_before(training):
    said = inside(training, "ls -a /; ls -a /mnt; ls /proc/self/fd > /dev/null && echo proc")
    assert set(os.listdir("/")) <= set(said.split())
    assert set(os.listdir("/mnt")) <= set(said.split())
    assert said.split()[-1] == "proc"


def test_writing_to_the_root_itself_fails_instead_of_vanishing(training):
    assert "Read-only" in inside(training, "LC_ALL=C touch /file")


def test_the_training_does_not_see_its_new_root_twice(training):
    assert inside(training, f"ls {training}/root") == ""


def test_two_trainings_do_not_meet(training, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name in ("job", "data", "results", "checkpoints"):
        (other / name).mkdir()
    inside(training, "echo mine > /job/file")
    assert "No such file" in inside(other, "LC_ALL=C cat /job/file")


def test_a_bucket_that_is_shared_shows_all_of_it(training):
    (training / "bucket" / "training-old").mkdir(parents=True)
    plan = {"/job": training / "job", "/mnt/results/b": training / "bucket"}
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write, 1)
            mounts.enter(plan, {})
            os.execv("/bin/ls", ["ls", "/mnt/results/b"])
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as output:
        assert output.read() == "training-old\n"
    os.waitpid(pid, 0)


def test_hosts_lines_name_every_learner():
    assert mounts.hosts_lines("0f0f", ["127.3.4.5"]) == (
        "127.3.4.5\tlearner-0f0f-0.learner-0f0f learner-0f0f-0\n"
    )
