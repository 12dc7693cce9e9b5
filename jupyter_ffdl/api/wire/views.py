"""What the views show of a training: records, curves, timeline, verdict, files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Milliseconds, StatusName, Wire
from .submission import Origin


class LogLineMeta(Wire):
    """When and where a record was collected."""

    training_id: str
    time: Milliseconds
    rindex: int = Field(description="From 1, no gaps per sub-run.")
    subid: str = ""


class LogLine(Wire):
    """One line of a log."""

    line: str
    meta: LogLineMeta


class LogLines(Wire):
    """A page of log lines."""

    models: list[LogLine]


class TypedValue(Wire):
    """A value of an emetrics record."""

    type: Literal["STRING", "JSONSTRING", "INT", "FLOAT"]
    value: str


class EMetrics(Wire):
    """One emetrics record."""

    meta: LogLineMeta
    grouplabel: str
    etimes: dict[str, TypedValue]
    values: dict[str, TypedValue]


class EMetricsPage(Wire):
    """A page of emetrics records."""

    models: list[EMetrics]


Mark = Annotated[
    tuple[int, Literal["nan", "inf", "-inf"]],
    Field(description="Index and name of a value that JSON lacks; the column has null there."),
]


class Series(Wire):
    """One curve, as columns."""

    learner: int
    source: str = Field(description="Path of the event directory, or the group.")
    grouplabel: str = ""
    subid: str = ""
    tag: str
    step: list[int]
    wall_time: list[float] = Field(description="Epoch seconds.")
    value: list[float | None]
    marks: list[Mark] = Field(default_factory=list)
    points: int = Field(0, description="How many points there are before downsampling.")


class ScalarsCursor(Wire):
    """Behind which row to go on. Opaque: give back what you got."""

    attempt: int = 1
    learner: int = 1
    row: int = 0
    others: dict[str, int] = Field({}, description="The rows of further learners.")


class Scalars(Wire):
    """The curves of one attempt."""

    attempt: int
    series: list[Series]
    cursors: list[ScalarsCursor]
    cursor: ScalarsCursor | None = Field(
        None, description="The cursors as one, for a subscription."
    )


class Event(Wire):
    """Something that happened to a training."""

    time: Milliseconds
    kind: str
    text: str
    detail: dict[str, Any] = Field(default_factory=dict)


class Timeline(Wire):
    """What happened, oldest first."""

    events: list[Event]


class VerdictCell(Wire):
    """The notebook cell of a place."""

    id: str = ""
    execution_count: int | None = None
    index: int | None = None
    notebook: str = ""


class VerdictPlace(Wire):
    """Where it happened."""

    learner: int = 1
    attempt: int = 1
    file: str | None = None
    line: int | None = None
    cell: VerdictCell | None = None
    function: str | None = None


class Remedy(Wire):
    """What to do; with option and value a form can be prefilled."""

    text: str = ""
    option: str = ""
    value: str = ""


class Verdict(Wire):
    """Why a training ended."""

    format: int = 1
    code: str
    cause: str
    sentence: str
    where: VerdictPlace | None = None
    source: list[dict[str, Any]] = Field(default_factory=list)
    shapes: list[dict[str, Any]] = Field(default_factory=list)
    remedy: Remedy | None = None
    traceback: list[dict[str, Any]] = Field(default_factory=list)
    evidence: dict[str, Any] = Field(default_factory=dict)
    final: bool = True


class VerdictAnswer(Wire):
    """The verdict, null while the training has not ended or when nothing went wrong."""

    verdict: Verdict | None


class SourceFile(Wire):
    """A file of the snapshot."""

    path: str
    size: int
    text: str | None = Field(None, description="Absent where it is no text, or over 1 MiB.")


class Source(Wire):
    """What a training was made of."""

    files: list[SourceFile]
    origin: Origin | None = None


class ResultFile(Wire):
    """A file that a training wrote."""

    path: str
    size: int
    modified: Milliseconds


class Results(Wire):
    """A page of result files, by path."""

    files: list[ResultFile]
    next_page_token: str = ""


class Default(Wire):
    """A default and where it comes from."""

    name: str
    value: Any
    source: str


class Backend(Wire):
    """Where trainings can run."""

    name: str
    available: bool = True


class Capabilities(Wire):
    """What works on this server."""

    version: str
    backends: list[Backend]
    defaults: list[Default] = Field(default_factory=list)
    limits: dict[str, Any] = Field(default_factory=dict)


class ScalarNow(Wire):
    """The last value of the training's main curve."""

    tag: str
    value: float | None = None
    step: int
    mark: Literal["nan", "inf", "-inf"] | None = Field(
        None, description="Names a value that JSON lacks."
    )
    since_step: int | None = Field(None, description="With a mark: where it became so.")


class Progress(Wire):
    """How far a training is, as its last lines tell."""

    done: float
    total: float
    unit: str = ""
    form: str = Field("", description="The library whose way of printing it is.")
    fraction: float
    eta_seconds: float | None = None
    text: str = ""
    updated: Milliseconds | None = None


class Row(Wire):
    """One row of a list."""

    id: str
    name: str
    number: int = 1
    status: StatusName
    label: str = Field(description="Words for the status.")
    submitted: Milliseconds
    started: Milliseconds | None = None
    completed: Milliseconds | None = None
    halting: bool = False
    queue_position: int | None = None
    pending_reason: str | None = None
    reason: str | None = None
    error_code: str | None = None
    archived: bool = False
    backend: str = ""
    learners: int = 1
    attempt: int = 1
    notebook: str | None = None
    cell_id: str | None = None
    parent: str | None = None
    scalar: ScalarNow | None = None
    sparkline: list[float | None] = Field(default_factory=list)
    progress: Progress | None = None
