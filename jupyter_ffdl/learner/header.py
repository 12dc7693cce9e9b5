"""What FfDL's train script printed around the command's output (FfDL contract §5.3).

Only for submitted manifests: people and scripts that read such logs know these lines.
"""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from .environment import MPI_FRAMEWORKS, masked

LISTED = 1000
"""Lines of a listing: data directories may hold millions of files."""


def header(
    spec: Mapping[str, Any],
    env: Mapping[str, str],
    model_dir: Path,
    data_dir: Path | None = None,
    *,
    secrets: Collection[str] = (),
) -> bytes:
    """Return the lines before the command's first one.

    ``env``: the command's, printed with the values of ``secrets`` and of secret-looking names as
    ``****``. ``model_dir``, ``data_dir``: where they really lie (None: where ``DATA_DIR`` says).
    """
    shown = masked(env, secrets)
    lines = ["Initiating job", "Training with training/test data at:"]
    if str(spec.get("framework_name", "")).lower() in MPI_FRAMEWORKS:
        lines += _mpi(spec, shown)
    else:
        lines += [
            f"  DATA_DIR: {shown['DATA_DIR']}",
            f"  MODEL_DIR: {shown['MODEL_DIR']}",
            "  TRAINING_JOB: ",
            f"  TRAINING_COMMAND: {shown['TRAINING_COMMAND']}",
            "Storing trained model at:",
            f"  RESULT_DIR: {shown['RESULT_DIR']}",
        ]
    lines += ["Contents of $MODEL_DIR", *listing(model_dir)]
    lines += ["Contents of $DATA_DIR", *listing(data_dir or Path(env["DATA_DIR"]))]
    lines += [f"{name}={value}" for name, value in sorted(shown.items())]
    lines.append(f"{time.strftime('%a %b %e %H:%M:%S %Z %Y')}: Running training job")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _mpi(spec: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    names = ("DATA_DIR", "MODEL_DIR", "RESULT_DIR", "LOG_DIR", "TRAINING_COMMAND")
    return [
        *(f"  {name}: {env[name]}" for name in names),
        f"  GPUs per Learner: {env['GPU_COUNT']}",
        f"  LEARNER_ID: {env['LEARNER_ID']}",
        f"  LEARNER_NAME_PREFIX:: {env['LEARNER_NAME_PREFIX']}",
        f"Num learners: {spec['learners']}",
    ]


def footer(exit_code: int, *, mpi: bool = False, halted: bool = False) -> bytes:
    """Return the lines after the command's last one."""
    lines = [f"Training process finished. Exit code: {exit_code}"]
    if exit_code != 0:
        said = "MPI test exited with an" if mpi else "Job exited with"
        lines.append(f"{said} error code {exit_code}")
    if halted:
        lines.append("Halted: user requests halt job")
    elif exit_code != 0:
        lines.append(f"Failed: learner_exit_code: {exit_code}")
    return "".join(f"{line}\n" for line in lines).encode()


def listing(directory: Path, limit: int = LISTED) -> Iterator[str]:
    """Yield the lines of ``ls -la``: the first ``limit`` entries, and then how many more there are.

    Not by running ``ls``, which would stat a million files before its first line.
    """
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except OSError as failure:
        yield f"ls: cannot access '{directory}': {failure.strerror}"
        return
    rows = [
        row
        for name in (".", "..", *heapq.nsmallest(limit, names))
        if (row := _row(directory, name)) is not None
    ]
    yield f"total {sum(row.blocks for row in rows) // 2}"
    widths = [max(len(row.columns[n]) for row in rows) for n in range(5)]
    for row in rows:
        mode, links, user, group, size = row.columns
        yield (
            f"{mode} {links:>{widths[1]}} {user:<{widths[2]}} {group:<{widths[3]}} "
            f"{size:>{widths[4]}} {row.tail}"
        )
    if len(names) > limit:
        yield f"… and {len(names) - limit} more"


class _Row:
    def __init__(self, status: os.stat_result, tail: str) -> None:
        self.blocks = getattr(status, "st_blocks", 0)
        self.columns = (
            stat.filemode(status.st_mode),
            str(status.st_nlink),
            _user(status.st_uid),
            _group(status.st_gid),
            str(status.st_size),
        )
        self.tail = tail


def _row(directory: Path, name: str) -> _Row | None:
    path = directory / name
    try:
        status = os.lstat(path)
        target = f" -> {os.readlink(path)}" if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
    except OSError:
        return None
    when = time.localtime(status.st_mtime)
    # As ls does: half a year away, the year says more than the hour.
    recent = abs(time.time() - status.st_mtime) < 15_778_476
    shown = time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", when)
    return _Row(status, f"{shown} {name}{target}")


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 (a directory service may stand behind it)

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp  # noqa: PLC0415

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
