"""What all messages share, errors, and small answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Milliseconds = Annotated[int, Field(description="Epoch milliseconds.")]
StatusName = Literal[
    "NOT_STARTED",
    "QUEUED",
    "PENDING",
    "DOWNLOADING",
    "PROCESSING",
    "STORING",
    "COMPLETED",
    "FAILED",
    "HALTED",
]


class Wire(BaseModel):
    """Base: unknown fields are let through, so that older and newer sides understand each other."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Error(Wire):
    """An error (FfDL contract §2.2)."""

    code: int = Field(description="Mostly the HTTP status; 429 for a quota, 601 and 606 for 422.")
    error: str = Field(description="What happened.")
    description: str = ""
    message: str = Field("", description="The text once more, where FfDL's clients look for it.")
    field: str = Field("", description="Which field, parameter or part is wrong.")
    line: int | None = Field(None, description="Line in the manifest, from 1.")
    hint: str = Field("", description="What to do about it.")
    error_code: str = Field("", description="FfDL's code, such as C101.")


class ModelId(Wire):
    """Which training was meant."""

    model_id: str


class Notice(Wire):
    """A warning: something about a submission that a person should know."""

    message: str
    field: str = ""
    line: int | None = None


class Accepted(Wire):
    """A submission that became a training."""

    model_id: str
    location: str
    warnings: list[Notice] = Field(default_factory=list)
