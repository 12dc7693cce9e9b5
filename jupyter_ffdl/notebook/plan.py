"""What a submission would check and create."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .words import plural, size


class Plan:
    """The answer to a dry run; nothing was created."""

    def __init__(self, answer: Mapping[str, Any], *, manifest: str, notes: Sequence[str]) -> None:
        self.answer = dict(answer)
        self.manifest = manifest
        self.notes = list(notes)

    @property
    def can_start(self) -> bool:
        """Whether this machine could ever run it."""
        return bool(self.answer.get("can_start"))

    @property
    def files(self) -> list[tuple[str, int]]:
        """Path and size in bytes of everything that is shipped."""
        return [(str(file["path"]), int(file["size"])) for file in self.answer.get("files") or ()]

    @property
    def problems(self) -> list[str]:
        """What would be refused, each with its remedy."""
        return [_sentence(problem) for problem in self.answer.get("problems") or ()]

    @property
    def warnings(self) -> list[str]:
        """What will be done differently from what one may expect."""
        told = [str(warning.get("message", "")) for warning in self.answer.get("warnings") or ()]
        return [*self.notes, *filter(None, told)]

    def __str__(self) -> str:
        files = self.files
        total = sum(bytes_ for _, bytes_ in files)
        if self.problems:
            head = ["Would be refused:", *(f"  {problem}" for problem in self.problems)]
        elif self.answer.get("waits_for"):
            head = [f"Would be queued: {self.answer['waits_for']}"]
        else:
            head = ["Would start at once"]
        width = max((len(path) for path, _ in files), default=0)
        parts = [*head, "", f"Ships {plural(len(files), 'file')}, {size(total)}:"]
        parts += [f"  {path:<{width}}  {size(bytes_):>10}" for path, bytes_ in files]
        parts += ["", "Manifest:", *(f"  {line}" for line in self.manifest.splitlines())]
        if self.warnings:
            parts += ["", "Note:", *(f"  {warning}" for warning in self.warnings)]
        omitted = self.answer.get("omitted_environment") or ()
        if omitted:
            parts += ["", f"Environment variables left out: {', '.join(omitted)}"]
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f'<pre style="margin:0">{escape(str(self))}</pre>'


def _sentence(problem: Mapping[str, Any]) -> str:
    text = str(problem.get("error") or problem.get("description") or "not accepted")
    if problem.get("line"):
        text += f" (line {problem['line']})"
    return f"{text}. {problem['hint']}" if problem.get("hint") else text
