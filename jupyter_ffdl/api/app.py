"""The server extension: everything under ``<base_url>ffdl/``."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Unicode, default, validate

from .activity import Activity
from .announce import Announcer
from .routes import handlers
from .runtime import ServerRecord
from .upload import remove_stale

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

    from ..trainer.service import Trainer
    from .hub import StreamHub

OPEN_ROUTES = ("ffdl/health",)
"""Routes without a login; ``allow_unauthenticated_logs`` adds those of the next list."""

OPEN_BY_TRAIT = ("ffdl/v1/models/{id}/logs", "ffdl/v1/models/{id}/metrics")

KERNEL_SIDE = ("jupyter_ffdl.notebook", "jupyter_ffdl.learner.hook")
"""What the server never imports: it needs IPython, or acts on import in the user's interpreter."""


class FfdlApp(ExtensionApp):
    """Submit, watch and keep trainings: FfDL's REST API and the streams of our views."""

    name = "jupyter_ffdl"
    description = "jupyter ffdl: serves trainings (FfDL's REST API) behind Jupyter's login."
    extension_url = "/ffdl/docs"
    load_other_extensions = False
    kind = "jupyter"

    state_dir = Unicode(
        help="""Directory that holds all trainings: their records, logs and, unless a manifest
        names a store, their results. Several servers of one user may share it. Default: `ffdl`
        below Jupyter's data directory.""",
    ).tag(config=True)
    allow_unauthenticated_logs = Bool(
        default_value=False,
        help="""Whether whoever knows a training's id may read its log and metrics without a login
        (GET …/logs and …/metrics). The original FfDL command line needs this for `ffdl logs`
        without `--follow`, which sends no login. Off by default: logs often hold data, paths
        or keys, and everybody who reaches the port could read them.""",
    ).tag(config=True)
    live_training_is_activity = Bool(
        default_value=True,
        help="""Whether a training that has not ended counts as activity of this server, looked at
        once a minute, so that idle culling (`ServerApp.shutdown_no_activity_timeout`, JupyterHub's
        idle culler) does not stop the machine under a local training. Open pages, polls and
        finished trainings never count.""",
    ).tag(config=True)

    trainer: Trainer
    hub: StreamHub

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.secret = secrets.token_hex(32)
        self.activity = Activity(self)
        self._starting: asyncio.Future[None] | None = None
        self._watching: asyncio.Future[None] | None = None
        self._record: ServerRecord | None = None
        self._announcer: Announcer | None = None

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return str(self.config.Trainer.get("state_dir") or Path(jupyter_data_dir()) / "ffdl")

    @validate("state_dir")
    def _absolute_state_dir(self, proposal: dict[str, Any]) -> str:
        return str(Path(proposal["value"]).expanduser().absolute())

    @property
    def uploads(self) -> Path:
        """Where submissions lie while they come in: on the disk where they will stay."""
        return Path(self.state_dir) / "uploads"

    def initialize_handlers(self) -> None:
        """Add our routes."""
        self.handlers.extend(handlers())

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        try:
            await self.ready()
        except Exception:
            # Requests try again and answer what is wrong; the server itself must go on.
            self.log.exception("jupyter_ffdl: trainings cannot be served")

    async def ready(self) -> None:
        """Wait until the trainer runs; the first call starts it.

        Everything of ours is imported here, off the event loop, once the server is up: that keeps
        the server's start fast, and no later upgrade of the package can mix two versions in one
        process. After a failure the next call tries again.
        """
        if self._starting is None or (self._starting.done() and _failed(self._starting)):
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        await asyncio.to_thread(import_ours)
        from ..trainer.service import Trainer  # noqa: PLC0415  (see `ready`)
        from .hub import StreamHub  # noqa: PLC0415

        trainer = Trainer(parent=self, state_dir=self.state_dir)
        await asyncio.to_thread(trainer.start)
        await asyncio.to_thread(remove_stale, self.uploads)
        self.trainer = trainer
        self._watching = asyncio.ensure_future(trainer.watch())
        self.hub = StreamHub(trainer)
        assert self.serverapp is not None
        assert self.serverapp.event_logger is not None
        self._announcer = Announcer(self.serverapp.event_logger, trainer)
        self._record = ServerRecord.write(self.serverapp, self)
        self.activity.start()

    def current_activity(self) -> bool:
        """Whether a training has not ended (asked by Jupyter's own idle shutdown)."""
        return self.activity.live

    async def stop_extension(self) -> None:
        """Leave everything as it is: trainings go on without us."""
        if self._starting is None:
            return
        await self.activity.stop()
        await asyncio.gather(self._starting, return_exceptions=True)
        if self._record is not None:
            self._record.remove()
        if self._announcer is not None:
            self._announcer.close()
        if self._watching is not None:
            await self.hub.close()
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            await asyncio.to_thread(self.trainer.stop)
        self._starting = None


def import_ours() -> None:
    """Import every module that this server can need."""
    package = importlib.import_module("jupyter_ffdl")
    for module in pkgutil.walk_packages(package.__path__, "jupyter_ffdl."):
        if not module.name.startswith(KERNEL_SIDE):
            importlib.import_module(module.name)


def _failed(future: asyncio.Future[None]) -> bool:
    return future.cancelled() or future.exception() is not None
