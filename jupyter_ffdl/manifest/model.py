"""The part of the API's Model that a manifest decides (FfDL contract §2.4)."""

from __future__ import annotations

from typing import Any

from ..learner.places import INTERNAL_BUCKET
from ..masking import MASK, looks_secret, mask_url
from .manifest import Manifest
from .stores import DataStore, Role


def to_model(manifest: Manifest) -> dict[str, Any]:
    """Return name, framework, stores and training; zeros and empty texts are left out.

    Whoever answers adds ``model_id``, ``location`` and ``training.training_status``. Secrets are
    masked. ``learners``, ``data_stores`` and ``memory_unit`` are always there: the old command
    line crashes without them.
    """
    training = {
        "command": manifest.framework.command,
        "cpus": _plain(manifest.cpus),
        "gpus": manifest.gpus,
        "gpu_type": manifest.gpu_type,
        "memory": manifest.memory.value,
        "memory_unit": manifest.memory.unit,
        "memory_bytes": manifest.memory.bytes,
        "storage_bytes": manifest.storage.bytes,
        "learners": manifest.learners,
        "input_data": [store.reference("input") for store in manifest.inputs],
        "output_data": [store.reference("output") for store in _outputs(manifest)],
    }
    uses: list[tuple[DataStore, Role]] = [(store, "input") for store in manifest.inputs]
    uses += [(store, "output") for store in _outputs(manifest)]
    model = _filled(
        {
            "name": manifest.name,
            "description": manifest.description,
            "backend": manifest.backend,
        }
    )
    return {
        **model,
        "framework": _filled(
            {"name": manifest.framework.name, "version": manifest.framework.version}
        ),
        "data_stores": [_store(store, role) for store, role in uses],
        "training": _filled(training),
        "warnings": [note.to_json() for note in manifest.warnings],
    }


def _outputs(manifest: Manifest) -> list[DataStore]:
    return [store for store in manifest.data_stores if store.results is not None]


def _store(store: DataStore, role: Role) -> dict[str, Any]:
    bucket = store.data if role == "input" else store.results or INTERNAL_BUCKET
    connection = {
        key: MASK if looks_secret(key) and value else mask_url(value)
        for key, value in store.connection.items()
    }
    return {
        "data_store_id": store.reference(role),
        "type": store.type,
        "connection": _filled({**connection, "bucket": bucket}),
    }


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in ("", 0, None)}


def _plain(amount: float) -> int | float:
    return int(amount) if amount == int(amount) else amount
