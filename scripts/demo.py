"""One training from a notebook's cell to its results, told as it happens.

A real Jupyter server with an empty profile runs the quickstart notebook in a real kernel, the way
a browser would: over its REST API and the kernel's WebSocket. Everything it writes lies in
``.demo/``; no process stays. Exit code 0 only if all of it went right.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from jupyter_ffdl.notebook import client, curve, words

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "notebooks" / "quickstart.ipynb"
DEMO = ROOT / ".demo"
START_SECONDS = 30.0
CELL_SECONDS = 90.0
LOG_LINES = 3


class DemoError(Exception):
    """Something is not as it must be."""


def main() -> None:
    began = time.monotonic()
    try:
        with server() as (url, token):
            asyncio.run(story(url, token))
    except DemoError as e:
        sys.exit(f"demo: {e}")
    say("")
    say(f"{time.monotonic() - began:.0f} s in all. Next, the same in a browser:  make lab")


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Run a Jupyter server of our own, and leave nothing of it."""
    shutil.rmtree(DEMO, ignore_errors=True)
    work = DEMO / "notebooks"
    work.mkdir(parents=True)
    (DEMO / ".gitignore").write_text("*\n")
    shutil.copy2(NOTEBOOK, work)
    token, port = secrets.token_hex(16), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
        "JUPYTER_CONFIG_DIR": str(DEMO / "config"),
        "JUPYTER_DATA_DIR": str(DEMO / "data"),
        "JUPYTER_RUNTIME_DIR": str(DEMO / "runtime"),
        "JUPYTER_TOKEN": token,
    }
    arguments = [
        "--no-browser",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={work}",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    with (DEMO / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        say(f"A Jupyter server is up: {url} (its files: {DEMO.relative_to(ROOT)}/)")
        yield url, token
    finally:
        stop(process)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the service answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the server ended at once, see {DEMO / 'server.log'}")
        try:
            with urllib.request.urlopen(f"{url}/ffdl/health", timeout=5):
                return
        except urllib.error.HTTPError as e:
            raise DemoError(f"the server runs without jupyter_ffdl (HTTP {e.code})") from e
        except OSError:
            time.sleep(0.05)
    raise DemoError(f"the server did not start within {START_SECONDS:.0f} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, and its kernels with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def story(url: str, token: str) -> None:
    """Run the notebook, and tell what happens to its training."""
    # Our own look at it goes the way that any program would go.
    os.environ.update(FFDL_URL=url, FFDL_TOKEN=token)
    cells = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_bytes())["cells"]
        if cell["cell_type"] == "code"
    ]
    training_cell = next(n for n, text in enumerate(cells) if text.startswith("%%ffdl_train"))
    kernel = await Kernel.start(url, token)
    say(f"A kernel runs {NOTEBOOK.relative_to(ROOT)}")
    for source in cells[:training_cell]:
        await kernel.run(source)
    say("")
    for line in cells[training_cell].splitlines()[:1]:
        say(f"  {line}")
    sent = time.monotonic()
    shown = await kernel.run(cells[training_cell])
    views = [output for output in shown if "text/html" in output]
    if len(views) != 1 or len(shown) != 1:
        raise DemoError(f"the cell has {len(shown)} outputs, not one view")
    training = client.Training(views[0]["text/plain"].split()[1])
    say(f"Submitted after {time.monotonic() - sent:.1f} s: {training.id}, the cell is done")
    await asyncio.to_thread(follow, training)
    if training.status != "COMPLETED":
        raise DemoError(f"the training ended {training.status}: {training.sentence}")
    for source in cells[training_cell + 1 :]:
        await kernel.run(source)
    final = await kernel.final_view(views[0])
    if "Completed" not in final["text/plain"]:
        raise DemoError(f"the view below the cell ends with: {final['text/plain']}")
    results(training)
    await kernel.stop()


def follow(training: client.Training) -> None:
    """Print phases and the last lines of the log as they come, then the curve."""
    phase = ""
    lines: list[str] = []
    for message in training.follow(["status", "log"]):
        if message["type"] == "status":
            label = words.label(message["status"])
            if label != phase:
                phase = label
                say(f"  {label}")
        elif message["type"] == "log":
            lines += message["text"].splitlines()
            say(f"      {lines[-1]}", over=True)
    for line in lines[-LOG_LINES:]:
        say(f"      {line}")
    for series in training.scalars().series:
        say(
            f"  {series.tag:<22} {curve.letters(series.value, 25)}  "
            f"{words.number(series.value[0])} → {words.number(series.value[-1])}"
        )
    say(f"  {training!r}")


def results(training: client.Training) -> None:
    """Say where the results are."""
    files = training.results.list()
    if not files:
        raise DemoError("there are no results")
    say("")
    recorded = ("_submitted_code/", "learner-", "tb/", "training-log.txt", "evaluation-metrics.txt")
    for file in files:
        if not file.path.startswith(recorded):
            say(f"  {file.path} {words.size(file.size_bytes)}, beside the log, curves and code")
    found = sorted(DEMO.rglob(f"trainings/{training.id}/results"))
    if found:
        say(f"Its results: {found[0].relative_to(ROOT)}/")
    say(f"In a notebook:  %ffdl show {training.name}   %ffdl logs {training.name}")


class Kernel:
    """A kernel of the server, driven over its WebSocket as a browser does."""

    def __init__(self, url: str, token: str, session: dict[str, Any], socket_: Any) -> None:
        self._url = url
        self._token = token
        self._session = session
        self._socket = socket_
        self._views: dict[str, dict[str, str]] = {}

    @classmethod
    async def start(cls, url: str, token: str) -> Kernel:
        """Start a session of the notebook, which starts its kernel."""
        body = {"path": NOTEBOOK.name, "name": NOTEBOOK.name, "type": "notebook"}
        body["kernel"] = {"name": "python3"}  # type: ignore[assignment]
        session = call("POST", f"{url}/api/sessions", token, body)
        address = f"{url.replace('http', 'ws', 1)}/api/kernels/{session['kernel']['id']}/channels"
        request = HTTPRequest(address, headers={"Authorization": f"token {token}"})
        return cls(url, token, session, await websocket_connect(request))

    async def run(self, source: str) -> list[dict[str, str]]:
        """Run a cell and return the MIME bundles of its outputs."""
        message_id = uuid.uuid4().hex
        await self._socket.write_message(json.dumps(execute_request(message_id, source)))
        outputs: list[dict[str, str]] = []
        replied = idle = False
        while not (replied and idle):
            message = await self._receive()
            kind, content = message["msg_type"], message["content"]
            if message.get("parent_header", {}).get("msg_id") != message_id:
                continue
            if kind == "execute_reply":
                replied = True
                if content["status"] != "ok":
                    raise DemoError(f"a cell failed: {content.get('evalue')}\n{source}")
            elif kind == "status":
                idle = content["execution_state"] == "idle"
            elif kind in {"display_data", "execute_result"}:
                outputs.append({**content["data"], "id": display_id(content)})
            elif kind == "stream":
                outputs.append({"text/plain": content["text"]})
        return outputs

    async def final_view(self, view: dict[str, str]) -> dict[str, str]:
        """Return a view as it was last updated, once it tells of the end."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            latest = self._views.get(view["id"], view)
            if "Completed" in latest["text/plain"]:
                return latest
            await self._receive()
        return self._views.get(view["id"], view)

    async def stop(self) -> None:
        """End the session and its kernel."""
        self._socket.close()
        call("DELETE", f"{self._url}/api/sessions/{self._session['id']}", self._token)

    async def _receive(self) -> dict[str, Any]:
        try:
            text = await asyncio.wait_for(self._socket.read_message(), CELL_SECONDS)
        except asyncio.TimeoutError:
            raise DemoError(f"the kernel said nothing for {CELL_SECONDS:.0f} s") from None
        if text is None:
            raise DemoError("the kernel is gone")
        message: dict[str, Any] = json.loads(text)
        if message["msg_type"] == "update_display_data":
            self._views[display_id(message["content"])] = message["content"]["data"]
        return message


def execute_request(message_id: str, source: str) -> dict[str, Any]:
    """Return the message that runs a cell."""
    return {
        "header": {
            "msg_id": message_id,
            "msg_type": "execute_request",
            "username": "demo",
            "session": "demo",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {"cellId": message_id},
        "channel": "shell",
        "content": {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
    }


def display_id(content: dict[str, Any]) -> str:
    return str((content.get("transient") or {}).get("display_id", ""))


def call(method: str, url: str, token: str, body: Any = None) -> Any:
    """Return the JSON answer of Jupyter's REST API."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def say(text: str, *, over: bool = False) -> None:
    """Print a line; ``over``: in a terminal the next one takes its place."""
    terminal = sys.stdout.isatty()
    if over and not terminal:
        return
    clear = "\r\x1b[K" if terminal else ""
    print(f"{clear}{text}", end="" if over else "\n", flush=True)


if __name__ == "__main__":
    main()
