"""Where a training's directories lie on this machine, and what user code calls them.

With literal paths the two differ: the command sees ``/job`` and ``/mnt`` in a mount namespace of
its own (FfDL contract §5.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_ffdl.folder import TrainingFolder

INTERNAL_BUCKET = "dlaas-trained-models"
"""Bucket of results where the manifest names no results store."""
CHECKPOINTS = "_wml_checkpoints"


@dataclass(frozen=True)
class Places:
    """Directories as user code names them; ``mounts``: where they really lie, else None."""

    job: str
    model: str
    logs: str
    data: tuple[str, ...]
    results: str
    results_bucket: str
    checkpoints: str
    mounts: Mapping[str, Path] | None = None
    """{path that the command sees: directory}, parents before what lies in them."""


@dataclass(frozen=True)
class Directories:
    """The real directories."""

    data: tuple[Path, ...]
    results: Path
    results_bucket: Path
    checkpoints: Path
    shares_bucket: bool
    """Whether the bucket is a directory of the user's, with other trainings' results in it."""


def directories(folder: TrainingFolder, spec: Mapping[str, Any]) -> Directories:
    """Return where data, results and checkpoints really lie."""
    stores = [spec.get("data") or {}, *(spec.get("more_data") or [])]
    data = tuple(
        Path(store["dir"]) if store.get("dir") else folder.job / "data"
        for number, store in enumerate(stores)
        if number == 0 or store.get("dir")
    )
    given = (spec.get("results") or {}).get("dir")
    if given:
        bucket = Path(given)
        results = bucket / folder.training_id
        checkpoints = bucket / CHECKPOINTS
        if spec.get("checkpoints") == "job":
            checkpoints /= folder.training_id
    else:
        bucket, results, checkpoints = (
            folder.root / "bucket",
            folder.results,
            folder.root / "checkpoints",
        )
    inherited = spec.get("checkpoint_dir")
    # A parent that was deleted meanwhile must not come back as a folder with nothing else in it.
    if inherited and Path(inherited).is_dir():
        checkpoints = Path(inherited)
    return Directories(data, results, bucket, checkpoints, bool(given))


def places(folder: TrainingFolder, spec: Mapping[str, Any]) -> Places:
    """Return the directories as user code sees them."""
    real = directories(folder, spec)
    if not spec.get("literal_paths"):
        return Places(
            job=str(folder.job),
            model=str(folder.model_code),
            logs=str(folder.logs),
            data=tuple(map(str, real.data)),
            results=str(real.results),
            results_bucket=str(real.results_bucket),
            checkpoints=str(real.checkpoints),
        )
    return _literal(folder, spec, real)


def _literal(folder: TrainingFolder, spec: Mapping[str, Any], real: Directories) -> Places:
    stores = [spec.get("data") or {}, *(spec.get("more_data") or [])]
    named = [f"/mnt/data/{store['bucket']}" for store in stores if store.get("bucket")]
    mounts: dict[str, Path] = {"/job": folder.job, **dict(zip(named, real.data, strict=False))}
    bucket = f"/mnt/results/{(spec.get('results') or {}).get('bucket') or INTERNAL_BUCKET}"
    results = f"{bucket}/{folder.training_id}"
    checkpoints = f"{bucket}/{CHECKPOINTS}"
    if spec.get("checkpoints") == "job":
        checkpoints += f"/{folder.training_id}"
    if real.shares_bucket:
        mounts[bucket] = real.results_bucket
    else:
        mounts[results] = real.results
    if not real.shares_bucket or spec.get("checkpoint_dir"):
        mounts[checkpoints] = real.checkpoints
    return Places(
        job="/job",
        model="/job/model-code",
        logs="/job/logs",
        data=tuple(named) or ("/job/data",),
        results=results,
        results_bucket=bucket,
        checkpoints=checkpoints,
        mounts=mounts,
    )
