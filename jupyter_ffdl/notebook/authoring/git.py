"""Which commit the code of a training comes from, read without changing anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

_SECONDS = 1.0
"""A repository on a slow disk must not delay a submission for longer."""


def facts(directory: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether tracked files differ; None outside of a repository.

    Optional locks are off: ``git status`` would else refresh the index and disturb the user's own
    git. Hooks, pagers and file system monitors that a repository configures are not run.
    """
    head = _git(directory, "rev-parse", "HEAD", "--abbrev-ref", "HEAD")
    if head is None:
        return None
    commit, _, branch = head.strip().partition("\n")
    changed = _git(
        directory, "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no"
    )
    return {
        "commit": commit,
        "branch": None if branch == "HEAD" else branch,
        "dirty": None if changed is None else bool(changed.strip()),
    }


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace") if answer.returncode == 0 else None
