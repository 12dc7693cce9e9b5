"""The one table of routes: the server's handlers and the OpenAPI file both come from it.

Models are named by text, so that the table can be read without pydantic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .base import BINARY, JSON, FfdlHandler, UnknownPathHandler
from .downloads import DefinitionHandler, ResultHandler, ResultsHandler, TrainedModelHandler
from .home import DocsHandler, HealthHandler, SwaggerHandler
from .logs import LogsHandler, MetricsHandler
from .model import (
    CapabilitiesHandler,
    ManifestHandler,
    ModelHandler,
    RerunHandler,
    SourceHandler,
    StacksHandler,
    TimelineHandler,
    VerdictHandler,
)
from .models import ModelsHandler, PlansHandler
from .records import EmetricsHandler, LoglinesHandler, ScalarsHandler
from .stream import StreamHandler, TrainingStreamHandler

ROOT = "ffdl"


@dataclass(frozen=True)
class Parameter:
    """A query parameter or header."""

    name: str
    description: str
    type: str = "string"
    enum: tuple[str, ...] = ()
    place: str = "query"


@dataclass(frozen=True)
class Operation:
    """One method of a route. ``answer`` is a model's name, or a media type."""

    method: str
    summary: str
    answer: str
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    body_type: str = JSON
    errors: tuple[int, ...] = ()
    open: bool = False
    socket: str = ""
    """What it also does over a WebSocket."""


@dataclass(frozen=True)
class Route:
    """A path below the base address; ``{id}`` and ``{path}`` are its arguments."""

    path: str
    handler: type[FfdlHandler]
    operations: tuple[Operation, ...]

    @property
    def pattern(self) -> str:
        """The path as tornado matches it."""
        parts = re.split(r"(\{\w+\})", self.path)
        return "/" + "".join(_ARGUMENTS.get(part, re.escape(part)) for part in parts)


_ARGUMENTS = {"{id}": "([^/]+)", "{path}": "(.+)"}
_STATUSES = (
    "NOT_STARTED",
    "QUEUED",
    "PENDING",
    "DOWNLOADING",
    "PROCESSING",
    "STORING",
    "COMPLETED",
    "FAILED",
    "HALTED",
)
_LEARNER = Parameter("learner", "One learner only, from 1.", "integer")
_ATTEMPT = Parameter("attempt", "One attempt only, from 1.", "integer")
_SINCE = Parameter(
    "since_time",
    "Only what was collected since: epoch milliseconds, ISO 8601, a duration back (`10m`), "
    "`now`, `yesterday`, `2 hours ago`, or one of FfDL's forms.",
)
_PAGE = (
    Parameter("pagesize", "Records of a page; 0: 10. At most 10 000.", "integer"),
    Parameter("pos", "Where to begin; negative counts from the end.", "integer"),
    _SINCE,
    Parameter("searchType", "How to search.", enum=("TERM", "NESTED", "MATCH")),
    Parameter("subid", "This sub-run only."),
)
_TOKEN = Parameter("page_token", "The next_page_token of the page before.")
_KEY = Parameter(
    "Idempotency-Key",
    "1 to 200 printable ASCII characters. A repetition with the same key gets the first answer.",
    place="header",
)
_MULTIPART = "multipart/form-data"
_FOLLOW = (
    Parameter("follow", "Wait for more until the training has ended.", "boolean"),
    _SINCE,
    _LEARNER,
    _ATTEMPT,
)
_FRAMES = "One text frame a line, its end included; closes with 1000 after the training's end."

ROUTES: tuple[Route, ...] = (
    Route(
        "health",
        HealthHandler,
        (Operation("GET", "Whether this server is up", "text/plain", open=True),),
    ),
    Route("swagger.json", SwaggerHandler, (Operation("GET", "This description", "object"),)),
    Route("docs", DocsHandler, (Operation("GET", "A page about this API", "text/html"),)),
    Route(
        "v1/models",
        ModelsHandler,
        (
            Operation(
                "GET",
                "List trainings, newest first",
                "Models",
                parameters=(
                    Parameter("status", "Only with this status.", enum=_STATUSES),
                    Parameter("name", "Only with this text in the name, in any case."),
                    Parameter("limit", "Most trainings of a page; absent: all.", "integer"),
                    _TOKEN,
                    Parameter(
                        "sort",
                        "Order; absent: -submitted.",
                        enum=("submitted", "-submitted", "name", "-name", "status", "-status"),
                    ),
                    Parameter("archived", "Only archived ones, or only others.", "boolean"),
                ),
                errors=(422,),
            ),
            Operation(
                "POST",
                "Submit a training",
                "Accepted",
                status=201,
                parameters=(_KEY,),
                body="Submission",
                body_type=_MULTIPART,
                errors=(400, 413, 415),
            ),
        ),
    ),
    Route(
        "v1/models/{id}",
        ModelHandler,
        (
            Operation("GET", "Show a training", "Model", errors=(404,)),
            Operation(
                "PATCH",
                "Halt a training (202), or archive it (200)",
                "ModelId",
                status=202,
                body="PatchRequest",
                errors=(400, 404, 409),
            ),
            Operation(
                "DELETE",
                "Delete a training; a running one is halted first",
                "ModelId",
                parameters=(Parameter("delete_results", "Also delete what it wrote.", "boolean"),),
                errors=(404, 422),
            ),
        ),
    ),
    Route(
        "v1/models/{id}/definition",
        DefinitionHandler,
        (Operation("GET", "Download the submitted code", BINARY, errors=(404, 416)),),
    ),
    Route(
        "v1/models/{id}/trained_model",
        TrainedModelHandler,
        (Operation("GET", "Download all results as a zip", BINARY, errors=(404,)),),
    ),
    Route(
        "v1/models/{id}/logs",
        LogsHandler,
        (
            Operation(
                "GET",
                "Stream the log",
                BINARY,
                parameters=(
                    *_FOLLOW,
                    Parameter("tail", "Only the last lines of the last attempt.", "integer"),
                ),
                errors=(400, 404, 422),
                socket=_FRAMES,
            ),
        ),
    ),
    Route(
        "v1/models/{id}/metrics",
        MetricsHandler,
        (
            Operation(
                "GET",
                "Stream the emetrics records, one JSON object a line",
                BINARY,
                parameters=_FOLLOW,
                errors=(400, 404, 422),
                socket=_FRAMES,
            ),
        ),
    ),
    Route(
        "v1/models/{id}/stream",
        TrainingStreamHandler,
        (
            Operation(
                "GET",
                "Follow a training: lines of JSON, each a ServerMessage, until `end`",
                "ServerMessage",
                parameters=(
                    Parameter(
                        "channels",
                        "Some of status, log, row, scalars, with commas; absent: status,log.",
                    ),
                    Parameter(
                        "cursor",
                        "JSON object: the last cursor of each channel, to go on behind it.",
                    ),
                    _LEARNER,
                    _ATTEMPT,
                    Parameter(
                        "tail", "Without a cursor: begin with the log's last lines.", "integer"
                    ),
                    Parameter("tags", "Scalars with these tags only, with commas."),
                    Parameter("skip", "Skip text rather than fall behind.", "boolean"),
                ),
                errors=(400, 404, 422),
                socket="The protocol of v1/stream, for this training alone.",
            ),
        ),
    ),
    Route(
        "v1/models/{id}/scalars",
        ScalarsHandler,
        (
            Operation(
                "GET",
                "Scalars as columns, downsampled",
                "Scalars",
                parameters=(
                    Parameter("tags", "Only these, with commas; or repeat the parameter."),
                    Parameter(
                        "max_points",
                        "Most points of a series, extremes kept; 0: all. Absent: 1000.",
                        "integer",
                    ),
                    Parameter("since", "JSON: the cursor of an earlier answer, to get the rest."),
                    Parameter("from_step", "Only from this step on.", "number"),
                    Parameter("to_step", "Only up to this step.", "number"),
                    _LEARNER,
                    Parameter("attempt", "Absent: the latest.", "integer"),
                ),
                errors=(404, 422),
            ),
        ),
    ),
    Route(
        "v1/models/{id}/timeline",
        TimelineHandler,
        (Operation("GET", "What happened, oldest first", "Timeline", errors=(404,)),),
    ),
    Route(
        "v1/models/{id}/verdict",
        VerdictHandler,
        (Operation("GET", "Why it ended", "VerdictAnswer", errors=(404,)),),
    ),
    Route(
        "v1/models/{id}/manifest",
        ManifestHandler,
        (Operation("GET", "The manifest, secrets masked", "text/plain", errors=(404,)),),
    ),
    Route(
        "v1/models/{id}/source",
        SourceHandler,
        (Operation("GET", "The code, and where it came from", "Source", errors=(404,)),),
    ),
    Route(
        "v1/models/{id}/results",
        ResultsHandler,
        (
            Operation(
                "GET",
                "List what the training wrote",
                "Results",
                parameters=(
                    Parameter("limit", "Files of a page, at most 10 000.", "integer"),
                    _TOKEN,
                    Parameter("prefix", "Only paths that begin with this."),
                ),
                errors=(400, 404, 422),
            ),
        ),
    ),
    Route(
        "v1/models/{id}/results/{path}",
        ResultHandler,
        (
            Operation(
                "GET",
                "Download one file",
                BINARY,
                parameters=(Parameter("Range", "bytes=FIRST-LAST", place="header"),),
                errors=(404, 416),
            ),
        ),
    ),
    Route(
        "v1/models/{id}/rerun",
        RerunHandler,
        (
            Operation(
                "POST",
                "Submit the stored snapshot again, with changes",
                "Accepted",
                status=201,
                body="RerunRequest",
                errors=(400, 404),
            ),
        ),
    ),
    Route(
        "v1/models/{id}/stacks",
        StacksHandler,
        (
            Operation(
                "POST",
                "What the learners' threads do now",
                "Stacks",
                body="StacksRequest",
                errors=(400, 404, 409),
            ),
        ),
    ),
    Route(
        "v1/logs/{id}/loglines",
        LoglinesHandler,
        (
            Operation(
                "GET", "A page of log lines", "LogLines", parameters=_PAGE, errors=(400, 404, 422)
            ),
        ),
    ),
    Route(
        "v1/logs/{id}/emetrics",
        EmetricsHandler,
        (
            Operation(
                "GET",
                "A page of emetrics records",
                "EMetricsPage",
                parameters=_PAGE,
                errors=(400, 404, 422),
            ),
        ),
    ),
    Route(
        "v1/plans",
        PlansHandler,
        (
            Operation(
                "POST",
                "What a submission would check and create; nothing is created",
                "Plan",
                body="Submission",
                body_type=_MULTIPART,
                errors=(400, 413, 415),
            ),
        ),
    ),
    Route(
        "v1/capabilities",
        CapabilitiesHandler,
        (Operation("GET", "What works on this server", "Capabilities"),),
    ),
    Route(
        "v1/stream",
        StreamHandler,
        (
            Operation(
                "GET",
                "Everything a page follows, over one WebSocket",
                "ServerMessage",
                errors=(400,),
                socket="JSON text frames: ClientMessage to the server, ServerMessage from it.",
            ),
        ),
    ),
)


def handlers() -> list[tuple[str, Any]]:
    """Return patterns and handlers, the one for unknown paths last."""
    known = [(f"/{ROOT}{route.pattern}", route.handler) for route in ROUTES]
    return [*known, (f"/{ROOT}(?:/(.*))?", UnknownPathHandler)]
