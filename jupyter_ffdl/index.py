"""The index of a state directory: lists never walk the folders.

Each machine appends submissions, changes of status, flags and deletions to a file of its own, so
that no two machines write one file on a network file system. The index is a cache: the folders are
the truth, and ``rebuild`` makes it anew from them.
Standard library only: supervisors append to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import files
from .training import Status, StatusLine, may_follow


def machine_name() -> str:
    """Return a file name for this machine: readable, and unique among cloned hosts."""
    try:
        identity = Path("/etc/machine-id").read_text().strip()
    except OSError:
        identity = ""
    host = platform.node() or "host"
    digest = hashlib.sha256(f"{host}\0{identity}".encode()).hexdigest()[:8]
    return "".join(c if c.isalnum() else "-" for c in host)[:40] + "-" + digest


class IndexWriter:
    """Appends to this machine's file of the index."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "index" / f"{machine_name()}.jsonl"

    def _append(self, line: dict[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        with self.locked(fcntl.LOCK_SH):
            files.append_line(self.path, line)

    def locked(self, how: int) -> AbstractContextManager[None]:
        """Hold this machine's file: shared to append, exclusive to replace it."""
        return files.locked(self.path.with_suffix(".lock"), how)

    def submitted(self, training_id: str, head: Mapping[str, Any]) -> None:
        """Announce a new training; ``head`` is its row, ``model`` among it."""
        self._append({"op": "new", "id": training_id, "head": dict(head)})

    def status(self, training_id: str, line: StatusLine) -> None:
        """Announce a status. A full disk loses the line; who looks at the folder repairs it."""
        try:
            self._append({"op": "status", "id": training_id, "line": line.to_json()})
        except OSError:
            return

    def flag(self, training_id: str, flags: Mapping[str, Any]) -> None:
        """Announce what people set: archived."""
        self._append({"op": "flags", "id": training_id, "flags": dict(flags)})

    def deleted(self, training_id: str) -> None:
        """Announce that a training is gone."""
        self._append({"op": "deleted", "id": training_id})


@dataclass(slots=True)
class Entry:
    """What a list knows of one training; its static part stays JSON text until it is shown."""

    training_id: str
    name: str
    number: int
    owner: str
    submitted: int
    head: bytes
    status: Status | None = None
    status_time: int = 0
    started: int = 0
    generation: int = 0
    attempt: int = 1
    code: str = "000"
    message: str = ""
    detail: bytes = b""
    archived: bool = False

    @property
    def live(self) -> bool:
        """Whether the training has not ended."""
        return self.status is None or not self.status.terminal

    def apply(self, line: StatusLine) -> bool:
        """Take a status if it counts, as ``training.history`` would; say whether it did."""
        if self.status is not None and (
            line.generation < self.generation
            or not may_follow(self.status, line.status, next_attempt=line.attempt > self.attempt)
        ):
            return False
        self.status, self.status_time = line.status, line.timestamp
        self.generation, self.attempt = line.generation, line.attempt
        self.code, self.message = line.error_code, line.status_message
        self.detail = json.dumps(dict(line.detail)).encode() if line.detail else b""
        if line.status is Status.PROCESSING and not self.started:
            self.started = line.timestamp
        return True


@dataclass(frozen=True)
class Change:
    """One thing that ``Index.refresh`` learned: ``new``, ``status``, ``flags`` or ``deleted``."""

    training_id: str
    kind: str


@dataclass
class Index:
    """All trainings of a state directory, kept up to date by reading new bytes only.

    Not thread-safe: its user holds a lock.
    """

    state_dir: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    _read: dict[str, tuple[int, int]] = field(default_factory=dict)
    _early: dict[str, list[StatusLine]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def refresh(self) -> list[Change]:
        """Read what the machines appended since the last call and return what changed."""
        directory = self.state_dir / "index"
        changes: list[Change] = []
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return changes
        for name in names:
            if not name.endswith(".jsonl"):
                continue
            path = directory / name
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            inode, offset = self._read.get(name, (found.st_ino, 0))
            if inode != found.st_ino or found.st_size < offset:
                # Compacted: it repeats what we know, and whatever counts twice changes nothing.
                offset = 0
            if found.st_size > offset:
                lines, offset = files.read_whole_lines(path, offset)
                changes.extend(self._take(lines))
            self._read[name] = (found.st_ino, offset)
        return changes

    def _take(self, lines: Iterable[bytes]) -> Iterator[Change]:
        loads = _fast_loads()
        for line in lines:
            try:
                value = loads(line)
                change = self._take_one(value["op"], value["id"], value)
            except (KeyError, TypeError, ValueError):
                continue
            if change is not None:
                yield change

    def _take_one(self, op: str, training_id: str, value: Mapping[str, Any]) -> Change | None:
        entry = self.entries.get(training_id)
        if op == "new" and entry is None and training_id not in self._gone:
            self.entries[training_id] = entry = _entry(training_id, value["head"])
            entry.started = int(value.get("started", 0))
            for early in self._early.pop(training_id, ()):
                entry.apply(early)
            return Change(training_id, "new")
        if op == "status":
            line = StatusLine.from_json(value["line"])
            if line is None or training_id in self._gone:
                return None
            if entry is None:
                # Another machine's file is read before the one that announces the training.
                self._early.setdefault(training_id, []).append(line)
                return None
            return Change(training_id, "status") if entry.apply(line) else None
        if op == "flags" and entry is not None:
            archived = bool(value["flags"].get("archived", False))
            changed, entry.archived = archived != entry.archived, archived
            return Change(training_id, "flags") if changed else None
        if op == "deleted" and training_id not in self._gone:
            self._gone.add(training_id)
            self._early.pop(training_id, None)
            if self.entries.pop(training_id, None) is not None:
                return Change(training_id, "deleted")
        return None


def _entry(training_id: str, head: Mapping[str, Any]) -> Entry:
    return Entry(
        training_id=training_id,
        name=str(head["name"]),
        number=int(head["number"]),
        owner=str(head["owner"]),
        submitted=int(head["submitted"]),
        head=json.dumps(head).encode(),
    )


def _fast_loads() -> Callable[[bytes], Any]:
    """Return a parser that is four times as fast where it is installed, as on every server."""
    try:
        import orjson  # noqa: PLC0415  (supervisors append only, and never need it)
    except ImportError:
        return json.loads
    return orjson.loads


def compact(index: Index, writer: IndexWriter, refresh: Callable[[], object]) -> bool:
    """Rewrite this machine's file where most of it is history; say whether it was.

    ``refresh`` brings ``index`` up to date; it is called while nobody can append.
    Only where no other machine has a file: with several, which line stands where is not ours to
    decide.
    """
    with writer.locked(fcntl.LOCK_EX):
        directory = writer.path.parent
        if [path for path in directory.glob("*.jsonl") if path != writer.path]:
            return False
        refresh()
        content = b"".join(line for entry in index.entries.values() for line in _lines(entry))
        if not writer.path.exists() or len(content) * 2 > writer.path.stat().st_size:
            return False
        files.write_whole(writer.path, content)
        return True


def _lines(entry: Entry) -> Iterator[bytes]:
    yield b'{"op":"new","id":"%s","started":%d,"head":%s}\n' % (
        entry.training_id.encode(),
        entry.started,
        entry.head,
    )
    if entry.status is not None:
        line = StatusLine(
            status=entry.status,
            timestamp=entry.status_time,
            status_message=entry.message,
            error_code=entry.code,
            generation=entry.generation,
            attempt=entry.attempt,
            detail=json.loads(entry.detail) if entry.detail else {},
        )
        status = {"op": "status", "id": entry.training_id, "line": line.to_json()}
        yield json.dumps(status).encode() + b"\n"
    if entry.archived:
        flags = {"op": "flags", "id": entry.training_id, "flags": {"archived": True}}
        yield json.dumps(flags).encode() + b"\n"
