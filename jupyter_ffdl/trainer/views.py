"""What is shown of a training: Model JSON, rows, timeline, snapshot. Reads, never writes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import files
from ..errors import BadInput, BadParameter, FfdlError
from ..folder import TrainingFolder
from ..index import Entry
from ..lifecycle.local.stacks import marks
from ..training import LABELS, Status, StatusLine
from . import queue

TEXT_BYTES = 1 << 20
"""A file of the snapshot is shown as text up to this size."""

CHANGEABLE = frozenset(
    {
        "name",
        "description",
        "learners",
        "cpus",
        "gpus",
        "gpu_type",
        "memory",
        "max_runtime",
        "max_retries",
        "environment",
        "completion",
        "checkpoints",
        "evaluation_metrics",
    }
)
"""Manifest keys that a re-run may change: the code and what it needs stay the snapshot's."""


def iso(milliseconds: int) -> str:
    """Return epoch milliseconds as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def model(folder: TrainingFolder, wait: queue.Waiting | None) -> dict[str, Any]:
    """Return the Model JSON of one training with its history (FfDL contract §2.4)."""
    record = folder.read_record()
    lines = folder.history()
    last = lines[-1] if lines else StatusLine(Status.NOT_STARTED, record["submitted"])
    status = _status(
        record["submitted"], last.status, last.timestamp, last.error_code, last.status_message,
        last.detail, wait,
    )  # fmt: skip
    status["history"] = [
        _history_line(line) for line in lines if line.status is not Status.NOT_STARTED
    ]
    shown = _static(folder.training_id, record["model"], status)
    shown["backend"] = record.get("backend", "local")
    shown["number"] = record["number"]
    if record.get("parent"):
        shown["parent"] = record["parent"]
    if record.get("warnings"):
        shown["warnings"] = record["warnings"]
    return shown


def listed_model(entry: Entry, wait: queue.Waiting | None) -> dict[str, Any]:
    """Return the Model JSON for a list: as ``model``, without the history."""
    head = json.loads(entry.head)
    status = _status(
        entry.submitted,
        _shown(entry),
        entry.status_time or entry.submitted,
        entry.code,
        entry.message,
        json.loads(entry.detail) if entry.detail else {},
        wait,
    )
    shown = _static(entry.training_id, head["model"], status)
    shown |= {"backend": head["backend"], "number": entry.number}
    return shown | ({"parent": head["parent"]} if head.get("parent") else {})


def _static(
    training_id: str, stored: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "model_id": training_id,
        "location": f"/v1/models/{training_id}",
        **{key: value for key, value in stored.items() if key != "training"},
        "training": {**stored["training"], "training_status": status},
    }


def _status(
    submitted: int,
    status: Status,
    changed: int,
    code: str,
    message: str,
    detail: Mapping[str, Any],
    wait: queue.Waiting | None,
) -> dict[str, Any]:
    # NOT_STARTED is not shown (§4.1): what was accepted and has no turn yet is queued.
    status = Status.QUEUED if status is Status.NOT_STARTED else status
    shown: dict[str, Any] = {"status": status.value, "status_description": status.value}
    if message:
        shown["status_message"] = message
    shown["error_code"] = code
    shown["submitted"] = str(submitted)
    shown["submitted_iso"] = iso(submitted)
    if status.terminal:
        shown["completed"] = str(changed)
        shown["completed_iso"] = iso(changed)
    shown.update({key: value for key, value in detail.items() if value not in (None, "", False)})
    if wait is not None and status is Status.QUEUED:
        shown["queue_position"] = wait.position
        shown["pending_reason"] = wait.reason
    return shown


def _history_line(line: StatusLine) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "status": line.status.value,
        "timestamp": str(line.timestamp),
        "error_code": line.error_code,
        "attempt": line.attempt,
    }
    if line.status_message:
        shown["status_message"] = line.status_message
    return shown


def row(entry: Entry, wait: queue.Waiting | None) -> dict[str, Any]:
    """Return what one row of a list shows, without scalars (the stream adds those)."""
    head = json.loads(entry.head)
    detail = json.loads(entry.detail) if entry.detail else {}
    status = _shown(entry)
    waiting = wait if status is Status.QUEUED else None
    return {
        "id": entry.training_id,
        "name": entry.name,
        "number": entry.number,
        "status": status.value,
        "label": label(status, detail, waiting),
        "submitted": entry.submitted,
        "started": entry.started or None,
        "completed": entry.status_time if status.terminal else None,
        "halting": bool(detail.get("halting", False)) and not status.terminal,
        "queue_position": waiting.position if waiting else None,
        "pending_reason": waiting.reason if waiting else None,
        "reason": detail.get("reason"),
        "error_code": entry.code,
        "archived": entry.archived,
        "backend": head["backend"],
        "learners": head["learners"],
        "attempt": entry.attempt,
        "notebook": head.get("notebook"),
        "cell_id": head.get("cell_id"),
        "parent": head.get("parent"),
    }


def _shown(entry: Entry) -> Status:
    """Return the status as it is shown: NOT_STARTED never is (§4.1)."""
    return Status.QUEUED if entry.status in {None, Status.NOT_STARTED} else entry.status


def label(status: Status, detail: Mapping[str, Any], wait: queue.Waiting | None) -> str:
    """Return the words for a status: a failure is its sentence, never "Failed" alone."""
    if status is Status.FAILED:
        return str(detail.get("reason") or "Cause not identified")
    if status is Status.HALTED and detail.get("halted_by"):
        return f"Halted by {detail['halted_by']}"
    if wait is not None:
        return f"{LABELS[Status.QUEUED]} ({wait.position})"
    return LABELS[status]


def select(
    entries: Sequence[Entry],
    *,
    status: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    page_token: str | None = None,
    sort: str = "-submitted",
    archived: bool | None = None,
) -> tuple[list[Entry], str | None]:
    """Return one page of ``entries`` (newest first) and the token of the next.

    Without arguments everything, in FfDL's order. ``sort``: ``submitted``, ``name`` or ``status``,
    ``-`` before it for descending.
    """
    wanted = [
        entry
        for entry in entries
        if (status is None or _shown(entry).value == status)
        and (name is None or name.lower() in entry.name.lower())
        and (archived is None or entry.archived == archived)
    ]
    keys: dict[str, Callable[[Entry], tuple[Any, ...]]] = {
        "submitted": lambda e: (e.submitted, e.training_id),
        "name": lambda e: (e.name.lower(), e.number, e.training_id),
        "status": lambda e: (_shown(e).value, e.submitted, e.training_id),
    }
    key = keys.get(sort.lstrip("-"))
    if key is None:
        raise BadParameter(
            f"sort must be one of {', '.join(sorted(keys))}, with - for descending",
            code="606",
            field="sort",
        )
    descending = sort.startswith("-")
    wanted.sort(key=key, reverse=descending)
    if page_token:
        # A place in the order, not an entry: that may have been deleted meanwhile.
        place = _from_token(page_token, [type(part) for part in key(_NOBODY)])
        wanted = [e for e in wanted if (key(e) < place if descending else key(e) > place)]
    page = wanted if limit is None else wanted[:limit]
    more = len(page) < len(wanted)
    return page, _to_token(key(page[-1])) if page and more else None


_NOBODY = Entry("", "", 0, "", 0, b"")


def _to_token(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _from_token(token: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    with contextlib.suppress(ValueError, TypeError):
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if [type(part) for part in place] == list(kinds):
            return tuple(place)
    raise BadParameter(
        "page_token is not one of ours, or of another order",
        code="601",
        field="page_token",
        hint="Pass on what the last page gave, with the same sort",
    )


def timeline(folder: TrainingFolder) -> list[dict[str, Any]]:
    """Return statuses and events together, oldest first."""
    events = [
        {"time": e["time"], "kind": e["kind"], "text": e["text"], "detail": e.get("detail", {})}
        for e in files.read_lines(folder.events)[0]
        if isinstance(e, dict) and {"time", "kind", "text"} <= set(e)
    ]
    statuses = [
        {
            "time": line.timestamp,
            "kind": "status",
            "text": LABELS[line.status],
            "detail": {"status": line.status.value, "attempt": line.attempt, **line.detail},
        }
        for line in folder.history()
        if line.status is not Status.NOT_STARTED
    ]
    return sorted([*events, *statuses], key=lambda event: event["time"])


def source(folder: TrainingFolder) -> dict[str, Any]:
    """Return the files of the snapshot, text where it is text, and where it came from."""
    shown = []
    with zipfile.ZipFile(folder.code) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            file: dict[str, Any] = {"path": entry.filename, "size": entry.file_size}
            if entry.file_size <= TEXT_BYTES:
                content = archive.read(entry)
                with contextlib.suppress(UnicodeDecodeError):
                    file["text"] = content.decode()
            shown.append(file)
    return {"files": shown, "origin": files.read_json(folder.origin)}


def masked_manifest(folder: TrainingFolder) -> str:
    """Return the manifest's text with every secret as ``****``."""
    from ..manifest import masked_text  # noqa: PLC0415

    return masked_text(folder.manifest.read_bytes())


def changed_manifest(text: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return the manifest with top-level keys replaced, comments and order kept."""
    unknown = sorted(set(changes) - CHANGEABLE)
    if unknown:
        raise BadInput(
            f"A re-run cannot change '{unknown[0]}'",
            code="C101",
            field=unknown[0],
            hint="It can change " + ", ".join(sorted(CHANGEABLE)),
        )
    if not changes:
        return text
    from ruamel.yaml import YAML  # noqa: PLC0415  (only a re-run with changes needs it)
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    try:
        document = yaml.load(text.decode())
    except (YAMLError, UnicodeDecodeError) as wrong:
        raise BadInput("Incorrect manifest", code="C101", hint=str(wrong)) from wrong
    for key, value in changes.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue().encode()


def stacks(folder: TrainingFolder, attempt: int, wait_seconds: float) -> list[dict[str, Any]]:
    """Have the training's owner ask for all stacks; return what comes within ``wait_seconds``."""
    asked = {
        mark: (int(directory.name.split("-")[1]), pid, mark.stat().st_size)
        for directory in sorted(folder.attempt(attempt).glob("learner-*"))
        for pid, mark in marks(directory)
    }
    folder.request("stacks")
    found: dict[Path, str] = {}
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
        before = dict(found)
        for mark, (_, _, size) in asked.items():
            with contextlib.suppress(OSError):
                found[mark] = mark.read_bytes()[size:].decode(errors="replace")
        # Nothing marks the end of a text: it is whole when it does not grow any more.
        if found == before and all(found.get(mark) for mark in asked):
            break
    return [
        {"learner": asked[mark][0], "pid": asked[mark][1], "text": text}
        for mark, text in found.items()
        if text
    ]


def problem(error: FfdlError) -> dict[str, Any]:
    """Return an error as the contract §2.2 shows it, without HTTP."""
    shown: dict[str, Any] = {"code": error.http_status, "error": error.message}
    told = {
        "description": error.description,
        "field": error.field,
        "line": error.line,
        "hint": error.hint,
        "error_code": error.code,
    }
    return shown | {key: value for key, value in told.items() if value}
