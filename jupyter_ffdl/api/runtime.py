"""The file by which kernels and commands of this machine find this server.

``<runtime dir>/ffdl-server-<pid>.json``, readable by its user alone: address and a secret that is
accepted under ``ffdl/`` only. One way in, whether the login is a token, a password or a hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

from .. import __version__, files

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

    from .app import FfdlApp

PATTERN = "ffdl-server-*.json"


@dataclass
class ServerRecord:
    """Our file; it lives as long as we serve."""

    path: Path

    @classmethod
    def write(cls, server: ServerApp, app: FfdlApp) -> ServerRecord:
        """Leave the file, and sweep away those of servers that were killed."""
        import psutil  # noqa: PLC0415  (33 ms, which the server's start need not wait for)

        directory = Path(server.runtime_dir or jupyter_runtime_dir())
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale(directory)
        path = directory / f"ffdl-server-{os.getpid()}.json"
        files.write_json(
            path,
            {
                "pid": os.getpid(),
                "host": platform.node(),
                "start_time": psutil.Process().create_time(),
                "url": server.connection_url,
                "secret": app.secret,
                "state_dir": app.state_dir,
                "version": __version__,
                "kind": app.kind,
            },
        )
        return cls(path)

    def remove(self) -> None:
        """Take the file away, if it is still ours."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def remove_stale(directory: Path) -> None:
    """Remove the files of this machine's dead servers; the directory may be shared with others."""
    for path in directory.glob(PATTERN):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_bytes())
            if record["host"] == platform.node() and not _alive(record):
                path.unlink()


def _alive(record: dict[str, float]) -> bool:
    import psutil  # noqa: PLC0415  (see `write`)

    try:
        started = psutil.Process(int(record["pid"])).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return abs(started - record["start_time"]) < 2
