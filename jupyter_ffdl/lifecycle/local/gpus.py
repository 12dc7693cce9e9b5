"""GPUs of this machine, and leases of them that no two learners hold at once.

A lease is a ``flock`` on a file named by the GPU's UUID, in a directory that all users of the
machine share: trainings of other users and other state directories take part. The learner's parent
holds it, so it ends with the learner, whatever is killed in between. GPUs on which somebody else
computes are avoided.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jupyter_ffdl.errors import Unavailable

_DIRECTORY_NAME = "jupyter-ffdl-gpus"
_QUERY_SECONDS = 20
_SHARED_AND_STICKY = 0o1777

# GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c9e…)
_DEVICE = re.compile(r"^GPU (\d+): (.*) \(UUID: (GPU-[^)]+)\)")
#   MIG 1g.5gb Device 0: (UUID: MIG-c6d4…)
_SLICE = re.compile(r"^\s+MIG (.*?)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG slice of one."""

    uuid: str
    name: str = ""
    index: int = 0
    """Number of the GPU on the machine; slices have their GPU's."""
    parent: str = ""
    """UUID of the GPU that a slice is part of."""
    pretended: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Lease:
    """GPUs that belong to whoever holds ``fds`` open; who inherits them holds them too."""

    uuids: list[str] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Let go in this process; a child that was forked with them holds on."""
        for descriptor in self.fds:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.fds.clear()


def visible(settings: Mapping[str, Any] | None = None) -> list[Gpu]:
    """Return the GPUs that trainings may use, without regard to leases; empty without any.

    ``settings``: ``pretended_gpus`` (a number, or a list of UUIDs) declares GPUs for tests instead
    of the real ones, as ``FFDL_PRETEND_GPUS`` does; ``gpu_list`` (``to_json`` of each) spares the
    question, which takes a driver that sleeps a second.
    """
    settings = settings or {}
    pretended = settings.get("pretended_gpus") or os.environ.get("FFDL_PRETEND_GPUS")
    if pretended:
        return _pretended(pretended)
    if settings.get("gpu_list") is not None:
        return [Gpu(**gpu) for gpu in settings["gpu_list"]]
    return restrict(parse(_ask("-L")), os.environ)


def _pretended(declared: int | str | Sequence[str]) -> list[Gpu]:
    if isinstance(declared, int) or (isinstance(declared, str) and declared.isdigit()):
        declared = [f"GPU-pretended-{number}" for number in range(int(declared))]
    elif isinstance(declared, str):
        declared = [uuid.strip() for uuid in declared.split(",")]
    return [Gpu(uuid, "pretended", number, pretended=True) for number, uuid in enumerate(declared)]


def parse(listing: str) -> list[Gpu]:
    """Return the GPUs in the output of ``nvidia-smi -L``; one cut into slices is its slices."""
    found: list[Gpu] = []
    whole: Gpu | None = None
    for line in listing.splitlines():
        if match := _DEVICE.match(line):
            whole = Gpu(match[3], match[2], int(match[1]))
            found.append(whole)
        elif whole is not None and (match := _SLICE.match(line)):
            name = f"{whole.name} MIG {match[1]}"
            found.append(Gpu(match[3], name, whole.index, parent=whole.uuid))
    cut = {gpu.parent for gpu in found}
    return [gpu for gpu in found if gpu.uuid not in cut]


def restrict(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that a process with this environment may use.

    ``CUDA_VISIBLE_DEVICES`` holds numbers or (beginnings of) UUIDs; as in CUDA, the first entry
    that names nothing ends the list. ``NVIDIA_VISIBLE_DEVICES`` counts only where it names UUIDs:
    its numbers are the host's, and containers see theirs numbered anew.
    """
    allowed = list(gpus)
    names = [name.strip() for name in environ.get("NVIDIA_VISIBLE_DEVICES", "").split(",")]
    if names and all(name.startswith(("GPU-", "MIG-")) for name in names):
        allowed = [gpu for gpu in allowed if {gpu.uuid, gpu.parent} & set(names)]
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return allowed
    chosen: list[Gpu] = []
    for name in (part.strip() for part in wanted.split(",")):
        matching = [gpu for gpu in allowed if gpu not in chosen and _named(gpu, name)]
        if not matching:
            break
        chosen += matching
    return chosen


def _named(gpu: Gpu, name: str) -> bool:
    if name.isdigit():
        return gpu.index == int(name)
    return bool(name) and (gpu.uuid.startswith(name) or gpu.parent.startswith(name))


def busy(gpus: Iterable[Gpu]) -> dict[str, str]:
    """Return {UUID: what computes on it now}; GPUs that nobody computes on are not in it."""
    if not any(not gpu.pretended for gpu in gpus):
        return {}
    users: dict[str, str] = {}
    for line in _ask(
        "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader"
    ).splitlines():
        uuid, pid, name = ([part.strip() for part in line.split(",", 2)] + ["", ""])[:3]
        if uuid.startswith(("GPU-", "MIG-")):
            users.setdefault(uuid, f"{os.path.basename(name) or 'a process'} (pid {pid})")
    return users


def lease(count: int, settings: Mapping[str, Any] | None = None) -> Lease | None:
    """Lease ``count`` GPUs, or return None where not so many are free; ``shortage`` says why."""
    taken, _ = _try(count, settings or {})
    return taken


def shortage(count: int, settings: Mapping[str, Any] | None = None) -> str:
    """Return why ``count`` GPUs cannot be leased now, for people; empty where they can."""
    taken, reasons = _try(count, settings or {})
    if taken is not None:
        taken.close()
        return ""
    return "; ".join(reasons) or "This machine has no GPU"


def _try(count: int, settings: Mapping[str, Any]) -> tuple[Lease | None, list[str]]:
    found = Lease()
    if count == 0:
        return found, []
    candidates = visible(settings)
    reasons: list[str] = []
    if len(candidates) < count:
        return None, [f"{count} GPUs are wanted, {len(candidates)} can be seen here"]
    # One question for all of them, before the locks: nobody waits for a lock while it is asked.
    users = busy(candidates)
    directory = _open_directory(settings)
    try:
        for gpu in candidates:
            if gpu.uuid in users:
                reasons.append(f"{_title(gpu)} is used by {users[gpu.uuid]}")
            elif (descriptor := _lock(directory, gpu)) is None:
                reasons.append(f"{_title(gpu)} is leased to another training")
            else:
                found.uuids.append(gpu.uuid)
                found.fds.append(descriptor)
            if len(found.fds) == count:
                return found, []
    except BaseException:
        found.close()
        raise
    finally:
        os.close(directory)
    found.close()
    return None, reasons


def _title(gpu: Gpu) -> str:
    return f"GPU {gpu.index}" + (f" ({gpu.uuid})" if gpu.parent else "")


def _lock(directory: int, gpu: Gpu) -> int | None:
    """Return a descriptor that holds the GPU, None where another one does.

    Readable is enough for a lock, so files that another user made serve as well. They are opened
    before they are created: in sticky directories Linux refuses to "create" others' files.
    """
    name = re.sub(r"[^\w.-]", "_", gpu.uuid)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            descriptor = os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
            os.fchmod(descriptor, 0o644)
    except FileExistsError:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _open_directory(settings: Mapping[str, Any]) -> int:
    """Open the directory of the locks: one for the whole machine, no link, no other user's trap."""
    given = settings.get("gpu_lock_dir") or os.environ.get("FFDL_GPU_LOCK_DIR")
    path = Path(given) if given else _machine_wide() / _DIRECTORY_NAME
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(_SHARED_AND_STICKY)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as failure:
        raise Unavailable(
            f"GPUs cannot be leased: {path} is no directory that can be opened",
            hint=f"Remove {path} and try again",
        ) from failure
    status = os.fstat(descriptor)
    if status.st_mode & _SHARED_AND_STICKY != _SHARED_AND_STICKY and status.st_uid in {
        os.getuid(),
        os.geteuid(),
    }:
        os.fchmod(descriptor, _SHARED_AND_STICKY)  # its maker was killed before it could
    return descriptor


def _machine_wide() -> Path:
    """Return a directory in which every user may make files, the same one for all users."""
    lock = Path("/var/lock")
    try:
        shared = lock.stat().st_mode & _SHARED_AND_STICKY == _SHARED_AND_STICKY
    except OSError:
        shared = False
    return lock if shared else Path("/tmp")  # noqa: S108 (guarded by the sticky bit and O_NOFOLLOW)


def _ask(*arguments: str) -> str:
    """Return what nvidia-smi answers, nothing where there is none or no driver."""
    import subprocess  # noqa: PLC0415 (most trainings need no GPU)

    try:
        answer = subprocess.run(
            ["nvidia-smi", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_QUERY_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else ""
