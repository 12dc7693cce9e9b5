"""What a client sends on the stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from .base import Wire

Sub = Annotated[str, Field(min_length=1, max_length=200, description="The client's name for it.")]
TrainingId = Annotated[str, Field(max_length=200)]
Positive = Annotated[int, Field(ge=1)]


class LogCursor(Wire):
    """Behind which byte to go on. Opaque: give back what you got.

    A negative offset counts from the end of the file, to begin with its last lines.
    """

    attempt: Positive = 1
    learner: Positive = 1
    offset: int = 0
    others: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], int] = Field(
        {}, description="The offsets of further learners."
    )


class StreamScalarsCursor(Wire):
    """Behind which row to go on. Opaque: give back what you got."""

    attempt: Positive = 1
    learner: Positive = 1
    row: Annotated[int, Field(ge=0)] = 0
    others: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], Annotated[int, Field(ge=0)]] = (
        Field({}, description="The rows of further learners.")
    )


class SubscribeStatus(Wire):
    """Follow a training's status."""

    type: Literal["subscribe"]
    sub: Sub
    channel: Literal["status"]
    id: TrainingId


class SubscribeLog(Wire):
    """Follow a training's log."""

    type: Literal["subscribe"]
    sub: Sub
    channel: Literal["log"]
    id: TrainingId
    cursor: LogCursor | None = None
    learner: Positive | None = Field(None, description="One learner only.")
    attempt: Positive | None = Field(None, description="One attempt only.")
    tail: Positive | None = Field(
        None, description="Without a cursor: begin with the last lines of the last attempt."
    )
    complete: bool = Field(False, description="Never skip, however slow the reader is.")


class SubscribeScalars(Wire):
    """Follow a training's scalars."""

    type: Literal["subscribe"]
    sub: Sub
    channel: Literal["scalars"]
    id: TrainingId
    cursor: StreamScalarsCursor | None = None
    learner: Positive | None = Field(None, description="One learner only.")
    attempt: Positive | None = Field(None, description="One attempt only.")
    tags: list[str] | None = Field(None, description="Only these.")
    complete: bool = False


class SubscribeRow(Wire):
    """Follow a row of the list: at most one message a second."""

    type: Literal["subscribe"]
    sub: Sub
    channel: Literal["row"]
    id: TrainingId


class SubscribeList(Wire):
    """Follow the list: a snapshot, then what changes."""

    type: Literal["subscribe"]
    sub: Sub
    channel: Literal["list"]
    limit: Annotated[int, Field(ge=1, le=1000)] = 500
    archived: bool = Field(False, description="Also archived trainings.")


class Subscribe(
    RootModel[
        Annotated[
            SubscribeStatus | SubscribeLog | SubscribeScalars | SubscribeRow | SubscribeList,
            Field(discriminator="channel"),
        ]
    ]
):
    """Begin to follow something."""


class Unsubscribe(Wire):
    """Follow something no longer."""

    type: Literal["unsubscribe"]
    sub: Sub


class Ack(Wire):
    """Say that messages were handled: the sum of their ``bytes``.

    At most 256 KiB of a subscription are on their way unacknowledged.
    """

    type: Literal["ack"]
    sub: Sub
    bytes: Annotated[int, Field(ge=0)]


class ClientMessage(RootModel[Annotated[Subscribe | Unsubscribe | Ack, Field(union_mode="smart")]]):
    """What a client sends on the stream."""
