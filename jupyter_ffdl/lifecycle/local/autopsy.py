"""Reads what one ended training left behind and has it diagnosed; writes ``verdict.json``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import files
from ...diagnosis import Observation, diagnose
from ...diagnosis.observation import KilledBy
from ...folder import TrainingFolder, now_ms

if TYPE_CHECKING:
    from .supervisor import Ending

TAIL_BYTES = 64 * 1024
LAST_LINES = 5
LINE_CHARACTERS = 500
MAX_RECORDS = 50

_KILLED_BY: Mapping[str, KilledBy] = {
    "halt": "halt",
    "memory": "memory",
    "max_runtime": "max_runtime",
}
_FAILED_STEPS: Mapping[str, Any] = {"S301": "load-model", "S302": "load-data"}


def examine(
    folder: TrainingFolder,
    spec: Mapping[str, Any],
    attempt: int,
    ending: Ending,
    code: str,
    store_code: int,
) -> dict[str, Any]:
    """Diagnose, write the verdict, and return what the status line carries of it (§2.4)."""
    log = folder.log(attempt, ending.learner)
    tail = _tail(log)
    learner_dir = folder.learner(attempt, ending.learner)
    ended = files.read_json(learner_dir / "exit.json") or {}
    memory = files.read_json(learner_dir / "memory.json") or {}
    usage = files.read_json(learner_dir / "usage.json") or {}
    failed_step = _FAILED_STEPS.get(ending.kind, "store-results" if store_code else "learner")
    verdict = diagnose(
        Observation(
            exit_code=store_code if failed_step == "store-results" else ending.exit_code,
            signal=ended.get("signal"),
            killed_by=_KILLED_BY.get(ending.kind),
            step=failed_step,
            memory_limit_bytes=memory.get("limit") or spec["memory_bytes"],
            peak_memory_bytes=memory.get("used") or usage.get("peak_memory_bytes"),
            max_runtime_seconds=spec["max_runtime"],
            exceptions=_records(learner_dir / "exceptions"),
            hooked=(learner_dir / "pids").is_dir(),
            faults=_text(learner_dir / "faults.txt"),
            log_tail=tail,
            learner=ending.learner,
            learners=int(spec["learners"]),
            attempt=attempt,
            source_map=spec.get("source_map") or {},
            model_dir=str(folder.model_code),
            source=lambda name: _text(folder.model_code / name) or None,
            beside=lambda name: _beside(spec, name),
            disk_full=shutil.disk_usage(folder.root).free < 1 << 20,
            lost=ending.reason.removeprefix("Lost: ") if ending.kind == "lost" else None,
            halted_by=_halted_by(folder),
            notebook=bool(spec["notebook"]),
            ended=int(ended.get("ended") or now_ms()),
        )
    ).to_json()
    files.write_json(folder.verdict, verdict)
    completed = code == "000" and ending.kind != "halt"
    oom = ending.kind == "memory" or verdict["cause"] == "out_of_memory"
    return {
        "exit_code": None if completed or ending.kind == "halt" else ending.exit_code,
        "signal": None if completed else ended.get("signal"),
        "oom_killed": oom,
        "reason": "" if completed else verdict["sentence"],
        "halted_by": _halted_by(folder) if ending.kind == "halt" else None,
        "last_log_lines": [] if completed else _last_lines(tail),
    }


def _records(directory: Path) -> list[Any]:
    """Return the hook's latest records; a program that fails in a loop leaves thousands."""
    paths = sorted(directory.glob("*.json"), key=lambda path: path.stat().st_mtime)
    return [value for path in paths[-MAX_RECORDS:] if (value := files.read_json(path))]


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""


def _text(path: Path) -> str:
    try:
        return _tail(path).decode(errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def _last_lines(tail: bytes) -> list[str]:
    lines = tail.decode(errors="replace").splitlines()
    return [line[:LINE_CHARACTERS] for line in lines if line.strip()][-LAST_LINES:]


def _beside(spec: Mapping[str, Any], name: str) -> bool:
    """Whether a path that the code did not find exists beside the notebook."""
    cwd = spec.get("kernel_cwd") or ""
    return cwd != "" and (Path(cwd) / name).exists()


def _halted_by(folder: TrainingFolder) -> str:
    for path in sorted(folder.requests.glob("*-halt-*.json")):
        request = files.read_json(path) or {}
        return str(request.get("by") or "you")
    return ""
