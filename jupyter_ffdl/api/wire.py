"""What travels: requests, answers and stream messages, as models.

The OpenAPI file and the TypeScript types are generated from these. Requests are checked against
them; answers are built by the core as plain JSON, and the tests check them here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, RootModel

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
Fact = Union[str, int, float, bool, None]


class Wire(BaseModel):
    """Base: unknown fields are let through, so that older and newer sides understand each other."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


# Errors and small answers


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


class Warning_(Wire):
    """Something about a submission that a person should know."""

    model_config = ConfigDict(title="Warning")
    message: str
    field: str = ""
    line: int | None = None


class Accepted(Wire):
    """A submission that became a training."""

    model_id: str
    location: str
    warnings: list[Warning_] = []


# Trainings


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
    last_log_lines: list[str] = []
    history: list[HistoryLine] = []
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
    input_data: list[str] = []
    output_data: list[str] = []
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
    warnings: list[Warning_] = []


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


class PatchRequest(RootModel[Union[HaltRequest, ArchiveRequest]]):
    """What can be changed of a training."""


# Submission


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
    source_map: dict[str, SourceLine] = {}
    git: GitState | None = None
    parent: str | None = None
    cells: list[dict[str, Any]] = []
    options: str | None = None
    defaults: Any = None
    versions: dict[str, Any] = {}


class Context(Wire):
    """What a kernel says about itself; kept for the training, never shown."""

    interpreter: str | None = None
    python_version: str | None = None
    cwd: str | None = None
    environment: dict[str, str] = {}
    omitted: list[str] = []
    secrets: dict[str, str] = {}


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
    problems: list[Error] = []
    waits_for: str = ""
    backend: str = ""
    files: list[PlanFile] = []
    total_bytes: int = 0
    warnings: list[Warning_] = []
    model: dict[str, Any] | None = None
    omitted_environment: list[str] = []
    interpreter: str = ""
    gpus: int = 0


class RerunRequest(Wire):
    """Changes to the stored manifest: top-level keys and their new values, null removes one."""

    model_config = ConfigDict(extra="forbid")
    changes: dict[str, Any] = {}
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


# Records


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


# What the views show

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
    marks: list[Mark] = []
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
    detail: dict[str, Any] = {}


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

    code: str
    cause: str
    sentence: str
    where: VerdictPlace | None = None
    source: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    remedy: Remedy | None = None
    traceback: list[dict[str, Any]] = []
    evidence: dict[str, Any] = {}
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
    defaults: list[Default] = []
    limits: dict[str, Any] = {}


class ScalarNow(Wire):
    """The last value of a curve."""

    tag: str
    value: float | str | None = None
    step: int | None = None


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
    sparkline: list[float | None] = []
    progress: Any = None


# The stream: client to server

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
    others: dict[
        Annotated[str, Field(pattern=r"^[0-9]{1,6}$")], Annotated[int, Field(ge=0)]
    ] = Field({}, description="The rows of further learners.")


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
            Union[SubscribeStatus, SubscribeLog, SubscribeScalars, SubscribeRow, SubscribeList],
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


class ClientMessage(
    RootModel[Annotated[Union[Subscribe, Unsubscribe, Ack], Field(union_mode="smart")]]
):
    """What a client sends on the stream."""


# The stream: server to client


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
    rows: list[Row] = []
    ids: list[str] = []
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
            Union[
                StatusMessage,
                LogMessage,
                ScalarsMessage,
                RowMessage,
                ListMessage,
                SkippedMessage,
                EndMessage,
                ErrorMessage,
                AliveMessage,
            ],
            Field(discriminator="type"),
        ]
    ]
):
    """What the server sends on the stream."""
