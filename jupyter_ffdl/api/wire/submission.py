"""Submissions: their parts, plans, re-runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from .base import Error, Notice, Wire


class GitState(Wire):
    """The repository of the notebook."""

    commit: str = ""
    branch: str = ""
    dirty: bool = False


class SourceLine(Wire):
    """Where the first line of a shipped file came from."""

    cell_id: str | None = None
    execution_count: int | None = None
    notebook: str | None = None
    first_line: int | None = None


class Origin(Wire):
    """Where a training came from; shown and kept."""

    kind: Literal["cell", "file", "manifest"] = "manifest"
    notebook: str | None = None
    notebook_name: str | None = None
    cell_id: str | None = None
    execution_count: int | None = None
    source_map: dict[str, SourceLine] = Field(default_factory=dict)
    git: GitState | None = None
    parent: str | None = None
    cells: list[dict[str, Any]] = Field(default_factory=list)
    options: str | None = None
    defaults: Any = None
    versions: dict[str, Any] = Field(default_factory=dict)


class Context(Wire):
    """What a kernel says about itself; kept for the training, never shown."""

    interpreter: str | None = None
    python_version: str | None = None
    cwd: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    omitted: list[str] = Field(default_factory=list)
    secrets: dict[str, str] = Field(default_factory=dict)


class Submission(Wire):
    """The parts of a submission."""

    manifest: bytes = Field(description="The manifest (YAML).")
    model_definition: bytes = Field(description="The code (zip).")
    origin: Origin | None = None
    context: Context | None = None


class PlanFile(Wire):
    """A file that would be shipped."""

    path: str
    size: int


class Plan(Wire):
    """What a submission would check and create."""

    can_start: bool
    problems: list[Error] = Field(default_factory=list)
    waits_for: str = ""
    backend: str = ""
    files: list[PlanFile] = Field(default_factory=list)
    total_bytes: int = 0
    warnings: list[Notice] = Field(default_factory=list)
    model: dict[str, Any] | None = None
    omitted_environment: list[str] = Field(default_factory=list)
    interpreter: str = ""
    gpus: int = 0


class RerunRequest(Wire):
    """Changes to the stored manifest: top-level keys and their new values, null removes one."""

    model_config = ConfigDict(extra="forbid")
    changes: dict[str, Any] = Field(default_factory=dict)
    context: Context | None = None


class StacksRequest(Wire):
    """How long to wait for answers."""

    model_config = ConfigDict(extra="forbid")
    wait_seconds: float = Field(2.0, ge=0, le=30)


class Stack(Wire):
    """The threads of one interpreter."""

    learner: int
    pid: int
    text: str


class Stacks(Wire):
    """What the learners' threads do now."""

    stacks: list[Stack]
