"""Who asks, and whether they may: the part of every handler that runs before its verb.

``prepare`` is our own instead of Jupyter's, because Jupyter answers a missing login with a redirect
or a 403 and lets a valid cookie outweigh a wrong header; the contract wants neither (§2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from jupyter_server import CallContext
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.web import stream_request_body

from ..errors import FfdlError
from . import auth
from .errors import Forbidden, NotLoggedIn, WrongMethod

if TYPE_CHECKING:
    from ..trainer.service import Trainer
    from .app import FfdlApp

AUTH_RESOURCE = "jupyter_ffdl"


@stream_request_body
class LoginHandler(APIHandler):
    """Knows the user, or refuses the request.

    Bodies are streamed everywhere, so that nobody's body is held in memory before the login is
    checked.
    """

    auth_resource = AUTH_RESOURCE
    opens_with_trait = False
    """Whether ``allow_unauthenticated_logs`` opens GET of this handler."""

    # Polls must not keep an idle server alive (they come from open pages and scripts); requests
    # that change something do count, see `update_api_activity`.
    _track_activity = False

    def initialize(self) -> None:
        """Begin with nobody logged in."""
        self._header_authenticated = False
        self._refusal: FfdlError | None = None

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

    @property
    def ffdl(self) -> FfdlApp:
        """The extension."""
        return cast("FfdlApp", self.settings[AUTH_RESOURCE])

    @property
    def trainer(self) -> Trainer:
        """The core that knows all trainings; every call of it blocks."""
        return self.ffdl.trainer

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

    def _implemented(self, method: str) -> bool:
        own = getattr(type(self), method.lower(), None)
        return own is not None and own is not web.RequestHandler._unimplemented_method  # noqa: SLF001
