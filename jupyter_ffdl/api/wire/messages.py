"""What the server sends on the stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from .base import Error, Wire
from .requests import LogCursor
from .trainings import TrainingStatus
from .views import Row, ScalarsCursor, Series, Verdict


class StatusMessage(Wire):
    """A training's status."""

    type: Literal["status"]
    sub: str
    id: str
    status: TrainingStatus
    verdict: Verdict | None = None


class LogMessage(Wire):
    """Text of one learner's log. All texts of one learner and attempt together are its log."""

    type: Literal["log"]
    sub: str
    id: str
    attempt: int
    learner: int
    text: str
    cursor: LogCursor
    bytes: int = Field(description="What it counts for acknowledgements.")


class ScalarsMessage(Wire):
    """New points."""

    type: Literal["scalars"]
    sub: str
    id: str
    series: list[Series]
    cursor: ScalarsCursor
    bytes: int = Field(description="What it counts for acknowledgements.")


class RowMessage(Wire):
    """A row, whole."""

    type: Literal["row"]
    sub: str
    id: str
    row: Row


class ListMessage(Wire):
    """The list, or what changed in it."""

    type: Literal["list"]
    sub: str
    op: Literal["snapshot", "changed", "removed"]
    rows: list[Row] = Field(default_factory=list)
    ids: list[str] = Field(default_factory=list)
    more: bool = Field(False, description="With a snapshot: whether there are older trainings.")


class SkippedMessage(Wire):
    """Bytes that were left out for a reader who fell behind; GET …/logs has them."""

    type: Literal["skipped"]
    sub: str
    id: str
    attempt: int
    learner: int
    from_: int = Field(alias="from")
    to: int
    cursor: LogCursor


class EndMessage(Wire):
    """Everything was sent: the training has ended, and this is all there will ever be."""

    type: Literal["end"]
    sub: str
    id: str


class ErrorMessage(Wire):
    """A subscription that ended by an error, or a message that was not understood."""

    type: Literal["error"]
    sub: str
    id: str = ""
    error: Error


class AliveMessage(Wire):
    """Nothing happened for a while (lines of JSON only)."""

    type: Literal["alive"]


class ServerMessage(
    RootModel[
        Annotated[
            StatusMessage
            | LogMessage
            | ScalarsMessage
            | RowMessage
            | ListMessage
            | SkippedMessage
            | EndMessage
            | ErrorMessage
            | AliveMessage,
            Field(discriminator="type"),
        ]
    ]
):
    """What the server sends on the stream."""
