"""How the user's command is run (FfDL contract §1.7).

FfDL joined the lines of a command with blanks and gave the result to ``eval``. That breaks
comments and ``if`` blocks, so what is a script stays one (``manifest/command.py`` says which).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

_BASH_PLACES = ("/bin", "/usr/bin", "/usr/local/bin")


def bash_arguments(spec: Mapping[str, Any], env: Mapping[str, str]) -> Sequence[str]:
    """Return the argument list that runs the command under ``env``; the first one is a path.

    A command of one line is taken from ``TRAINING_COMMAND``, so that it does not appear in lists
    of processes twice and quotes need no second thought.
    """
    if spec.get("script_kind") == "script":
        return [shell(env.get("PATH", "")), "-c", str(spec["command"])]
    return [shell(env.get("PATH", "")), "-c", 'eval "$TRAINING_COMMAND"']


def accepts(script: str) -> bool:
    """Whether the shell can parse ``script``; nothing of it is run."""
    import subprocess  # noqa: PLC0415 (at submission only; a start does without)

    checked = subprocess.run(
        [shell(), "-n"],
        input=script.encode("utf-8", "surrogateescape"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )
    return checked.returncode == 0


def shell(path: str | None = None) -> str:
    """Return bash's path, or the system's POSIX shell where there is no bash.

    ``path``: searched after the usual places (None: this process's ``PATH``).
    """
    searched = os.environ.get("PATH", "") if path is None else path
    for directory in (*_BASH_PLACES, *searched.split(os.pathsep)):
        candidate = f"{directory}/bash"
        if directory.startswith("/") and os.access(candidate, os.X_OK):
            return candidate
    return "/bin/sh"
