"""Training records: the one way to create, list, flag and delete trainings.

These are training folders. Whoever keeps records elsewhere, a team service say, gives the trainer
the same methods; nobody else touches folder, index and the list of live trainings together.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files, live
from ..errors import NotFound
from ..folder import Chronicle, TrainingFolder, now_ms
from ..index import Change, Entry, Index, IndexWriter, compact
from ..learner.places import directories
from ..training import FORMAT, Status, StatusLine, new_id, valid_id


@dataclass(frozen=True)
class Draft:
    """A checked submission, ready to become a training."""

    name: str
    owner: str
    manifest: bytes
    code: Path
    """The uploaded zip; it is moved, not copied."""
    record: Mapping[str, Any]
    """``training.json`` without id, number and times."""
    demand: Mapping[str, Any]
    origin: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None


class FolderRecords:
    """Training folders, their index, and the code that equal submissions share."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        for name in ("trainings", "index", "incoming", "live", "code", "keys", "deleting", "trash"):
            (state_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = self._home()
        self.index = Index(state_dir)
        self.writer = IndexWriter(state_dir)
        self._untold: list[Change] = []
        self._lock = threading.RLock()

    def _home(self) -> str:
        """Return the state directory's uuid, which cluster objects carry as ``ffdl/home``."""
        path = self.state_dir / "id"
        with files.locked(self.state_dir / "numbers.lock"):
            if not path.exists() or not path.read_bytes():
                files.write_whole(path, f"{uuid.uuid4()}\n".encode(), sync=True)
        return path.read_text().strip()

    # Reading

    def refresh(self) -> list[Change]:
        """Return what anybody changed since the last call, whoever of us read it first."""
        with self._lock:
            self._read()
            changes, self._untold = self._untold, []
            return changes

    def _read(self) -> None:
        """Read the index's new bytes; what they say stays to be told by ``refresh``."""
        self._untold += self.index.refresh()

    def entries(self, owner: str) -> list[Entry]:
        """Return the owner's trainings, newest first."""
        with self._lock:
            self._read()
            mine = [entry for entry in self.index.entries.values() if entry.owner == owner]
        mine.sort(key=lambda entry: (entry.submitted, entry.training_id), reverse=True)
        return mine

    def entry(self, training_id: str) -> Entry | None:
        """Return what the index knows of a training."""
        with self._lock:
            self._read()
            return self.index.entries.get(training_id)

    def folder(self, training_id: str, owner: str) -> TrainingFolder:
        """Return a training's folder; NotFound for somebody else's, a deleted or unknown one."""
        if valid_id(training_id):
            folder = TrainingFolder(self.state_dir / "trainings" / training_id)
            entry = self.entry(training_id)
            if (
                entry is not None
                and entry.owner == owner
                and not (self.state_dir / "deleting" / training_id).exists()
                and folder.record.exists()
            ):
                return folder
        raise NotFound("Not found", description="model_id not found")

    # Creating

    def create(self, draft: Draft) -> tuple[TrainingFolder, bool]:
        """Create a training and say whether it is new.

        The folder is built aside and appears whole; a repeated idempotency key gives the first
        one's folder. Nothing is left of a creation that fails.
        """
        with self._once(draft) as first:
            if first is not None:
                return first, False
            training_id = new_id()
            if draft.idempotency_key is not None:
                files.write_whole(self._key_path(draft), training_id.encode(), sync=True)
            return self._build(training_id, draft), True

    def _build(self, training_id: str, draft: Draft) -> TrainingFolder:
        built = TrainingFolder(self.state_dir / "incoming" / training_id)
        built.root.mkdir(mode=0o700)
        try:
            built.requests.mkdir(mode=0o700)
            files.write_whole(built.manifest, draft.manifest)
            self._keep_code(draft.code, built.code)
            if draft.origin:
                files.write_json(built.origin, dict(draft.origin))
            files.write_json(built.environment, dict(draft.environment))
            files.write_json(built.secrets, dict(draft.secrets))
            with self._numbering():
                # Inside the lock: numbers, times and places in the queue are in one order.
                submitted = now_ms()
                number = self._next_number(draft.owner, draft.name)
                record = {
                    "format": FORMAT,
                    "training_id": training_id,
                    "name": draft.name,
                    "number": number,
                    "owner": draft.owner,
                    "submitted": submitted,
                    **draft.record,
                }
                record["spec"] = {
                    **record["spec"],
                    "training_id": training_id,
                    "name": draft.name,
                    "owner": draft.owner,
                }
                files.write_json(built.record, record, sync=True)
                begun = StatusLine(Status.NOT_STARTED, submitted)
                files.append_line(built.status, begun.to_json(), sync=True)
                live.register(
                    self.state_dir,
                    training_id,
                    {**draft.demand, "owner": draft.owner, "submitted": submitted},
                )
                folder = TrainingFolder(self.state_dir / "trainings" / training_id)
                os.rename(built.root, folder.root)  # noqa: PTH104 (nothing may be replaced)
                self.writer.submitted(training_id, head_of(record))
                self.writer.status(training_id, begun)
        except BaseException:
            live.unregister(self.state_dir, training_id)
            shutil.rmtree(built.root, ignore_errors=True)
            raise
        folder.note("submitted", "Submitted")
        return folder

    def _keep_code(self, upload: Path, kept: Path) -> None:
        """Put the zip into the folder; equal zips are stored once."""
        digest = hashlib.sha256()
        with upload.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        shared = self.state_dir / "code" / f"{digest.hexdigest()}.zip"
        try:
            if not shared.exists():
                copy = shared.with_suffix(f".{os.urandom(4).hex()}")
                shutil.copyfile(upload, copy)
                copy.replace(shared)
            os.link(shared, kept)
        except OSError:
            shutil.copyfile(upload, kept)  # a file system without hard links

    def _next_number(self, owner: str, name: str) -> int:
        with self._lock:
            self._read()
            numbers = [
                entry.number
                for entry in self.index.entries.values()
                if entry.owner == owner and entry.name == name
            ]
        return max(numbers, default=0) + 1

    @contextmanager
    def _numbering(self) -> Iterator[None]:
        """Two servers never give one number twice."""
        with files.locked(self.state_dir / "numbers.lock"):
            yield

    def _key_path(self, draft: Draft) -> Path:
        digest = hashlib.sha256(f"{draft.owner}\0{draft.idempotency_key}".encode()).hexdigest()
        return self.state_dir / "keys" / digest

    @contextmanager
    def _once(self, draft: Draft) -> Iterator[TrainingFolder | None]:
        if draft.idempotency_key is None:
            yield None
            return
        path = self._key_path(draft)
        with files.locked(path.with_suffix(".lock")):
            folder = None
            with contextlib.suppress(FileNotFoundError):
                training_id = path.read_text()
                folder = TrainingFolder(self.state_dir / "trainings" / training_id)
            # A key without its training: the creation was killed, so this one is the first.
            yield folder if folder is not None and folder.record.exists() else None

    # Changing

    def archive(self, folder: TrainingFolder, *, archived: bool) -> None:
        """Put a training out of sight, or back."""
        files.write_json(folder.flags, {"archived": archived})
        self.writer.flag(folder.training_id, {"archived": archived})

    def delete(self, folder: TrainingFolder, *, results: bool) -> None:
        """Forget a training; from now on it is not found. What it holds goes in ``purge``."""
        marker = {"results": results, "time": now_ms()}
        files.write_json(self.state_dir / "deleting" / folder.training_id, marker, sync=True)
        self.writer.deleted(folder.training_id)

    def purge(self, owned: Callable[[TrainingFolder], bool]) -> None:
        """Finish deletions: of every deleted training that nobody looks after any more."""
        with files.locked(self.state_dir / "purge.lock"):
            self._purge(owned)

    def _purge(self, owned: Callable[[TrainingFolder], bool]) -> None:
        markers = _whole_files(self.state_dir / "deleting")
        inherited = self._inherited() if markers else set()
        for marker in markers:
            folder = TrainingFolder(self.state_dir / "trainings" / marker.name)
            lines = folder.history()
            if lines and not (lines[-1].status.terminal and not owned(folder)):
                continue
            if folder.root in inherited:
                continue
            if folder.record.exists():
                wanted = files.read_json(marker) or {}
                if wanted.get("results", False):
                    # The user's bucket is touched only then, and only below <id>/ (§4.5).
                    place = directories(folder, folder.read_record()["spec"]).results
                    shutil.rmtree(place, ignore_errors=True)
                elif not self._keep_results(folder):
                    continue
                self._keep_trace(folder, lines[-1].status if lines else None)
                os.replace(folder.root, self.state_dir / "trash" / marker.name)
            live.unregister(self.state_dir, marker.name)
            marker.unlink(missing_ok=True)
        for path in (self.state_dir / "trash").iterdir():
            shutil.rmtree(path, ignore_errors=True)
        for shared in (self.state_dir / "code").glob("*.zip"):
            if shared.stat().st_nlink == 1 and _older_than(shared, seconds=60):
                shared.unlink(missing_ok=True)

    def _inherited(self) -> set[Path]:
        """Return the folders whose checkpoints a live training goes on from."""
        found: set[Path] = set()
        for folder, _ in live.trainings(self.state_dir):
            with contextlib.suppress(FileNotFoundError):
                checkpoints = folder.read_record()["spec"].get("checkpoint_dir")
                found |= set(Path(checkpoints).parents) if checkpoints else set()
        return found

    def _keep_results(self, folder: TrainingFolder) -> bool:
        """Put results aside; False where the disk does not let us now, and they must stay."""
        if folder.results.is_dir() and any(folder.results.iterdir()):
            kept = self.state_dir / "kept"
            try:
                kept.mkdir(mode=0o700, exist_ok=True)
                os.rename(folder.results, kept / folder.training_id)  # noqa: PTH104
            except OSError:
                return False
        return True

    def _keep_trace(self, folder: TrainingFolder, status: Status | None) -> None:
        """One line for the analytics stays (FfDL contract §4.5)."""
        record = folder.read_record()
        lines = folder.history()
        training = record["model"]["training"]
        files.append_line(
            self.state_dir / "analytics.jsonl",
            {
                "framework": record["model"]["framework"],
                "learners": training.get("learners"),
                "cpus": training.get("cpus"),
                "gpus": training.get("gpus", 0),
                "owner": record["owner"],
                "submitted": record["submitted"],
                "ended": lines[-1].timestamp if lines else None,
                "status": status.value if status else None,
            },
        )

    # Repairing

    def repair(self) -> None:
        """Bring the index up to what the folders say: what a crash between the two left behind."""
        self.refresh()
        with self._lock:
            known = set(self.index.entries)
        present = {path.name for path in (self.state_dir / "trainings").iterdir()}
        deleting = {path.name for path in _whole_files(self.state_dir / "deleting")}
        for training_id in present - known - deleting:
            self._announce(TrainingFolder(self.state_dir / "trainings" / training_id))
        with self._lock:
            open_ones = [entry.training_id for entry in self.index.entries.values() if entry.live]
        for training_id in open_ones:
            self.catch_up(TrainingFolder(self.state_dir / "trainings" / training_id))
        for training_id in (known - present) | (known & deleting):
            self.writer.deleted(training_id)
        for path in (self.state_dir / "incoming").iterdir():
            if _older_than(path, seconds=3600):
                shutil.rmtree(path, ignore_errors=True)

    def compact(self) -> None:
        """Rewrite this machine's index where most of it is history."""
        with self._lock:
            compact(self.index, self.writer, self._read)

    def _announce(self, folder: TrainingFolder) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            self.writer.submitted(folder.training_id, head_of(folder.read_record()))
            for line in folder.history():
                self.writer.status(folder.training_id, line)
            flags = files.read_json(folder.flags)
            if flags:
                self.writer.flag(folder.training_id, flags)

    def catch_up(self, folder: TrainingFolder) -> None:
        """Announce again what the folder says, where the index lost a line of it."""
        lines = folder.history()
        entry = self.entry(folder.training_id)
        if entry is None and not (self.state_dir / "deleting" / folder.training_id).exists():
            # Whoever created it was killed before the index said so; said twice is harmless.
            self._announce(folder)
        if entry is not None and lines and entry.status_time < lines[-1].timestamp:
            for line in lines:
                if line.timestamp > entry.status_time:
                    self.writer.status(folder.training_id, line)

    def chronicle(self, folder: TrainingFolder) -> Chronicle:
        """Return the writer of a status that is the trainer's to write: before any supervisor."""
        return Chronicle(folder, self.writer.status)


def head_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list shows of ``training.json``."""
    spec = record["spec"]
    return {
        "name": record["name"],
        "number": record["number"],
        "owner": record["owner"],
        "submitted": record["submitted"],
        "model": record["model"],
        "backend": record.get("backend", "local"),
        "learners": spec["learners"],
        "notebook": record.get("notebook"),
        "cell_id": record.get("cell_id"),
        "parent": record.get("parent"),
    }


def _whole_files(directory: Path) -> list[Path]:
    """Return the entries of a directory without the files that somebody writes just now."""
    return [path for path in directory.iterdir() if not path.name.startswith(".")]


def _older_than(path: Path, *, seconds: float) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return now_ms() / 1000 - path.stat().st_mtime > seconds
    return False
