"""A submission, checked and turned into what becomes a training.

Everything that can be refused is refused here, before anything exists (FfDL contract §1.9).
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from .. import manifest as manifests
from ..errors import BadInput
from ..learner import command as commands
from ..lifecycle.local import mounts
from ..manifest.model import to_model
from ..manifest.stores import Role
from ..storage import directory
from . import modelzip
from .records import Draft

NOTEBOOK_KINDS = frozenset({"cell", "file"})


@dataclass(frozen=True)
class Submission:
    """What a client sent. ``origin`` is shown, ``context`` (kernel-side facts) never is."""

    manifest: bytes
    code: Path | None
    owner: str
    origin: Mapping[str, Any]
    context: Mapping[str, Any]
    idempotency_key: str | None
    checkpoints: Path | None = None
    """Where the training that this one repeats keeps its checkpoints; never a client's word."""

    @property
    def from_notebook(self) -> bool:
        """Whether it is a training from a notebook and not a submitted manifest (§5.1)."""
        return self.origin.get("kind") in NOTEBOOK_KINDS


@dataclass(frozen=True)
class Prepared:
    """A checked submission: the draft of the training, and what a person should know first."""

    draft: Draft
    warnings: list[dict[str, Any]]
    plan: dict[str, Any]
    largest_amount: str
    """The manifest key that asks for the most, for a refusal because of the machine's size."""


def prepare(submission: Submission, preferences: Mapping[str, Any]) -> Prepared:
    """Check everything and return the draft; raises BadInput and creates nothing."""
    checked: dict[str, modelzip.ModelZip] = {}

    def check_code(command: str) -> None:
        if submission.code is None or not submission.code.exists():
            raise BadInput("Model definition content is not set", code="C101")
        checked["zip"] = modelzip.inspect(submission.code, command)

    manifest = manifests.parse(submission.manifest, check_code=check_code, check_store=_check_store)
    _check_local(manifest)
    zipped = checked["zip"]
    warnings = [note.to_json() for note in manifest.warnings]
    warnings += [note.to_json() for note in zipped.warnings]
    for part in ("environment", "secrets"):
        _check_variables(f"context.{part}", submission.context.get(part) or {})
    spec = _spec(submission, manifest, zipped, preferences, warnings)
    if manifest.secrets:
        missing = sorted(set(manifest.secrets) - set(submission.context.get("secrets", {})))
        if missing:
            raise BadInput(
                f"The value of secret '{missing[0]}' was not sent",
                code="C101",
                field="secrets",
                hint=f"Set {missing[0]} in the environment you submit from",
            )
    model = to_model(manifest)
    if warnings:
        model["warnings"] = warnings
    record = {
        "model": model,
        "spec": spec,
        "warnings": warnings,
        "backend": "local",
        "notebook": submission.origin.get("notebook_name") or submission.origin.get("notebook"),
        "cell_id": submission.origin.get("cell_id"),
        "parent": submission.origin.get("parent"),
        "snapshot": _snapshot(submission),
    }
    learners = manifest.learners
    demand = {
        "gpus": spec["gpus"] * learners,
        "gpu_type": manifest.queue_gpu_type if spec["gpus"] else "",
        "cpus": (spec["cpus"] or 0) * learners,
        "memory_bytes": (spec["memory_bytes"] or 0) * learners,
    }
    draft = Draft(
        name=manifest.name,
        owner=submission.owner,
        manifest=submission.manifest,
        code=submission.code or Path(),
        record=record,
        demand=demand,
        origin=submission.origin or None,
        environment={
            **(submission.context.get("environment") or _own_environment()),
            **manifest.environment,
        },
        secrets={name: str(submission.context["secrets"][name]) for name in manifest.secrets},
        idempotency_key=submission.idempotency_key,
    )
    plan = {
        "files": [{"path": e.path, "size": e.size} for e in zipped.entries],
        "total_bytes": zipped.total_bytes,
        "warnings": warnings,
        "model": model,
        "omitted_environment": submission.context.get("omitted", []),
        "interpreter": spec["interpreter"],
        "gpus": spec["gpus"],
    }
    largest = max(
        (("memory", demand["memory_bytes"]), ("gpus", demand["gpus"]), ("cpus", demand["cpus"])),
        key=lambda pair: bool(pair[1]) and pair[1],
    )
    return Prepared(draft, warnings, plan, largest[0] if largest[1] else "learners")


def _spec(
    submission: Submission,
    manifest: manifests.Manifest,
    zipped: modelzip.ModelZip,
    preferences: Mapping[str, Any],
    warnings: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what lifecycle and learner need, as plain JSON: they have no YAML."""
    notebook = submission.from_notebook
    context = submission.context
    command = manifest.framework.command
    kind = manifests.script_kind(
        command, literal=manifest.framework.literal, accepts=commands.accepts
    )
    if kind == "joined":
        warnings.append({"message": _joined_warning(manifest), "field": "framework.command"})
    interpreter = _interpreter(context)
    if not notebook and not context.get("interpreter"):
        warnings.append(
            {"message": f"Runs with the server's own Python, {interpreter}", "field": "framework"}
        )
    literal: tuple[str, ...] = ()
    if not notebook:
        literal = manifests.mentions_literal_paths({"command": command, **zipped.texts})
    if literal and not mounts.available():
        warnings.append({"message": _no_literal_paths(literal), "field": "framework.command"})
        literal = ()
    metrics = manifest.evaluation_metrics
    given = manifest.given
    data = manifest.inputs[0] if manifest.inputs else None
    return {
        "command": command,
        "script_kind": "script" if kind == "script" else "line",
        "framework_name": manifest.framework.kind,
        "framework_version": manifest.framework.version,
        "interpreter": interpreter,
        "learners": manifest.learners,
        "workers": list(manifests.workers(manifest)),
        "completion": manifest.completion,
        "cpus": manifest.cpus if "cpus" in given else None,
        "memory_bytes": manifest.memory.bytes if "memory" in given else None,
        "gpus": _gpus(manifest, preferences, notebook=notebook),
        "gpu_type": manifest.gpu_type,
        "max_runtime": manifest.max_runtime,
        "max_retries": preferences["max_retries"]
        if manifest.max_retries is None
        else manifest.max_retries,
        "grace_seconds": preferences["halt_grace_seconds"],
        "strip_prefix": zipped.strip_prefix,
        "notebook": notebook,
        "kernel_cwd": context.get("cwd") if notebook else None,
        "shipped": sorted(entry.path for entry in zipped.entries),
        "metrics": metrics.to_json()
        if metrics is not None
        else {
            "kind": "tensorboard" if notebook else "logs",
            "in": "",
            "event_types": ["scalars"],
            "line_lookahead": 4,
            "groups": [],
        },
        "literal_paths": bool(literal),
        "data": _place(directory.data_dir(data), data.data)
        if data
        else _place(_absolute("data", manifest.data, context), None),
        "more_data": [_place(directory.data_dir(s), s.data) for s in manifest.inputs[1:]],
        "results": _results(manifest, context),
        "checkpoints": manifest.checkpoints,
        "checkpoint_dir": _inherited(submission, manifest),
        "source_map": submission.origin.get("source_map", {}),
        "min_free_bytes": preferences["min_free_bytes"],
        "secrets": list(manifest.secrets),
    }


def _inherited(submission: Submission, manifest: manifests.Manifest) -> str | None:
    """Return the parent's checkpoints for a training that would have its own (contract §5.1)."""
    own = manifest.output is None or manifest.checkpoints == "job"
    return str(submission.checkpoints) if own and submission.checkpoints is not None else None


def _interpreter(context: Mapping[str, Any]) -> str:
    """Return the Python that user code runs in; refuse one that is not there (any more)."""
    interpreter = str(context.get("interpreter") or sys.executable)
    if "\0" in interpreter or not os.access(interpreter, os.X_OK) or Path(interpreter).is_dir():
        raise BadInput(
            f"The kernel's Python is not there: {interpreter!r}",
            code="C101",
            field="context.interpreter",
            hint="Submit again from a kernel whose environment still exists",
        )
    return interpreter


def _check_variables(field: str, variables: Mapping[str, Any]) -> None:
    """Refuse names and values that no process can have in its environment."""
    for name, value in variables.items():
        try:
            fits = bool(name) and "=" not in name and b"\0" not in os.fsencode(f"{name}{value}")
        except UnicodeEncodeError:
            fits = False
        if not fits:
            raise BadInput(
                f"{field} has a variable that no process can have: {name!r}",
                code="C101",
                field=field,
                hint="Names have no = and nothing has a NUL or half a character",
            )


def _results(manifest: manifests.Manifest, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the directory that takes the results, each training's in one of its own."""
    output = manifest.output
    if output is not None and output.type == "host_mount":
        return _place(directory.results_base(output), output.results)
    return _place(_absolute("results", manifest.results, context), None)


def _absolute(key: str, path: str, context: Mapping[str, Any]) -> Path | None:
    """Return the directory that a manifest key names, as seen from where it was submitted."""
    if not path:
        return None
    found = Path(context.get("cwd") or "/") / Path(path).expanduser()
    if not found.is_dir():
        raise BadInput(
            f"{key} names no directory: {found}",
            code="C103",
            field=key,
            hint="Give the path of a directory on this machine",
        )
    return found


def _place(path: Any, bucket: str | None) -> dict[str, Any]:
    return {"dir": str(path) if path else None, "bucket": bucket or None}


def _no_literal_paths(names: Sequence[str]) -> str:
    return (
        "This system gives no private /job and /mnt: use JOB_STATE_DIR, DATA_DIR and RESULT_DIR"
        f" instead of these paths in {', '.join(names)}"
    )


def _joined_warning(manifest: manifests.Manifest) -> str:
    shape = "is not a script that bash accepts" if manifest.framework.literal else "is folded text"
    return f"The command has several lines and {shape}: they run joined to one"


def _gpus(manifest: manifests.Manifest, preferences: Mapping[str, Any], *, notebook: bool) -> int:
    """Return GPUs per learner (FfDL contract §1.2): a submitted manifest without any gets none."""
    if "gpus" in manifest.given or not notebook:
        return manifest.gpus
    default = int(preferences["default_gpus"])
    return default if default >= 0 else min(1, int(preferences["machine_gpus"]))


def _check_store(store: manifests.DataStore, role: Role) -> None:
    """Refuse stores that this backend does not have; check those that it has (rules 19, 20)."""
    if store.type != "host_mount":
        raise BadInput(
            f"The local backend has no data store of type '{store.type}'",
            code="C103",
            field=f"{store.path}.type",
            line=store.line,
            hint="Use type mount_volume with connection type host_mount and the path of a"
            " directory on this machine, or leave data_stores out",
        )
    directory.check(store, role)


def _check_local(manifest: manifests.Manifest) -> None:
    """Refuse what only other backends can do."""
    if manifest.backend not in {"", "local"}:
        raise BadInput(
            f"There is no backend '{manifest.backend}' here",
            code="C101",
            field="backend",
            hint="Use local, or leave it out",
        )
    if manifest.framework.mpi and manifest.learners > 1:
        raise BadInput(
            f"The local backend does not start MPI for '{manifest.framework.name}'",
            code="C101",
            field="framework.name",
            hint="Use framework custom; every learner has MASTER_ADDR, RANK and WORLD_SIZE",
        )
    if manifest.requirements:
        raise BadInput(
            "requirements are not installed by the local backend",
            code="C101",
            field="requirements",
            hint="Install them into the kernel's environment, or let the command install them",
        )
    if manifest.learners > 64:
        raise BadInput(
            f"learners must be at most 64 on one machine, not {manifest.learners}",
            code="C104",
            field="learners",
            hint="Ask for fewer",
        )
    if not math.isfinite(manifest.cpus):
        raise BadInput("cpus must be a number", code="C104", field="cpus")


def _own_environment() -> dict[str, str]:
    """Return what a manifest without a caller's environment starts from: ours, filtered."""
    from ..learner.environment import base_environment  # noqa: PLC0415

    return base_environment(os.environ)[0]


def _snapshot(submission: Submission) -> dict[str, Any]:
    """Return the facts that make the training readable in a year."""
    return {
        "jupyter_ffdl": __version__,
        "server_python": platform.python_version(),
        "python": submission.context.get("python_version") or platform.python_version(),
        "platform": platform.platform(),
        "git": submission.origin.get("git"),
        "options": submission.origin.get("options"),
        "defaults": submission.origin.get("defaults"),
    }
