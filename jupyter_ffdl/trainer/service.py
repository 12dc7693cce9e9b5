"""The trainer: accepts submissions and answers for every training of a state directory.

Blocking on purpose: handlers call it in threads. It holds no truth of its own; two of them on one
state directory agree because both read the folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir
from traitlets import Dict, Float, Int, Unicode, default
from traitlets.config import LoggingConfigurable

from .. import __version__, files, live
from ..errors import BadInput, Conflict, FfdlError
from ..folder import TrainingFolder, now_ms
from ..learner.places import directories
from ..lifecycle.backend import Backend
from ..lifecycle.local import backend as local
from ..lifecycle.local.gpus import Gpu
from ..training import Status
from ..watch import ENTRIES, IN_MODIFY, Watcher
from . import queue, views
from .records import FolderRecords
from .submission import Submission, prepare

Listener = Callable[[str, str], None]

BACKEND: Backend = local
"""Where trainings run."""

ABANDONED_MS = 600_000
"""Nobody takes this long from the announcement of a training to its folder."""

FIRST_HOUSEKEEPING_SECONDS = 30.0
"""Not at once: whoever starts a server waits for its first list."""

HOUSEKEEPING_SECONDS = 3600.0

TEND_SECONDS = float(os.environ.get("FFDL_TEND_SECONDS", "2"))
"""How often a server looks for trainings whose owner is gone."""


@dataclass(frozen=True)
class Accepted:
    """A submission that became a training; ``created`` is False for a repeated one."""

    training_id: str
    warnings: list[dict[str, Any]]
    created: bool


class Trainer(LoggingConfigurable):
    """Keeps the trainings of one state directory."""

    state_dir = Unicode(
        config=True,
        help="Directory of all records and local trainings (mode 0700). Default: ffdl/ in Jupyter's"
        " data directory, so that every server of this user shows the same trainings.",
    )
    max_running = Int(
        config=True,
        help="How many local trainings run at once; further ones are queued. Default: the number"
        " of cores. 0: no limit.",
    )
    halt_grace_seconds = Int(
        30,
        config=True,
        help="Seconds between TERM and KILL when a training is halted. 0: KILL at once.",
    )
    max_retries = Int(
        0,
        config=True,
        help="How often a training whose learner was lost runs again, where the manifest does not"
        " say. Default 0: locally a retry would start on the machine that just lost it.",
    )
    default_gpus = Int(
        -1,
        config=True,
        help="GPUs of a training from a notebook that names none. -1: one where the machine has"
        " one, else none.",
    )
    gpu_limits = Dict(
        value_trait=Int(),
        key_trait=Unicode(),
        config=True,
        help='Most GPUs in use per type, as {"nvidia-TeslaK80": 4}. Default: DLAAS_GPU_LIMITS'
        " (type=n,type2=m). A type without an entry has no limit.",
    )
    pretended_gpus = Int(
        0,
        config=True,
        help="Pretend that the machine has this many GPUs, for tests. 0: only real ones.",
    )
    min_free_bytes = Int(
        2**30,
        config=True,
        help="No training starts while the state directory's disk has fewer bytes free: a full"
        " disk harms the running ones. Default 1 GiB. 0: always start.",
    )
    max_definition_bytes = Int(
        512 * 2**20,
        config=True,
        help="Largest code zip that is accepted, in bytes. Default 512 MiB.",
    )
    retention_days = Float(
        0,
        config=True,
        help="Trainings that ended this many days ago are deleted, with their results unless these"
        " lie in a directory of yours. Default 0: kept for ever.",
    )

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "ffdl")

    @default("max_running")
    def _default_max_running(self) -> int:
        return os.cpu_count() or 1

    @default("gpu_limits")
    def _default_gpu_limits(self) -> dict[str, int]:
        pairs = (
            part.split("=", 1) for part in os.environ.get("DLAAS_GPU_LIMITS", "").split(",") if part
        )
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._listeners: list[Listener] = []
        self._records: FolderRecords | None = None
        self._gpus: list[Gpu] = []
        self._waits: dict[str, queue.Waiting] = {}
        self._purging = threading.Lock()
        self._next_housekeeping = time.monotonic() + FIRST_HOUSEKEEPING_SECONDS

    @property
    def records(self) -> FolderRecords:
        """The records; available from ``start`` on."""
        if self._records is None:
            raise FfdlError("The trainer has not started", hint="Try again in a moment")
        return self._records

    @property
    def root(self) -> Path:
        """The state directory."""
        return Path(self.state_dir).expanduser()

    # Life

    def start(self) -> None:
        """Open the state directory and take over whatever nobody looks after."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._gpus = local.gpus(self.pretended_gpus)
        self._records = FolderRecords(self.root)
        files.write_json(self.root / "settings.json", self._settings())
        self.records.repair()
        self.tend()

    def stop(self) -> None:
        """Forget the listeners; trainings go on."""
        self._listeners.clear()

    async def watch(self) -> None:
        """Tell listeners what changes, and tend the trainings, until cancelled."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        watcher = Watcher.open()
        if watcher is not None:
            watcher.add(self.root / "index", ENTRIES | IN_MODIFY)

            def readable() -> None:
                watcher.read()
                changed.set()

            loop.add_reader(watcher.fileno(), readable)
        next_tend = time.monotonic()
        try:
            while True:
                await self._tell()
                if time.monotonic() >= next_tend:
                    try:
                        await asyncio.to_thread(self.tend)
                    except OSError:
                        self.log.exception("Tending the trainings failed; trying again")
                    next_tend = time.monotonic() + TEND_SECONDS
                patience = max(0.0, next_tend - time.monotonic())
                # Without inotify the index is looked at twice a second. No asyncio.wait_for: in
                # Python 3.11 it loses a cancellation that comes together with the event.
                alarm = loop.call_later(
                    patience if watcher is not None else min(patience, 0.5), changed.set
                )
                await changed.wait()
                alarm.cancel()
                changed.clear()
        finally:
            if watcher is not None:
                loop.remove_reader(watcher.fileno())
                watcher.close()

    async def _tell(self) -> None:
        for change in await asyncio.to_thread(self.records.refresh):
            for listener in list(self._listeners):
                try:
                    listener(change.training_id, change.kind)
                except Exception:
                    self.log.exception("A listener failed")

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(training_id, kind)`` on every change, in the event loop's thread.

        ``kind``: ``new``, ``status``, ``flags``, ``deleted``. Returns the way to end it.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def tend(self) -> None:
        """Start owners for trainings that lost theirs, start queued ones, finish deletions."""
        BACKEND.reap()
        waiting = False
        for folder, demand in live.trainings(self.root):
            lines = folder.history()
            if not lines:
                if now_ms() - demand.get("submitted", 0) > ABANDONED_MS:
                    live.unregister(self.root, folder.training_id)
                continue
            status = lines[-1].status
            self.records.catch_up(folder)
            if status.terminal:
                live.unregister(self.root, folder.training_id)
            elif status in {Status.QUEUED, Status.NOT_STARTED}:
                waiting = True
            elif not BACKEND.owned(folder):
                self.log.info("Taking over %s (%s)", folder.training_id, status.value)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    BACKEND.start(folder)
        if waiting or self._waits:
            self._start_waiting()
        self._keep_house()
        if self._purging.acquire(blocking=False):
            try:
                self.records.purge(BACKEND.owned)
            finally:
                self._purging.release()

    def _start_waiting(self) -> None:
        self._waits = {wait.training_id: wait for wait in queue.start_waiting(self.root)}

    def _keep_house(self) -> None:
        """Once an hour: compact the index, delete what is older than ``retention_days``."""
        if time.monotonic() < self._next_housekeeping:
            return
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
        self.records.compact()
        if not self.retention_days:
            return
        oldest = now_ms() - self.retention_days * 86_400_000
        for entry in list(self.records.index.entries.values()):
            if not entry.live and entry.status_time < oldest:
                folder = TrainingFolder(self.root / "trainings" / entry.training_id)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    spec = folder.read_record()["spec"]
                    # The user's own directory is the user's to clean (FfDL contract §4.5).
                    results = not directories(folder, spec).shares_bucket
                    self.records.delete(folder, results=results)

    def _settings(self) -> dict[str, Any]:
        """What supervisors need to know while no server runs."""
        return {
            "max_running": self.max_running,
            "gpu_limits": dict(self.gpu_limits),
            "min_free_bytes": self.min_free_bytes,
            "pretended_gpus": self.pretended_gpus,
            "gpus": len(self._gpus),
            "gpu_list": [gpu.to_json() for gpu in self._gpus],
            "cpus": os.cpu_count() or 1,
            "memory_bytes": local.machine_memory_bytes(),
        }

    # Submitting

    def submit(
        self,
        manifest: bytes,
        code: Path,
        *,
        owner: str,
        origin: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Check a submission and make it a training; on any error nothing is created.

        ``code`` is the uploaded zip and stays the caller's to remove. A repeated
        ``idempotency_key`` of the same owner gives the first one's answer.
        """
        return self._accept(
            Submission(manifest, code, owner, origin or {}, context or {}, idempotency_key)
        )

    def _accept(self, submission: Submission) -> Accepted:
        prepared = prepare(submission, self._preferences())
        never = queue.never_fits(
            queue.demand_of("", prepared.draft.demand), queue.limits_of(self._settings())
        )
        if never:
            raise BadInput(
                never.replace("Waits for", "The machine never has").split(":")[0],
                code="C104",
                field=prepared.largest_amount,
                hint=f"Ask for less ({never.split(': ')[-1]})",
            )
        folder, created = self.records.create(prepared.draft)
        if created:
            self._start_waiting()
            wait = self._waits.get(folder.training_id)
            if wait is not None:
                folder.note("queued", f"Queued at place {wait.position}: {wait.reason}")
        return Accepted(folder.training_id, prepared.warnings, created)

    def plan(
        self,
        manifest: bytes,
        code: Path | None,
        *,
        owner: str,
        origin: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return everything a submission would check and create; nothing is created."""
        try:
            prepared = prepare(
                Submission(manifest, code, owner, origin or {}, context or {}, None),
                self._preferences(),
            )
        except FfdlError as problem:
            return {"can_start": False, "problems": [views.problem(problem)], "files": []}
        demand = queue.demand_of("", prepared.draft.demand)
        limits = queue.limits_of(self._settings())
        never = queue.never_fits(demand, limits)
        others = [queue.demand_of(f.training_id, value) for f, value in live.trainings(self.root)]
        _, waits = queue.decide([demand], others, limits, now_ms())
        return {
            "can_start": not never,
            "problems": [{"error": never, "code": 400, "error_code": "C104"}] if never else [],
            "waits_for": waits[0].reason if waits and not never else "",
            "backend": "local",
            **prepared.plan,
        }

    def _preferences(self) -> dict[str, Any]:
        return {
            "halt_grace_seconds": self.halt_grace_seconds,
            "max_retries": self.max_retries,
            "default_gpus": self.default_gpus,
            "machine_gpus": len(self._gpus),
            "min_free_bytes": self.min_free_bytes,
            "max_definition_bytes": self.max_definition_bytes,
            "state_dir": self.root,
        }

    def rerun(
        self,
        training_id: str,
        owner: str,
        changes: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
    ) -> Accepted:
        """Submit the stored snapshot again with changes; the new training names its parent.

        Where checkpoints are the training's own, it goes on from its parent's.
        """
        folder = self.folder(training_id, owner)
        origin = {**(files.read_json(folder.origin) or {}), "parent": training_id}
        record = folder.read_record()
        kept = {
            "interpreter": record["spec"].get("interpreter"),
            "cwd": record["spec"].get("kernel_cwd"),
            "environment": files.read_json(folder.environment) or {},
            "secrets": files.read_json(folder.secrets) or {},
            **(context or {}),
        }
        manifest = views.changed_manifest(folder.manifest.read_bytes(), changes)
        checkpoints = directories(folder, record["spec"]).checkpoints
        return self._accept(
            Submission(manifest, folder.code, owner, origin, kept, None, checkpoints)
        )

    # Reading

    def folder(self, training_id: str, owner: str) -> TrainingFolder:
        """Return the training's folder, NotFound for unknown, deleted and others' trainings."""
        return self.records.folder(training_id, owner)

    def model(self, training_id: str, owner: str) -> dict[str, Any]:
        """Return the Model JSON of the contract §2.4, from the folder itself."""
        folder = self.folder(training_id, owner)
        return views.model(folder, self._waits.get(training_id))

    def models(self, owner: str, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of Model JSON and the token of the next (see ``views.select``)."""
        page, token = views.select(self.records.entries(owner), **query)
        return [
            views.listed_model(entry, self._waits.get(entry.training_id)) for entry in page
        ], token

    def row(self, training_id: str, owner: str) -> dict[str, Any]:
        """Return what a list row shows."""
        self.folder(training_id, owner)
        entry = self.records.entry(training_id)
        if entry is None:
            raise Conflict("The training is being created")
        return views.row(entry, self._waits.get(training_id))

    def rows(self, owner: str, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of rows and the token of the next."""
        page, token = views.select(self.records.entries(owner), **query)
        return [views.row(entry, self._waits.get(entry.training_id)) for entry in page], token

    def timeline(self, training_id: str, owner: str) -> list[dict[str, Any]]:
        """Return what happened, oldest first: statuses and events."""
        return views.timeline(self.folder(training_id, owner))

    def verdict(self, training_id: str, owner: str) -> dict[str, Any] | None:
        """Return why the training ended, None while it has not."""
        verdict: dict[str, Any] | None = files.read_json(self.folder(training_id, owner).verdict)
        return verdict

    def manifest_text(self, training_id: str, owner: str) -> str:
        """Return the manifest as submitted, secrets masked."""
        return views.masked_manifest(self.folder(training_id, owner))

    def source(self, training_id: str, owner: str) -> dict[str, Any]:
        """Return the snapshot: files of the zip (text where it is text), and the origin."""
        return views.source(self.folder(training_id, owner))

    def definition(self, training_id: str, owner: str) -> Path:
        """Return the submitted zip."""
        return self.folder(training_id, owner).code

    def results_dir(self, training_id: str, owner: str) -> Path | None:
        """Return the directory of the results, None where nothing was written."""
        folder = self.folder(training_id, owner)
        path = directories(folder, folder.read_record()["spec"]).results
        return path if path.is_dir() else None

    # Changing

    def halt(self, training_id: str, owner: str, by: str) -> None:
        """Ask for an end; Conflict for a finished training, harmless when repeated."""
        folder = self.folder(training_id, owner)
        with queue.locked(self.root):
            chronicle = self.records.chronicle(folder)
            status = chronicle.last.status if chronicle.last else Status.NOT_STARTED
            if status.terminal:
                raise Conflict("Conflict", description=f"The training is {status.value} already")
            if status in {Status.QUEUED, Status.NOT_STARTED}:
                if status is Status.NOT_STARTED:
                    chronicle.record(Status.QUEUED)
                folder.note("halt", f"Halt asked by {by}", by=by)
                chronicle.record(
                    Status.HALTED, detail={"reason": f"Halted by {by}", "halted_by": by}
                )
                live.unregister(self.root, training_id)
                return
        if status is Status.STORING or any(folder.requests.glob("*-halt-*.json")):
            folder.note("halt", f"Halt asked again by {by}: it is stopping already", by=by)
            return
        folder.request("halt", by=by)
        if not BACKEND.owned(folder):
            BACKEND.start(folder)

    def delete(self, training_id: str, owner: str, *, results: bool = False) -> None:
        """Delete a training; a live one is halted first. From now on it is not found."""
        folder = self.folder(training_id, owner)
        with contextlib.suppress(Conflict):
            self.halt(training_id, owner, by="delete")
        self.records.delete(folder, results=results)

    def archive(self, training_id: str, owner: str, *, archived: bool) -> None:
        """Put a training out of sight ("Clear finished"), or back."""
        self.records.archive(self.folder(training_id, owner), archived=archived)

    def stacks(
        self, training_id: str, owner: str, *, wait_seconds: float = 2.0
    ) -> list[dict[str, Any]]:
        """Return what every learner's threads do now: learner, pid, text."""
        folder = self.folder(training_id, owner)
        lines = folder.history()
        if not lines or lines[-1].status is not Status.PROCESSING:
            raise Conflict(
                "Only a running training has stacks",
                description=f"The training is {lines[-1].status.value if lines else 'new'}",
            )
        return views.stacks(folder, lines[-1].attempt, wait_seconds)

    def capabilities(self) -> dict[str, Any]:
        """Return what works here, what is missing, and where each default comes from."""
        return {
            "version": __version__,
            "backends": [local.capabilities(self.root, self._gpus)],
            "defaults": self._defaults(),
            "limits": {
                "max_running": self.max_running,
                "max_definition_bytes": self.max_definition_bytes,
                "gpu_limits": dict(self.gpu_limits),
                "min_free_bytes": self.min_free_bytes,
                "retention_days": self.retention_days,
            },
        }

    def _defaults(self) -> list[dict[str, Any]]:
        set_by_user = json.loads(json.dumps(list(self.config.get("Trainer", {}))))
        gpus = self.default_gpus
        if gpus < 0:
            gpus = min(1, len(self._gpus))
        return [
            {
                "name": name,
                "value": value,
                "source": f"Trainer.{trait}" if trait in set_by_user else "built in",
            }
            for name, trait, value in (
                ("backend", "backend", "local"),
                ("gpus", "default_gpus", gpus),
                ("max_retries", "max_retries", self.max_retries),
                ("halt_grace_seconds", "halt_grace_seconds", self.halt_grace_seconds),
            )
        ]
