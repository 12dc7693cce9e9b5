"""A training folder as the supervisor would make it, and what collectors left in it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.scalar import summary_v2

from jupyter_ffdl.learner.collector import Collector
from jupyter_ffdl.learner.extractors.crc32c import masked
from jupyter_ffdl.trainingdata.series import read_scalars

ID = "training-abcdefghijkl"


def made_folder(
    tmp_path: Path,
    *,
    kind: str = "tensorboard",
    learners: int = 1,
    notebook: bool = False,
    attempt: int = 1,
    **metrics: Any,
) -> tuple[Path, dict[str, Any]]:
    """Make a training folder; returns it and its LearnerSpec."""
    folder = tmp_path / "trainings" / ID
    logs = folder / "job" / "logs"
    for directory in (logs, folder / "job" / "model-code", folder / "results"):
        directory.mkdir(parents=True, exist_ok=True)
    for learner in range(1, learners + 1):
        own = folder / "attempts" / str(attempt) / f"learner-{learner}"
        own.mkdir(parents=True)
        shown = logs if learner == 1 else logs / f"learner-{learner}"
        shown.mkdir(exist_ok=True)
        link = shown / "training-log.txt"
        link.unlink(missing_ok=True)
        link.symlink_to(own / "training-log.txt")
    spec = {
        "training_id": ID,
        "learners": learners,
        "notebook": notebook,
        "metrics": {"kind": kind, "in": "", **metrics},
        "data": {"dir": None, "bucket": ""},
        "results": {"dir": None, "bucket": ""},
    }
    return folder, spec


def log_path(folder: Path, learner: int = 1, attempt: int = 1) -> Path:
    return folder / "attempts" / str(attempt) / f"learner-{learner}" / "training-log.txt"


def collect(folder: Path, spec: dict[str, Any], attempt: int = 1) -> None:
    """Collect everything to its end."""
    collector = Collector(folder, attempt, spec)
    try:
        assert collector.finish()
    finally:
        collector.close()


def records(folder: Path, learner: int = 1, attempt: int = 1) -> list[dict[str, Any]]:
    path = log_path(folder, learner, attempt).with_name("evaluation-metrics.txt")
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def points(folder: Path, **chosen: Any) -> list[tuple[str, str, int, float]]:
    """Return (source, tag, step, value) of every point, sorted."""
    found = read_scalars(folder, max_points=None, **chosen)
    return sorted(
        (series.source, series.tag, step, value)
        for series in found.series
        for step, value in zip(series.step.tolist(), series.value.tolist(), strict=True)
    )


def framed(payload: bytes) -> bytes:
    """Return one record of an event file."""
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked(length)) + payload + struct.pack("<I", masked(payload))


def scalar_event(step: int, *, wall_time: float = 1.5e9, **values: float) -> bytes:
    """Return a TF 1 event of one step."""
    event = event_pb2.Event(wall_time=wall_time, step=step)
    for tag, value in values.items():
        event.summary.value.add(tag=tag, simple_value=value)
    return framed(event.SerializeToString())


def tensor_event(step: int, tag: str, value: float, *, wall_time: float = 1.5e9) -> bytes:
    """Return an event as TensorFlow 2 writes it."""
    event = event_pb2.Event(wall_time=wall_time, step=step)
    event.summary.CopyFrom(summary_v2.scalar_pb(tag, value))
    return framed(event.SerializeToString())


def version_event(wall_time: float = 1.5e9) -> bytes:
    event = event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2")
    return framed(event.SerializeToString())
