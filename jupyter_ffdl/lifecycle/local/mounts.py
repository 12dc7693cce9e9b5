"""``/job`` and ``/mnt/…`` for one command alone: a mount namespace with a root of its own.

Scripts name these paths literally (FfDL contract §5.1). Nothing may be made at the machine's own
root, where two trainings would meet, so the command gets a new root: a small read-only directory
tree in memory that shows every entry of the real root, and the training's directories beside them.
Works for root, and for users where the system lets them have a user namespace. Linux only.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_ffdl import files

_CLONE_NEWNS = 0x0002_0000
_CLONE_NEWUSER = 0x1000_0000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 1, 32, 4096, 16384
_MS_UNBINDABLE, _MS_SLAVE = 1 << 17, 1 << 19
_MNT_DETACH = 2


def enter(
    mounts: Mapping[str, Path], facts: Mapping[str, Any], staging: Path | None = None
) -> None:
    """Give this process the new root; called in a learner's process between fork and exec.

    ``mounts``: {path to appear: directory}, parents before what lies in them. ``facts``: ``uuid``
    and ``addresses`` of the learners, whose names resolve there. ``staging``: an empty directory
    (None: made beside ``/job``'s). Raises OSError where the system refuses.
    """
    real = {path: os.path.realpath(directory) for path, directory in mounts.items()}
    if staging is None:
        staging = Path(real["/job"]).parent / "root"
        staging.mkdir(mode=0o700, exist_ok=True)
    root = os.path.realpath(staging)
    _unshare()
    # Slave: what the machine mounts later appears here too, what is mounted here appears nowhere.
    _mount("none", "/", "", _MS_REC | _MS_SLAVE)
    _mount("ffdl", root, "tmpfs", 0, "mode=755,size=1m")
    # Else the state directory, bound below, would show this very tree again.
    _mount("none", root, "", _MS_UNBINDABLE)
    _show("", root, _children(real))
    for path, directory in real.items():
        os.makedirs(root + path, exist_ok=True)  # noqa: PTH103
        _mount(directory, root + path, "", _MS_BIND | _MS_REC)
    _bind_hosts(root, facts)
    # What a command writes to the root itself would vanish with it: it shall fail instead.
    _mount("none", root, "", _MS_REMOUNT | _MS_RDONLY, "mode=755,size=1m")
    os.chdir(root)
    _check(_libc().syscall(_pivot_root_number(), b".", b"."), "pivot_root", "/")
    _check(_libc().umount2(b".", _MNT_DETACH), "umount", "/")
    os.chdir("/")


@functools.cache
def available() -> bool:
    """Whether literal paths are to be had here; tried out once, in a process of its own."""
    if sys.platform != "linux":
        return False
    import subprocess  # noqa: PLC0415 (servers only)

    tried = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = sys.argv[1:]; from {__name__} import probe; probe()",
            *sys.path,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return tried.returncode == 0


def probe() -> None:
    """Enter a new root; raises OSError where that is not to be had."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory) / "job"
        job.mkdir()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                enter({"/job": job, "/mnt/data/probe": job}, {})
                code = 0 if os.path.isdir("/mnt/data/probe") else 1  # noqa: PTH112
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(code)


def _children(paths: Mapping[str, str]) -> dict[str, set[str]]:
    """Return {directory that is made anew: names in it that are made or mounted}.

    What lies below a mount needs no directory: the mount brings it.
    """
    made: dict[str, set[str]] = {}
    for path in paths:
        parts = path.strip("/").split("/")
        above = ["/" + "/".join(parts[:n]) if n else "" for n in range(len(parts))]
        if any(parent in paths for parent in above):
            continue
        for parent, name in zip(above, parts, strict=True):
            made.setdefault(parent, set()).add(name)
    return made


def _show(directory: str, root: str, made: Mapping[str, set[str]]) -> None:
    """Fill ``directory`` of the new root: real entries are bound, those in ``made`` come later."""
    own = made[directory]
    try:
        entries = list(os.scandir(directory or "/"))
    except OSError:
        entries = []
    for entry in entries:
        if entry.name in own:
            continue
        there = f"{root}{directory}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), there)  # noqa: PTH115, PTH211
        elif entry.is_dir():
            os.mkdir(there)  # noqa: PTH102
            _mount(entry.path, there, "", _MS_BIND | _MS_REC)
        elif entry.is_file():
            _touch(there)
            _mount(entry.path, there, "", _MS_BIND)
    for name in own:
        path = f"{directory}/{name}"
        os.mkdir(root + path)  # noqa: PTH102
        if path in made:
            _show(path, root, made)


def _bind_hosts(root: str, facts: Mapping[str, Any]) -> None:
    """Let the learners' names resolve: FfDL contract §5.5."""
    names = hosts_lines(str(facts.get("uuid", "")), facts.get("addresses") or [])
    hosts = root + os.path.realpath("/etc/hosts")
    if not names or not os.path.exists(hosts):  # noqa: PTH110
        return
    content = Path("/etc/hosts").read_bytes().rstrip(b"\n") + b"\n" + names.encode()
    # Beside the new root, not in it: from what is unbindable no file can be bound either.
    own = Path(f"{root}.hosts")
    files.write_whole(own, content, mode=0o644)
    _mount(str(own), hosts, "", _MS_BIND)


def hosts_lines(learner_uuid: str, addresses: Sequence[str]) -> str:
    """Return the lines of a hosts file: each learner's full name, and the name of its pod."""
    prefix = f"learner-{learner_uuid}"
    return "".join(
        f"{address}\t{prefix}-{n}.{prefix} {prefix}-{n}\n" for n, address in enumerate(addresses)
    )


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and _libc().unshare(_CLONE_NEWNS) == 0:
        return
    _check(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare", "user namespace")
    # The same ids inside, so that nothing but the mounts changes for the command.
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (uid, uid)),
        ("gid_map", b"%d %d 1" % (gid, gid)),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc().mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        flags,
        data.encode() or None,
    )
    _check(result, "mount", target)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _pivot_root_number() -> int:
    """Return the number of the system call: C libraries have no function for it."""
    return {"x86_64": 155, "i386": 217, "i686": 217, "ppc64le": 203, "s390x": 217}.get(
        os.uname().machine, 41
    )


def _check(result: int, what: str, target: str) -> None:
    if result != 0:
        import ctypes  # noqa: PLC0415

        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", target)


@functools.cache
def _libc() -> Any:
    import ctypes  # noqa: PLC0415 (literal paths are rare)

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [
        *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p),
        *(ctypes.c_ulong, ctypes.c_char_p),
    ]
    libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
    libc.unshare.argtypes = [ctypes.c_int]
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p]
    return libc
