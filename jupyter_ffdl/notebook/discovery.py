"""Which service this kernel talks to.

In this order: ``FFDL_URL`` and ``FFDL_TOKEN``; FfDL's ``DLAAS_URL``, ``DLAAS_USERNAME`` and
``DLAAS_PASSWORD``; the Jupyter server that started this kernel; a running ``jupyter ffdl``; else
one is started, unless a Jupyter server exists that we cannot reach: a training that its panel
does not show would be lost to its user.

Servers leave their address and a secret in Jupyter's runtime directory, readable by their user
alone: ``ffdl-server-<pid>.json``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import FfdlError
from .connection import (
    Address,
    Connection,
    ServiceError,
    basic_header,
    service_url,
    token_header,
)

IDLE_EXIT_SECONDS = 600
START_SECONDS = 30.0
SETTLE_SECONDS = 4.0
"""How long a Jupyter server may take to load our extension."""

_PATTERN = "ffdl-server-*.json"
_MAX_PARENTS = 12
_GATEWAY_PREFIXES = ("EG_", "KG_")
_GATEWAY_NAMES = ("KERNEL_GATEWAY", "JUPYTER_GATEWAY_URL")


class NoService(ServiceError):
    """No service was found, and none may be started."""


def find(
    environ: Mapping[str, str] | None = None,
    *,
    say: Callable[[str], None] | None = None,
    state_dir: str = "",
) -> Address:
    """Return the service's address; start one if there is none and one may be started.

    ``say`` gets the one line that tells of a start. ``state_dir``: of the service that this one
    is to succeed, if there was one.
    """
    environ = os.environ if environ is None else environ
    given = _given(environ)
    if given is not None:
        return given
    runtime = runtime_dir(environ)
    address = _parents_server(runtime, environ)
    if address is None and _is_server(runtime, environ.get("JPY_PARENT_PID", "")):
        # Its extension may still be starting: a browser restores its kernels at once.
        deadline = time.monotonic() + SETTLE_SECONDS
        while address is None and time.monotonic() < deadline:
            time.sleep(0.1)
            address = _parents_server(runtime, environ)
    address = address or running_standalone(runtime, state_dir)
    if address is not None:
        return address
    hidden = _unreachable_server(runtime, environ)
    if hidden:
        raise NoService(
            f"{hidden}, but this kernel cannot reach jupyter_ffdl there",
            hint="Set FFDL_URL and FFDL_TOKEN to a service that it can reach "
            "(the panel beside this notebook would not show its trainings)",
        )
    return start_standalone(runtime, say=say, state_dir=state_dir)


def runtime_dir(environ: Mapping[str, str]) -> Path:
    """Return Jupyter's runtime directory, as ``jupyter --runtime-dir`` would, without jupyter_core.

    jupyter_core is asked where it is there: it knows the settings that move directories.
    """
    if environ.get("JUPYTER_RUNTIME_DIR"):
        return Path(environ["JUPYTER_RUNTIME_DIR"])
    if environ is os.environ and importlib.util.find_spec("jupyter_core") is not None:
        from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415

        return Path(jupyter_runtime_dir())
    if environ.get("JUPYTER_DATA_DIR"):
        return Path(environ["JUPYTER_DATA_DIR"]) / "runtime"
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Jupyter" / "runtime"
    if sys.platform == "win32":
        return Path(environ.get("APPDATA") or home) / "jupyter" / "runtime"
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else home / ".local" / "share") / "jupyter" / "runtime"


def running_standalone(runtime: Path, state_dir: str = "") -> Address | None:
    """Return the newest ``jupyter ffdl`` that answers, of ``state_dir`` if that is given."""
    found = [
        (record, path)
        for path in runtime.glob(_PATTERN)
        if (record := _record(path)) and record.get("kind") == "standalone"
    ]
    found.sort(key=lambda item: item[1].stat().st_mtime if item[1].exists() else 0.0, reverse=True)
    for record, _path in found:
        if not alive(record["pid"]) or state_dir not in {"", record.get("state_dir")}:
            continue
        address = _address(record, "a running `jupyter ffdl`")
        if answers(address):
            return address
    return None


def start_standalone(
    runtime: Path, *, say: Callable[[str], None] | None = None, state_dir: str = ""
) -> Address:
    """Start a ``jupyter ffdl`` that ends after its last client; two kernels start one."""
    if importlib.util.find_spec("jupyter_server") is None:
        raise NoService(
            "No jupyter_ffdl service runs, and this environment cannot start one "
            "(it has no jupyter_server)",
            hint="Run `jupyter ffdl` where jupyter-ffdl is installed with its dependencies, "
            "or set FFDL_URL and FFDL_TOKEN",
        )
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _lock(runtime / "ffdl-start.lock"):
        address = running_standalone(runtime, state_dir)
        if address is not None:
            return address
        log = runtime / "ffdl-standalone.log"
        process = _launch(log, state_dir)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            record = _record(runtime / f"ffdl-server-{process.pid}.json")
            if record:
                address = _address(record, "a `jupyter ffdl` started by this kernel")
                if answers(address):
                    # Nobody waits for it otherwise, and it would stay a zombie of this kernel.
                    threading.Thread(target=process.wait, daemon=True).start()
                    if say is not None:
                        say(
                            "No Jupyter server of this kernel was found, so a service was started "
                            f"(`jupyter ffdl`, pid {process.pid}); it ends "
                            f"{IDLE_EXIT_SECONDS // 60} minutes after its last client, "
                            "trainings go on"
                        )
                    return address
            if process.poll() is not None:
                break
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            process.terminate()
        raise NoService(
            f"`jupyter ffdl` could not be started{_last_line(log)}",
            hint=f"See {log}, or run `jupyter ffdl` in a terminal",
        )


def answers(address: Address) -> bool:
    """Whether a service answers there and knows us."""
    try:
        Connection(address).call("GET", "/v1/capabilities", timeout=10.0)
    except FfdlError:
        return False
    return True


def alive(pid: int) -> bool:
    """Whether a process has this pid (on Windows we do not know, and ask by HTTP)."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def parents(pid: int) -> Iterator[int]:
    """Yield the pids above ``pid``, nearest first: a kernel's parent may be a wrapper script."""
    for _ in range(_MAX_PARENTS):
        above = _parent(pid)
        if above is None or above <= 1:
            return
        yield above
        pid = above


def _given(environ: Mapping[str, str]) -> Address | None:
    url = environ.get("FFDL_URL", "").strip()
    if url:
        return Address(
            url=service_url(url),
            authorization=token_header(environ.get("FFDL_TOKEN", "").strip()),
            found="FFDL_URL and FFDL_TOKEN",
        )
    url = environ.get("DLAAS_URL", "").strip()
    if not url:
        return None
    scheme, separator, rest = url.rpartition("://")
    credentials, at, host = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    return Address(
        url=service_url(f"{scheme}{separator}{host if at else rest}"),
        authorization=basic_header(
            user or environ.get("DLAAS_USERNAME", ""),
            password or environ.get("DLAAS_PASSWORD", ""),
        ),
        found="DLAAS_URL, DLAAS_USERNAME and DLAAS_PASSWORD",
    )


def _parents_server(runtime: Path, environ: Mapping[str, str]) -> Address | None:
    """The Jupyter server that started this kernel, also through a wrapper."""
    named = environ.get("JPY_PARENT_PID", "")
    pids = [int(named)] if named.isdigit() else []
    pids += [pid for pid in parents(os.getpid()) if pid not in pids]
    for pid in pids:
        record = _record(runtime / f"ffdl-server-{pid}.json")
        if record and alive(pid):
            return _address(record, "the Jupyter server that started this kernel")
    return None


def _unreachable_server(runtime: Path, environ: Mapping[str, str]) -> str:
    """Say which Jupyter server stands behind this kernel, or nothing.

    ``JPY_PARENT_PID`` alone proves none: nbclient and papermill set it too.
    """
    named = environ.get("JPY_PARENT_PID", "")
    if _is_server(runtime, named):
        return "A Jupyter server started this kernel"
    if any(name in environ for name in _GATEWAY_NAMES) or any(
        name.startswith(_GATEWAY_PREFIXES) for name in environ
    ):
        return "This kernel runs behind a gateway"
    if "JPY_SESSION_NAME" in environ and not named.isdigit():
        return "A Jupyter server started this kernel"
    return ""


def _is_server(runtime: Path, pid: str) -> bool:
    return pid.isdigit() and (runtime / f"jpserver-{pid}.json").exists()


def _record(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("pid"), int):
        return None
    if not isinstance(value.get("url"), str) or not value.get("secret"):
        return None
    if value.get("host", platform.node()) != platform.node():
        return None  # a home directory shared by several machines
    return {**value, "path": path}


def _address(record: Mapping[str, Any], found: str) -> Address:
    return Address(
        url=service_url(record["url"]),
        authorization=token_header(str(record["secret"])),
        found=f"{found}, pid {record['pid']}",
        follow=True,
        record=str(record["path"]),
        state_dir=str(record.get("state_dir", "")),
    )


def _launch(log: Path, state_dir: str) -> subprocess.Popen[bytes]:
    # A kernel that runs as root was allowed to; its service listens to this machine alone.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter_ffdl.api.standalone",
                "--idle-exit",
                str(IDLE_EXIT_SECONDS),
                *([f"--state-dir={state_dir}"] if state_dir else []),
                *root,
            ],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd=str(Path.home()) if Path.home().is_dir() else "/",
        )
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    if sys.platform == "win32":  # no local trainings there, so nothing is started twice
        yield
        return
    import fcntl  # noqa: PLC0415  (not on Windows)

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parent(pid: int) -> int | None:
    if pid == os.getpid():
        return os.getppid()
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _parent_by_ps(pid) if sys.platform == "darwin" else None
    # The command's name is in parentheses and may hold anything, also blanks and parentheses.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def _parent_by_ps(pid: int) -> int | None:
    try:
        answer = subprocess.run(
            ["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, check=False, timeout=5
        )
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1].strip()}" if lines else ""
