"""What every handler of ours works with: parameters, bodies, answers, errors."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import orjson
from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from tornado import web
from tornado.iostream import StreamClosedError

from ..errors import BadInput, BadParameter, NotFound, TooLarge
from ..training import valid_id
from .errors import answer_for
from .login import LoginHandler

if TYPE_CHECKING:
    from types import ModuleType

    from ..trainer.service import Accepted

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ALLOWED_HEADERS = (
    "accept, content-type, authorization, x-xsrftoken, idempotency-key, "
    "x-watson-userinfo, x-watson-authorization-token"
)
JSON = "application/json"
BINARY = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"

P = ParamSpec("P")
T = TypeVar("T")


class FfdlHandler(LoginHandler):
    """Base of our handlers."""

    max_body_bytes = 16 * 1024 * 1024
    """Of a JSON body."""

    def initialize(self) -> None:
        """Begin with no body."""
        super().initialize()
        self._received = bytearray()

    # What handlers work with

    @property
    def wire(self) -> ModuleType:
        """The wire models; imported by the time any handler runs."""
        from . import wire  # noqa: PLC0415  (pydantic loads off the loop, see FfdlApp.ready)

        return wire

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call of the core off the event loop."""
        return await asyncio.to_thread(method, *args, **kwargs)

    def training_id(self, text: str) -> str:
        """Return ``text`` if it can be an id at all, else 404 before anything is looked up."""
        if not valid_id(text):
            raise NotFound("Not found", description="model_id not found")
        return text

    # Parameters

    def text(self, name: str, default: str = "") -> str:
        """Return a query parameter as it was sent; the last one counts."""
        return self.get_query_argument(name, default, strip=True)

    def number(
        self, name: str, default: int, *, minimum: int | None = None, maximum: int | None = None
    ) -> int:
        """Return a whole-number query parameter; empty counts as absent (FfDL contract §2.6)."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise BadParameter(
                f"{name} in query must be of type integer: {text[:100]!r}", code="601", field=name
            ) from None
        if minimum is not None and value < minimum:
            raise BadInput(f"{name} must be at least {minimum}", field=name)
        return value if maximum is None else min(value, maximum)

    def real(self, name: str) -> float | None:
        """Return a number, None where it is absent."""
        text = self.text(name)
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise BadParameter(
                f"{name} in query must be of type number: {text[:100]!r}", code="601", field=name
            )
        return value

    def since(self) -> int | None:
        """Return ``since_time`` as epoch milliseconds, None where it is absent or empty."""
        from ..trainingdata import since  # noqa: PLC0415  (its package loads numpy)

        text = self.text("since_time")
        return since.parse(text, datetime.now().astimezone()) if text else None

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return a query parameter that must be one of ``choices``."""
        text = self.text(name) or default
        if text not in choices:
            raise BadParameter(
                f"{name} in query should be one of [{' '.join(choices)}]", code="606", field=name
            )
        return text

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a yes-or-no query parameter as Go's clients send it."""
        text = self.text(name).lower()
        if text in {"true", "1", "t"}:
            return True
        if text in {"false", "0", "f"}:
            return False
        if text:
            raise BadParameter(
                f"{name} in query must be of type boolean: {text[:100]!r}", code="601", field=name
            )
        return default

    # Bodies

    async def data_received(self, chunk: bytes) -> None:
        """Collect a small body."""
        if self._refusal is not None:
            return
        self._received += chunk
        if len(self._received) > self.max_body_bytes:
            self._received.clear()
            self.refuse(TooLarge(f"The body is larger than {self.max_body_bytes} bytes"))

    def json_body(self) -> dict[str, Any]:
        """Return the body as a JSON object."""
        try:
            value = json.loads(bytes(self._received) or b"{}")
        except (ValueError, RecursionError) as error:
            raise BadInput(f"The body is not JSON: {error}", hint="Send a JSON object") from None
        if not isinstance(value, dict):
            raise BadInput("The body is not a JSON object", hint='Send {"name": value, …}')
        return value

    def parsed(self, model: Any, value: dict[str, Any], where: str = "") -> Any:
        """Return ``value`` as ``model`` of the wire, or a 400 that names the first wrong field."""
        from pydantic import ValidationError  # noqa: PLC0415  (see `wire`)

        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in (where, *first["loc"]) if part != "")
            raise BadInput(f"{field or 'body'}: {first['msg']}", field=field) from None

    # Answers

    def reply(self, value: Any, *, status: int = 200) -> None:
        """Answer JSON."""
        self.set_status(status)
        self.set_header("Content-Type", JSON)
        self.finish(to_json(value))

    def reply_accepted(self, accepted: Accepted) -> None:
        """Answer 201; the old command line takes the id from ``Location``, whatever the base."""
        location = f"/v1/models/{accepted.training_id}"
        self.set_header("Location", location)
        body = {"model_id": accepted.training_id, "location": location}
        self.reply({**body, "warnings": accepted.warnings}, status=201)

    def on_finish(self) -> None:
        """Take note of the client once more: an upload may have taken long."""
        if getattr(self, "_jupyter_current_user", None) is not None:
            self.ffdl.activity.seen()

    def finish(self, *args: Any, **kwargs: Any) -> asyncio.Future[None]:
        """End the answer, leaving the content type as it was set (Jupyter's resets it)."""
        self.update_api_activity()
        return web.RequestHandler.finish(self, *args, **kwargs)

    def update_api_activity(self) -> None:
        """Count what changes something as activity; polls never (idle culling)."""
        changes = self.request.method not in {"GET", "HEAD", "OPTIONS"}
        self._track_activity = changes and self._status_code < 400
        super().update_api_activity()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in FfDL's shape (contract §2.2)."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else web.HTTPError(status_code)
        answer = answer_for(error)
        self.set_status(answer.status)
        if answer.status == 405:
            allowed = [name for name in METHODS if self._implemented(name)]
            self.set_header("Allow", ", ".join([*allowed, "OPTIONS"]))
        if hasattr(self, "_jupyter_current_user"):
            self.set_cors_headers()  # the error's reset of the headers took them
        self.set_header("Content-Type", JSON)
        self.finish(to_json(answer.body))
        if answer.incident:
            self.log.error("jupyter_ffdl: incident %s", answer.incident, exc_info=error)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log nothing here: refusals are the caller's, and `write_error` logs incidents."""

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Drop the connection where an answer that has begun cannot go on; else answer."""
        if self._headers_written:
            error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
            if not isinstance(error, StreamClosedError):
                self.log.error("jupyter_ffdl: an answer broke off", exc_info=error)
            # Ended as if complete, a cut download would look whole.
            self.request.connection.stream.close()  # type: ignore[union-attr]
            return
        if "exc_info" in kwargs:
            status_code = answer_for(kwargs["exc_info"][1]).status
        super().send_error(status_code, **kwargs)

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Answer a preflight as Jupyter's settings say."""
        super().options(*args, **kwargs)
        if "Access-Control-Allow-Headers" not in self.settings.get("headers", {}):
            self.set_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
        self.set_status(204)


def to_json(value: Any) -> bytes:
    """Return ``value`` as JSON bytes, quickly; text may hold lone surrogates."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode()


class UnknownPathHandler(FfdlHandler):
    """Everything below ``ffdl/`` that is no route."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer 404."""
        raise NotFound("Not found", description=f"There is no path {path[:200]}")

    head = post = put = patch = delete = get
