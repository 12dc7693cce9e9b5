"""Whose turn it is (FfDL contract §4.6).

Deciding is pure. Counting, deciding and starting happen together under one ``flock`` of
``queue.lock``, by whoever notices that there may be room: a server that accepted a training, a
supervisor whose training ended. If that process is killed on the way, the queue waits until a
server, supervisor or command looks again.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files, live
from ..folder import Chronicle, TrainingFolder, now_ms
from ..index import IndexWriter
from ..lifecycle.local import backend as local
from ..training import Status

PASSED_OVER_MS = 3_600_000
"""A training that others overtook for this long is next, whatever else would fit."""


@dataclass(frozen=True)
class Demand:
    """What a training wants: amounts over all its learners, 0 where none was given."""

    training_id: str
    owner: str
    submitted: int
    gpus: int = 0
    gpu_type: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Limits:
    """What there is. 0 stands for: no limit."""

    max_running: int = 0
    gpus: int | None = None
    cpus: float = 0.0
    memory_bytes: int = 0
    gpu_types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """One training that has to wait: its place from 1, and why."""

    training_id: str
    position: int
    reason: str


def type_key(gpu_type: str) -> str:
    """Return the form in which GPU types compare: upper case, ``-`` and ``.`` as ``_``."""
    return gpu_type.upper().replace("-", "_").replace(".", "_")


def decide(
    waiting: Sequence[Demand], running: Sequence[Demand], limits: Limits, now: int
) -> tuple[list[str], list[Waiting]]:
    """Return who starts now, in order, and who waits and why.

    The user with the fewest running GPUs first, then order of arrival. What does not fit blocks
    nobody, unless it was passed over for an hour.
    """
    taken = list(running)
    left = sorted(waiting, key=lambda demand: (demand.submitted, demand.training_id))
    started: list[str] = []
    waits: list[Waiting] = []
    blocked_by: Demand | None = None
    while left:
        share = Counter({d.owner: 0 for d in left})
        for demand in taken:
            share[demand.owner] += demand.gpus
        demand = min(left, key=lambda d: (share[d.owner], d.submitted, d.training_id))
        left.remove(demand)
        reason = _too_much(demand, taken, limits)
        if blocked_by is not None and not reason:
            reason = f"{blocked_by.training_id} has waited for an hour and is next"
        if not reason:
            started.append(demand.training_id)
            taken.append(demand)
            continue
        waits.append(Waiting(demand.training_id, len(waits) + 1, reason))
        if blocked_by is None and now - demand.submitted > PASSED_OVER_MS:
            blocked_by = demand
    return started, waits


def never_fits(demand: Demand, limits: Limits) -> str:
    """Return why the training could never start even alone, or an empty string."""
    return _too_much(demand, [], limits)


def _too_much(demand: Demand, taken: Sequence[Demand], limits: Limits) -> str:
    if limits.max_running and len(taken) >= limits.max_running:
        return f"{len(taken)} trainings run, and max_running is {limits.max_running}"
    checks: list[tuple[str, float, float, float | None]] = [
        ("CPUs", demand.cpus, sum(d.cpus for d in taken), limits.cpus or None),
        (
            "bytes of memory",
            demand.memory_bytes,
            sum(d.memory_bytes for d in taken),
            limits.memory_bytes or None,
        ),
        ("GPUs", demand.gpus, sum(d.gpus for d in taken), limits.gpus),
    ]
    key = type_key(demand.gpu_type)
    if key in limits.gpu_types:
        used = sum(d.gpus for d in taken if type_key(d.gpu_type) == key)
        checks.append((f"GPUs of type {demand.gpu_type}", demand.gpus, used, limits.gpu_types[key]))
    for noun, wanted, in_use, available in checks:
        if wanted and available is not None and in_use + wanted > available:
            free = max(available - in_use, 0)
            return f"Waits for {wanted:g} {noun}: {free:g} of {available:g} free"
    return ""


def demand_of(training_id: str, demand: Mapping[str, Any]) -> Demand:
    """Return what stands in ``live/<id>``."""
    return Demand(
        training_id=training_id,
        owner=str(demand.get("owner", "")),
        submitted=int(demand.get("submitted", 0)),
        gpus=int(demand.get("gpus", 0)),
        gpu_type=str(demand.get("gpu_type", "")),
        cpus=float(demand.get("cpus", 0)),
        memory_bytes=int(demand.get("memory_bytes", 0)),
    )


def limits_of(settings: Mapping[str, Any]) -> Limits:
    """Return the limits that a server left in ``settings.json``."""
    return Limits(
        max_running=int(settings.get("max_running", os.cpu_count() or 1)),
        gpus=settings.get("gpus"),
        cpus=float(settings.get("cpus", 0)),
        memory_bytes=int(settings.get("memory_bytes", 0)),
        gpu_types={type_key(k): int(v) for k, v in settings.get("gpu_limits", {}).items()},
    )


def locked(state_dir: Path) -> AbstractContextManager[None]:
    """Hold the queue; at most for as long as counting and starting takes."""
    return files.locked(state_dir / "queue.lock")


def start_waiting(state_dir: Path) -> list[Waiting]:
    """Start every training whose turn it is, and return those that go on waiting."""
    settings = files.read_json(state_dir / "settings.json") or {}
    announce = IndexWriter(state_dir).status
    with locked(state_dir):
        waiting: dict[str, tuple[TrainingFolder, Demand]] = {}
        running: list[Demand] = []
        for folder, value in live.trainings(state_dir):
            lines = folder.history()
            demand = demand_of(folder.training_id, value)
            if not lines:
                continue  # being created just now, or a creation that was killed
            if lines[-1].status.terminal:
                # Its owner may have been killed between the status and its announcement.
                for line in lines:
                    announce(folder.training_id, line)
                live.unregister(state_dir, folder.training_id)
            elif lines[-1].status in {Status.NOT_STARTED, Status.QUEUED}:
                waiting[folder.training_id] = (folder, demand)
            else:
                running.append(demand)
        short = _short_of_disk(state_dir, int(settings.get("min_free_bytes", 0)))
        demands = [demand for _, demand in waiting.values()]
        started, waits = decide(demands, running, limits_of(settings), now_ms())
        if short:
            started, waits = (
                [],
                [Waiting(d.training_id, n, short) for n, d in enumerate(demands, 1)],
            )
        for training_id in started:
            folder, _ = waiting[training_id]
            if Chronicle(folder, announce).record(Status.PENDING, message="NORMAL_OPERATION"):
                local.start(folder)
        for wait in waits:
            Chronicle(waiting[wait.training_id][0], announce).record(Status.QUEUED)
        return waits


def _short_of_disk(state_dir: Path, min_free_bytes: int) -> str:
    free = shutil.disk_usage(state_dir).free
    if free >= min_free_bytes:
        return ""
    return (
        f"Waits for disk space: {free / 2**30:.1f} GiB free, "
        f"min_free_bytes is {min_free_bytes / 2**30:.1f} GiB"
    )
