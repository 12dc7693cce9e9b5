from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from jupyter_ffdl.errors import Unavailable
from jupyter_ffdl.lifecycle.local import gpus
from jupyter_ffdl.lifecycle.local.gpus import Gpu

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c9e)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4)
  MIG 1g.5gb      Device  1: (UUID: MIG-c6d5)
GPU 1: NVIDIA GeForce RTX 3090 (Ti) (UUID: GPU-77aa)
"""
CUT, CUT2, WHOLE = gpus.parse(LISTING)


def test_a_gpu_cut_into_slices_is_its_slices():
    assert gpus.parse(LISTING) == [
        Gpu("MIG-c6d4", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 0, parent="GPU-5c9e"),
        Gpu("MIG-c6d5", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", 0, parent="GPU-5c9e"),
        Gpu("GPU-77aa", "NVIDIA GeForce RTX 3090 (Ti)", 1),
    ]


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        pytest.param({}, [CUT, CUT2, WHOLE], id="no restriction"),
        pytest.param({"CUDA_VISIBLE_DEVICES": ""}, [], id="all hidden"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "-1"}, [], id="the usual way to hide all"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1"}, [WHOLE], id="a number"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "GPU-77"}, [WHOLE], id="a UUID's beginning"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1,MIG-c6d4"}, [WHOLE, CUT], id="in their order"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1,7,0"}, [WHOLE], id="ends at an unknown one"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "all"}, [CUT, CUT2, WHOLE], id="container, all"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "3"}, [CUT, CUT2, WHOLE], id="the host's numbers"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "void"}, [CUT, CUT2, WHOLE], id="CDI"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "GPU-77aa"}, [WHOLE], id="container, by UUID"),
    ],
)
def test_only_gpus_that_the_server_may_see_are_used(environ, seen):
    assert gpus.restrict([CUT, CUT2, WHOLE], environ) == seen


@pytest.fixture
def settings(tmp_path):
    return {"pretended_gpus": 2, "gpu_lock_dir": str(tmp_path / "locks")}


def test_no_two_learners_hold_a_gpu(settings):
    first = gpus.lease(1, settings)
    second = gpus.lease(1, settings)
    assert first.uuids + second.uuids == ["GPU-pretended-0", "GPU-pretended-1"]
    assert gpus.lease(1, settings) is None
    assert gpus.shortage(1, settings) == (
        "GPU 0 is leased to another training; GPU 1 is leased to another training"
    )
    first.close()
    assert gpus.lease(2, settings) is None, "what was taken on the way is given back"
    third = gpus.lease(1, settings)
    assert third.uuids == ["GPU-pretended-0"]
    second.close()
    third.close()
    assert gpus.shortage(2, settings) == ""


def test_no_gpu_is_always_to_be_had(settings):
    lease = gpus.lease(0, settings)
    assert (lease.uuids, lease.fds) == ([], [])


def test_more_than_there_are_is_said_so(settings):
    assert gpus.lease(3, settings) is None
    assert gpus.shortage(3, settings) == "3 GPUs are wanted, 2 can be seen here"


def test_a_lease_lives_as_long_as_the_child_that_inherited_it(settings):
    lease = gpus.lease(2, settings)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    lease.close()
    try:
        assert gpus.lease(1, settings) is None
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    again = gpus.lease(2, settings)
    assert again is not None
    again.close()


def test_a_started_program_does_not_inherit_a_lease(settings):
    lease = gpus.lease(2, settings)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    lease.close()
    try:
        assert gpus.shortage(2, settings) == ""
    finally:
        child.kill()
        child.wait()


def test_the_directory_is_everybodys(settings, tmp_path):
    before = os.umask(0o077)
    try:
        gpus.lease(1, settings).close()
    finally:
        os.umask(before)
    locks = tmp_path / "locks"
    assert stat.S_IMODE(locks.stat().st_mode) == 0o1777
    assert stat.S_IMODE((locks / "GPU-pretended-0").stat().st_mode) == 0o644


def test_a_link_in_the_place_of_the_directory_is_refused(settings, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="locks"):
        gpus.lease(1, settings)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_or_pipe_in_the_place_of_a_lock_makes_nothing(settings, tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "GPU-pretended-0").symlink_to(tmp_path / "made")
    os.mkfifo(tmp_path / "locks" / "GPU-pretended-1")
    assert gpus.lease(1, settings) is None
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs a second user")
def test_users_share_the_locks(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    settings = {"pretended_gpus": 1, "gpu_lock_dir": str(tmp_path / "locks")}
    mine = gpus.lease(1, settings)
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0 if gpus.lease(1, settings) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    mine.close()
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0 if gpus.lease(1, settings) is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that lists two GPUs and tells what computes on them."""

    def install(apps: str) -> dict[str, str]:
        place = tmp_path / "bin"
        place.mkdir()
        (place / "nvidia-smi").write_text(
            f"#!{sys.executable}\nimport sys\n"
            "print('GPU 0: A (UUID: GPU-a)\\nGPU 1: B (UUID: GPU-b)' if '-L' in sys.argv else "
            f"{apps!r})\n"
        )
        (place / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
        return {"gpu_lock_dir": str(tmp_path / "locks")}

    return install


def test_a_gpu_that_somebody_else_computes_on_is_avoided(driver):
    settings = driver("GPU-a, 123, /usr/bin/python3")
    lease = gpus.lease(1, settings)
    assert lease.uuids == ["GPU-b"]
    assert gpus.lease(1, settings) is None
    why = gpus.shortage(1, settings)
    assert "GPU 0 is used by python3 (pid 123)" in why
    assert "GPU 1 is leased to another training" in why
    lease.close()


def test_gpus_are_listed_once_where_the_list_is_given(driver):
    settings = driver("")
    known = [gpu.to_json() for gpu in gpus.visible(settings)]
    assert [gpu["uuid"] for gpu in known] == ["GPU-a", "GPU-b"]
    assert gpus.visible({"gpu_list": known[:1]}) == [Gpu("GPU-a", "A", 0)]


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FFDL_PRETEND_GPUS", raising=False)
    assert gpus.visible({}) == []
    assert gpus.lease(1, {}) is None


def test_gpus_can_be_declared_by_name(monkeypatch):
    monkeypatch.setenv("FFDL_PRETEND_GPUS", "GPU-x, GPU-y")
    assert [gpu.uuid for gpu in gpus.visible({})] == ["GPU-x", "GPU-y"]
