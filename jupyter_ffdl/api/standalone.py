"""``jupyter ffdl``: the service alone, behind Jupyter's login, without notebooks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from jupyter_core.application import base_aliases, base_flags
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from traitlets import Int
from traitlets.config import boolean_flag

from .. import __version__
from ..trainer.service import Trainer
from .app import FfdlApp

_MODULE = "jupyter_ffdl.api.standalone"
IDLE_LOOKS = 10
"""How often to look during one idle period."""


class FfdlServer(ServerApp):
    """A Jupyter server with the login, the event bus and nothing of notebooks."""

    port_default_value = 8899
    default_services = ("api", "auth", "events", "security", "shutdown")  # type: ignore[assignment]

    def running_server_info(self, kernel_count: bool = True) -> str:  # noqa: FBT001, FBT002
        """Say nothing: ``FfdlStandalone`` says how to use it."""
        return ""


class FfdlStandalone(FfdlApp):
    """Serve trainings without JupyterLab."""

    description = (
        "Serves trainings (FfDL's REST API and the streams of our views) behind Jupyter's login, "
        "on this machine only unless --ip says otherwise. Trainings go on when it ends."
    )
    examples = """
    jupyter ffdl                        # port 8899 or the next free one, a new token
    jupyter ffdl --port 9000 --state-dir ~/trainings
    JUPYTER_TOKEN=secret jupyter ffdl   # a token of your own
    """
    version = __version__
    classes = [FfdlServer, FfdlApp, Trainer]  # noqa: RUF012  (what --help-all shows)
    kind = "standalone"
    serverapp_class = FfdlServer
    open_browser = False
    aliases = {  # noqa: RUF012  (traitlets' own form)
        **base_aliases,
        "ip": "ServerApp.ip",
        "port": "ServerApp.port",
        "base-url": "ServerApp.base_url",
        "state-dir": "FfdlApp.state_dir",
        "idle-exit": "FfdlStandalone.idle_exit_seconds",
    }
    flags = {  # noqa: RUF012
        **base_flags,
        **boolean_flag(
            "allow-root",
            "ServerApp.allow_root",
            "Run as root all the same (containers).",
            "Refuse to run as root.",
        ),
    }
    idle_exit_seconds = Int(
        0,
        min=0,
        help="""Seconds after the last client at which the service ends; an open stream is a client.
        0: never, the default for whoever starts it by hand. Kernels start it with 600. Trainings
        go on either way.""",
    ).tag(config=True)

    _idle: PeriodicCallback | None = None

    @classmethod
    def get_extension_package(cls) -> str:
        """Return what the server loads: this module, not the extension for a full server."""
        return _MODULE

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        try:
            await self.ready()
        except Exception:
            serverapp.stop()  # alone it is of no use; the server logs why
            raise
        sys.stdout.write(self.greeting(serverapp))
        sys.stdout.flush()
        if self.idle_exit_seconds:
            period = max(0.2, self.idle_exit_seconds / IDLE_LOOKS)
            self._idle = PeriodicCallback(self._look, period * 1000)
            self._idle.start()

    async def stop_extension(self) -> None:
        """Stop looking, then as the extension does."""
        if self._idle is not None:
            self._idle.stop()
        await super().stop_extension()

    def _look(self) -> None:
        if self.activity.idle_seconds > self.idle_exit_seconds and self.serverapp is not None:
            self.log.info("No client for %d s: ending", self.idle_exit_seconds)
            self.serverapp.stop()

    def greeting(self, server: ServerApp) -> str:
        """Return what a person needs to use the service."""
        url = url_path_join(server.connection_url, "ffdl")
        token = str(server.identity_provider.token or "")
        return (
            f"jupyter ffdl {__version__} serves the trainings in {self.state_dir}\n"
            f"  {url}/docs{'?token=' + token if token else ''}\n"
            "Kernels and commands of this user on this machine find it by themselves. Elsewhere:\n"
            f"  export FFDL_URL={url} FFDL_TOKEN={token or 'TOKEN'}\n"
            "The original FfDL command line:\n"
            f"  export DLAAS_URL={url} DLAAS_USERNAME={'me'} DLAAS_PASSWORD={token or 'TOKEN'}\n"
            "Ctrl+C ends the service; trainings go on.\n"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``jupyter ffdl``."""
    FfdlStandalone.launch_instance(  # type: ignore[no-untyped-call]
        None if argv is None else list(argv)
    )


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": _MODULE, "app": FfdlStandalone}]


if __name__ == "__main__":
    # As __main__ this module is not the one that the server loads.
    importlib.import_module(_MODULE).main()
