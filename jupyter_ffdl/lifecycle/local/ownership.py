"""Who looks after a training: one process at a time, whatever is killed, frozen or moved.

The owner holds ``owner.lock`` by ``flock``. On one machine the kernel drops that lock with its
holder, so the lock alone decides; only an owner that is *stopped* can be taken over while it holds
it. On a network file system an owner may vanish together with its machine and its lock may stay, so
there the counter decides that the owner raises every few seconds: whoever sees it unchanged for two
minutes of its own clock may take over. The reader's clock, because clocks of machines differ.

Every take-over raises the generation, which each status line carries; an owner that wakes up too
late finds a newer generation in the file and changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jupyter_ffdl import files

from .identity import Process, boot_id, host

BEAT_SECONDS = 5.0
"""How often an owner raises its counter."""
TAKE_OVER_SECONDS = float(os.environ.get("FFDL_TAKE_OVER_SECONDS", "120"))
"""How long a counter must stand still: far over any pause of a machine that still works."""

_RECORD_BYTES = 512
"""The record is one sector, written in one piece: a power cut leaves the old one or the new one."""
_LOCAL_FILE_SYSTEMS = frozenset(
    {
        *("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs"),
        *("reiserfs", "rootfs", "tmpfs", "ufs", "xfs", "zfs"),
    }
)


class TakenOver(Exception):
    """Another owner has the training; this one must not write any more."""


@dataclass(frozen=True)
class Owner:
    """What ``owner.lock`` says of its holder."""

    host: str
    process: Process
    generation: int
    counter: int = 0
    since: int = 0
    """Epoch milliseconds."""
    released: bool = False
    """It has let go of its own accord: on any machine the next one need not wait."""

    @property
    def beat(self) -> str:
        """Return what changes with every sign of life."""
        return f"{self.generation}.{self.counter}"

    @property
    def same_kernel(self) -> bool:
        """Whether the holder's lock and ours are kept by the same kernel."""
        return self.process.boot_id == boot_id()

    def to_json(self) -> dict[str, Any]:
        return {
            "host": self.host,
            **self.process.to_json(),
            "generation": self.generation,
            "counter": self.counter,
            "since": self.since,
            **({"released": True} if self.released else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Owner | None:
        """Return the owner, or None where ``value`` is not one."""
        process = Process.from_json(value) if isinstance(value, dict) else None
        if process is None:
            return None
        try:
            return cls(
                str(value["host"]),
                process,
                int(value["generation"]),
                int(value["counter"]),
                int(value["since"]),
                bool(value.get("released")),
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class State:
    """Whether a training has an owner: ``stale`` is one that gave no sign of life for too long."""

    kind: Literal["free", "held", "stale"]
    owner: Owner | None = None


class Ownership:
    """A training that this process owns: keep it, show life by ``beat``, end it by ``release``."""

    def __init__(self, path: Path, descriptor: int, owner: Owner) -> None:
        self._path = path
        self._descriptor = descriptor
        self._owner = owner

    @property
    def generation(self) -> int:
        """One more than that of the owner before."""
        return self._owner.generation

    @classmethod
    def acquire(
        cls, folder: Path, *, stale: str = "", shared: bool | None = None
    ) -> Ownership | None:
        """Become the owner of the training in ``folder``, or return None where somebody else is.

        ``stale``: the ``beat`` of an owner that an ``Observer`` found stale; it is taken over if it
        still stands there. ``shared``: whether other machines may hold files of this folder open
        (None: found out from the file system).
        """
        path = folder / "owner.lock"
        descriptor = _open_locked(path)
        if descriptor is None:
            return _take_over(path, stale)
        try:
            last = _read(descriptor)
            if last is not None and not _is_over(last, folder, shared) and last.beat != stale:
                os.close(descriptor)
                return None
            generation = last.generation if last is not None else _generation_of_statuses(folder)
            owner = _me(generation + 1)
            _write(descriptor, owner, sync=True)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        return cls(path, descriptor, owner)

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors that a forked child must close: else it would own in our place."""
        return (self._descriptor,)

    def beat(self) -> None:
        """Show life. A full disk or a share that is away for a moment is no reason to stop."""
        self._owner = replace(self._owner, counter=self._owner.counter + 1)
        with contextlib.suppress(OSError):
            _write(self._descriptor, self._owner)

    def still_mine(self) -> bool:
        """Whether nobody has taken over; reads the file anew, as a network file system needs it."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            # The share is away: nobody can have taken over what nobody can reach, and
            # whatever we want to write now fails by itself.
            return True
        try:
            there = _read(descriptor)
        finally:
            os.close(descriptor)
        return there is None or (
            there.generation == self.generation and there.process == self._owner.process
        )

    def release(self) -> None:
        """Let go at once, so that the next owner need not wait on any machine."""
        if self._descriptor < 0:
            return
        if self.still_mine():
            with contextlib.suppress(OSError):
                _write(self._descriptor, replace(self._owner, released=True))
        with contextlib.suppress(OSError):
            # Said aloud, because a child that was forked meanwhile may hold a copy.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = -1


class Observer:
    """Looks at ownerships and remembers since when each owner's counter has not moved."""

    def __init__(
        self,
        *,
        seconds: float = TAKE_OVER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        shared: bool | None = None,
    ) -> None:
        # Monotonic: a machine that slept must not find all owners stale when it wakes up.
        self._seconds = seconds
        self._clock = clock
        self._shared = shared
        self._seen: dict[Path, tuple[str, float]] = {}

    def state(self, folder: Path) -> State:
        """Return whether the training in ``folder`` has an owner, without disturbing it."""
        try:
            descriptor = os.open(folder / "owner.lock", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self._seen.pop(folder, None)
            return State("free")
        try:
            locked = not _lock(descriptor, fcntl.LOCK_SH)
            owner = _read(descriptor)
        finally:
            os.close(descriptor)
        if owner is None:
            # Locked but not yet written: an owner in its first moments.
            return State("held" if locked else "free")
        if not locked and _is_over(owner, folder, self._shared):
            self._seen.pop(folder, None)
            return State("free", owner)
        if locked and owner.same_kernel and not _stopped(owner):
            self._seen.pop(folder, None)
            return State("held", owner)
        beat, since = self._seen.get(folder, ("", 0.0))
        if beat != owner.beat:
            self._seen[folder] = (owner.beat, self._clock())
            return State("held", owner)
        return State("stale" if self._clock() - since >= self._seconds else "held", owner)

    def forget(self, folder: Path) -> None:
        """Forget a training that is gone or has ended."""
        self._seen.pop(folder, None)


def _me(generation: int) -> Owner:
    return Owner(host(), Process.of(os.getpid()), generation, 0, time.time_ns() // 1_000_000)


def _is_over(owner: Owner, folder: Path, shared: bool | None) -> bool:  # noqa: FBT001
    """Whether an owner whose lock is free has ended for certain."""
    if owner.released or owner.same_kernel:
        return True
    return not (_on_network(folder.parent) if shared is None else shared)


def _stopped(owner: Owner) -> bool:
    stat = owner.process.stat()
    return stat is not None and stat.state in "Tt"


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN}:
            return False
        if failure.errno in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}:
            # A network file system without locks: the counter alone decides there.
            return True
        raise
    return True


def _open_locked(path: Path) -> int | None:
    """Return a descriptor of the file at ``path`` with the lock on it, None if another holds it."""
    # An observer holds the lock for a moment too, to see whether it is free.
    for pause in (0.0, *[0.01] * 20):
        time.sleep(pause)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A take-over may have put another file there since the open.
        if _lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _take_over(path: Path, stale: str) -> Ownership | None:
    """Put a new file in the place of one whose lock a stale owner holds.

    Of several that try at once one wins: it alone can create the claim to the next generation.
    The claim stays, or one that looked earlier could still win the same generation.
    """
    last = _read_at(path)
    if last is None or last.beat != stale:
        return None
    _drop_old_claims(path, last)
    owner = _me(last.generation + 1)
    try:
        os.close(_create(path.with_name(f"owner.claim-{owner.generation}"), owner))
    except FileExistsError:
        return None
    mine = path.with_name(f".owner.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = _create(mine, owner)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        os.replace(mine, path)
    except BaseException:
        mine.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return Ownership(path, descriptor, owner)


def _create(path: Path, owner: Owner) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    _write(descriptor, owner, sync=True)
    return descriptor


def _drop_old_claims(path: Path, last: Owner) -> None:
    """Remove claims to generations that are over, and one whose maker died before it took over."""
    for claim in path.parent.glob("owner.claim-*"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            if int(claim.name.rpartition("-")[2]) <= last.generation:
                claim.unlink()
                continue
            maker = _read_at(claim)
            dead = maker is not None and maker.process.visible() and not maker.process.alive()
            if dead or time.time() - claim.stat().st_mtime > TAKE_OVER_SECONDS:
                claim.unlink()


def _read_at(path: Path) -> Owner | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Owner | None:
    # A read beside a write may see half of it: such a record is no JSON, or the next read differs.
    for _ in range(5):
        text = os.pread(descriptor, _RECORD_BYTES, 0)
        try:
            return Owner.from_json(json.loads(text)) if text else None
        except ValueError:
            time.sleep(0.001)
    return None


def _write(descriptor: int, owner: Owner, *, sync: bool = False) -> None:
    record = json.dumps(owner.to_json()).encode().ljust(_RECORD_BYTES - 1) + b"\n"
    os.pwrite(descriptor, record, 0)
    if sync:
        os.fsync(descriptor)


def _generation_of_statuses(folder: Path) -> int:
    """Return the newest generation that wrote a status, for a lock file that is new or was lost."""
    lines, _ = files.read_lines(folder / "status.jsonl")
    known = (line.get("generation") for line in lines if isinstance(line, dict))
    return max((number for number in known if isinstance(number, int)), default=0)


@functools.cache
def _on_network(folder: Path) -> bool:
    """Whether other machines may reach this folder too; what we do not know counts as such."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        # A disk of this machine; in a chroot the list of mounts would not show it.
        if os.major(os.stat(folder).st_dev) != 0:
            return False
    path = os.path.realpath(folder)
    best, kind = "", ""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:  # noqa: PTH123
        for line in mounts:
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, right.split(" ", 1)[0]
    return kind not in _LOCAL_FILE_SYSTEMS
