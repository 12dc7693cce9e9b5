"""Trainings: Model JSON (FfDL contract §2.4) and what can be changed of one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from .base import Notice, StatusName, Wire


class Framework(Wire):
    """The manifest's framework."""

    name: str
    version: str


class Connection(Wire):
    """How to reach a data store; secrets show as ``****``."""

    auth_url: str = ""
    user_name: str = ""
    password: str = ""
    bucket: str = ""
    path: str = ""
    type: str = ""


class DataStore(Wire):
    """One use of a data store."""

    data_store_id: str
    type: str
    connection: Connection


class HistoryLine(Wire):
    """One change of status."""

    status: StatusName
    timestamp: str = Field(description="Epoch milliseconds, as text.")
    status_message: str = ""
    error_code: str = ""
    attempt: int = 1


class TrainingStatus(Wire):
    """Where a training is, or how it ended."""

    status: StatusName
    status_description: StatusName
    status_message: str = ""
    error_code: str = ""
    submitted: str = Field(description="Epoch milliseconds, as text.")
    submitted_iso: str = ""
    completed: str = Field("", description="Epoch milliseconds, as text; only when it has ended.")
    completed_iso: str = ""
    exit_code: int | None = None
    signal: str | int | None = None
    oom_killed: bool = False
    reason: str = ""
    last_log_lines: list[str] = Field(default_factory=list)
    history: list[HistoryLine] = Field(default_factory=list)
    halting: bool = False
    halted_by: str = ""
    queue_position: int | None = None
    pending_reason: str = ""


class TrainingPart(Wire):
    """What a training asks for, and where it is."""

    command: str = ""
    cpus: float = 0
    gpus: float = 0
    gpu_type: str = ""
    memory: float = 0
    memory_unit: str
    memory_bytes: int = 0
    storage_bytes: int = 0
    learners: int
    input_data: list[str] = Field(default_factory=list)
    output_data: list[str] = Field(default_factory=list)
    training_status: TrainingStatus


class Model(Wire):
    """A training (FfDL contract §2.4)."""

    model_id: str
    location: str
    name: str
    description: str = ""
    framework: Framework
    data_stores: list[DataStore]
    training: TrainingPart
    backend: str = ""
    number: int = Field(1, description="Counts the trainings of one name.")
    parent: str = Field("", description="The training that this one runs again.")
    warnings: list[Notice] = Field(default_factory=list)


class Models(Wire):
    """A list of trainings."""

    models: list[Model]
    next_page_token: str = Field("", description="Pass as page_token for the next page.")


class HaltRequest(Wire):
    """Stop a training."""

    status: Literal["halt"]


class ArchiveRequest(Wire):
    """Put a training out of sight, or back."""

    archived: Annotated[bool, Field(strict=True)]


class PatchRequest(RootModel[HaltRequest | ArchiveRequest]):
    """What can be changed of a training."""
