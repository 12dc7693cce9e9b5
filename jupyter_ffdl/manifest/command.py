"""A manifest's command: one line or a script, who has to succeed, which paths it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from ..learner.environment import parameter_servers

if TYPE_CHECKING:
    from .manifest import Manifest

CommandKind = Literal["line", "script", "joined"]


def script_kind(command: str, *, literal: bool, accepts: Callable[[str], bool]) -> CommandKind:
    """Say how ``command`` runs: as its one line, as a script, or joined to one line (§1.7).

    ``literal``: it stood in a block after ``|``. ``accepts`` is ``bash -n``. A line that continues
    the one before it, which ends in a backslash, may begin with ``-``: joining would turn the
    backslash into an escaped blank.
    """
    lines = command.strip("\r\n").splitlines()
    if len(lines) < 2:
        return "line"
    if not literal:
        return "joined"
    for before, line in pairwise(lines):
        if line.lstrip().startswith("-") and not before.endswith("\\"):
            return "joined"
    return "script" if accepts(command) else "joined"


def workers(manifest: Manifest) -> tuple[int, ...]:
    """Return the learners that must all exit with 0 (FfDL contract §5.5), counted from 1.

    With ``completion: first`` the first one to end decides; then they are the workers, too.
    """
    everyone = tuple(range(1, manifest.learners + 1))
    if manifest.completion == "all":
        return everyone
    if manifest.completion == "master" or manifest.framework.mpi:
        return (1,)
    # Parameter servers alone would leave nobody to wait for.
    return everyone[parameter_servers(manifest.framework.command) or 0 :] or everyone


# "$DATA/job" and "old/job" are other paths; "file:///job" is this one.
_LITERAL = re.compile(rb"(?:(?<![\w.}/~*@:-])|(?<=file://))/(?:job|mnt/(?:data|results))(?![\w.-])")


def mentions_literal_paths(texts: Mapping[str, bytes | str]) -> tuple[str, ...]:
    """Return the names of the texts that name ``/job``, ``/mnt/data`` or ``/mnt/results``.

    Such a command or file needs these very paths (FfDL contract §5.1, "Literal paths").
    """
    return tuple(
        name
        for name, text in texts.items()
        if _LITERAL.search(text.encode(errors="replace") if isinstance(text, str) else text)
    )
