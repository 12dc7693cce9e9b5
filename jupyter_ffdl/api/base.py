"""What every handler of ours shares: login, origins, parameters, bodies, errors.

``prepare`` is our own instead of Jupyter's, because Jupyter answers a missing login with a redirect
or a 403 and lets a valid cookie outweigh a wrong header; the contract wants neither (§2.1).
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import orjson
from jupyter_server import CallContext
from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from ..errors import BadInput, BadParameter, FfdlError, NotFound, TooLarge
from ..training import valid_id
from . import auth
from .errors import Forbidden, NotLoggedIn, WrongMethod, answer_for

if TYPE_CHECKING:
    from types import ModuleType

    from ..trainer.service import Accepted, Trainer
    from .app import FfdlApp

AUTH_RESOURCE = "jupyter_ffdl"
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


@stream_request_body
class FfdlHandler(APIHandler):
    """Base of our handlers.

    Bodies are streamed everywhere, so that nobody's body is held in memory before the login is
    checked, and no JSON body can be larger than ``max_body_bytes``.
    """

    auth_resource = AUTH_RESOURCE
    max_body_bytes = 16 * 1024 * 1024
    opens_with_trait = False
    """Whether ``allow_unauthenticated_logs`` opens GET of this handler."""

    # Polls must not keep an idle server alive (they come from open pages and scripts); requests
    # that change something do count, see `update_api_activity`.
    _track_activity = False

    def initialize(self) -> None:
        """Begin with nobody logged in and no body."""
        self._header_authenticated = False
        self._received = bytearray()
        self._refusal: FfdlError | None = None

    # Login

    async def prepare(self, **_: Any) -> None:
        """Find out who asks and whether they may; errors are answered as JSON."""
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        try:
            await self._admit()
        except FfdlError as error:
            self.turn_away(error)

    async def _admit(self) -> None:
        if not self.check_host():
            self._be(None)
            raise Forbidden(
                "This server does not answer under that host name",
                hint="Set ServerApp.allow_remote_access where it should",
            )
        await self._log_in()
        self.set_cors_headers()
        if self.request.method == "OPTIONS":
            return
        self._require_login()
        self.ffdl.activity.seen()
        self._check_request_is_theirs()
        if not self._implemented(str(self.request.method)):
            raise WrongMethod("Method not allowed")
        if self.needs_ready:
            await self.ffdl.ready()

    needs_ready = True
    """Whether requests wait until the trainer runs and the wire models are imported."""

    async def _log_in(self) -> None:
        header = self.request.headers.get("Authorization")
        if header is None:
            self._be(await auth.user_by_jupyter(self))
            return
        user = await auth.user_by_header(self, header, self.ffdl.secret)
        self._header_authenticated = user is not None
        self._be(user)
        if user is None and not self._public:
            raise NotLoggedIn("Unauthorized", hint="The Authorization header is wrong")

    def _be(self, user: Any) -> None:
        self.current_user = user
        self._jupyter_current_user = user

    def _require_login(self) -> None:
        if self.current_user is not None or self._public:
            return
        opened = self.opens_with_trait and self.request.method == "GET"
        if not (opened and self.ffdl.allow_unauthenticated_logs):
            raise NotLoggedIn("Unauthorized")
        self._be(auth.ANYBODY)

    def _check_request_is_theirs(self) -> None:
        """Refuse what another site's page made the browser send."""
        if self.current_user is None:
            return
        if self.request.method not in {"GET", "HEAD"}:
            self.check_xsrf_cookie()
        if not self.check_origin():
            raise Forbidden("Requests from that origin are not allowed")

    @property
    def _public(self) -> bool:
        """Whether this request needs no login, whatever the settings are."""
        method = getattr(self, str(self.request.method).lower(), None)
        return hasattr(method, "__allow_unauthenticated")

    def check_xsrf_cookie(self) -> None:
        """Require the XSRF token, except from whom the ``Authorization`` header proved."""
        if not hasattr(self, "_jupyter_current_user"):
            return  # tornado asks before prepare(); prepare asks again
        if self._header_authenticated or self.settings.get("disable_check_xsrf", False):
            return
        web.RequestHandler.check_xsrf_cookie(self)

    @property
    def token_authenticated(self) -> bool:
        """Whether a token or secret, not a cookie, proved who asks: no page can forge that."""
        return self._header_authenticated or super().token_authenticated

    def skip_check_origin(self) -> bool:
        """Whether the origin says nothing about who asks."""
        return self._header_authenticated or super().skip_check_origin()

    def set_cors_headers(self) -> None:
        """Say which origins may read the answer, to those that ask."""
        if self.get_origin():
            super().set_cors_headers()

    def get_login_url(self) -> str:
        """Never redirect: ``web.authenticated`` asks for this page where nobody is logged in."""
        raise NotLoggedIn("Unauthorized")

    @property
    def owner(self) -> str:
        """Whose trainings this request sees (FfDL contract §2.1)."""
        return auth.owner_of(self.identity_provider, self.current_user)

    def owner_of(self, training_id: str) -> str:
        """Return whose training this is, for somebody who may read it by its id alone."""
        if self.current_user is not auth.ANYBODY:
            return self.owner
        entry = self.trainer.records.entry(training_id)
        return entry.owner if entry is not None else ""

    @property
    def asker(self) -> str:
        """A name for people: who asked. It grants nothing."""
        claimed = auth.watson_user(self.request.headers.get("X-Watson-Userinfo", ""))
        if claimed or not auth.tells_people_apart(self.identity_provider):
            return claimed or auth.os_user()
        return str(self.current_user.display_name)

    # What handlers work with

    @property
    def ffdl(self) -> FfdlApp:
        """The extension."""
        return cast("FfdlApp", self.settings[AUTH_RESOURCE])

    @property
    def trainer(self) -> Trainer:
        """The core that knows all trainings; every call of it blocks."""
        return self.ffdl.trainer

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

    def turn_away(self, error: FfdlError) -> None:
        """Refuse a request whose body is not there yet, and stop it if it waits for us."""
        headers = self.request.headers
        comes = "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"
        if not comes or headers.get("Expect", "").lower() == "100-continue":
            raise error
        self.refuse(error)

    def refuse(self, error: FfdlError) -> None:
        """Answer ``error``, once the rest of the body was read and dropped.

        tornado closes a connection that is answered too early; a client that still sends would
        see a reset instead of the answer.
        """
        self._refusal = error

        async def refused(*_: Any, **__: Any) -> None:
            raise error

        setattr(self, str(self.request.method).lower(), refused)

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
        if self.current_user is not None:
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

    def _implemented(self, method: str) -> bool:
        own = getattr(type(self), method.lower(), None)
        return own is not None and own is not web.RequestHandler._unimplemented_method  # noqa: SLF001

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
