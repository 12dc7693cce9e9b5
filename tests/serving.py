"""Real servers for tests, and a client that sends exactly what it is told."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websocket

TOKEN = "token-of-the-tests"
START_SECONDS = 90.0
"""Two seconds on a quiet machine; one that runs other tests needs far more."""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Server:
    """A Jupyter server with our extension, or ``jupyter ffdl``, as a process of its own."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        standalone: bool = False,
        base: str = "/",
        token: str = TOKEN,
        env: Mapping[str, str] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.home = home
        self.base = base
        self.token = token
        self.state_dir = state_dir or home / "state"
        self.port = free_port()
        self.log = home / f"server-{self.port}.log"
        self.runtime = home / "runtime"
        self.sockets: list[Any] = []
        home.mkdir(parents=True, exist_ok=True)
        common = [
            "--allow-root",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.base_url={base}",
            f"--FfdlApp.state_dir={self.state_dir}",
        ]
        program = (
            ["jupyter_ffdl.api.standalone"]
            if standalone
            else [
                "jupyter_server",
                "--no-browser",
                "--ServerApp.jpserver_extensions={'jupyter_ffdl': True}",
                f"--ServerApp.root_dir={home}",
            ]
        )
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY"))},
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_NO_CONFIG": "1",
            "JUPYTER_TOKEN": token,
            **(env or {}),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *program, *common, *arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=home,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def record_path(self) -> Path:
        return self.runtime / f"ffdl-server-{self.process.pid}.json"

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.record_path.read_bytes())

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def _wait(self) -> None:
        until(
            lambda: self.record_path.exists() or self.process.poll() is not None,
            seconds=START_SECONDS,
        )
        assert self.process.poll() is None, self.log.read_text()
        until(self._answers, seconds=START_SECONDS)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.request("GET", "health", login=False).status == 200
        return False

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def path(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.base}ffdl/{path}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        login: bool = True,
        chunked: bool = False,
    ) -> Answer:
        connection = self.connect()
        try:
            content = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            sent = {**(self.authorization if login else {}), **(headers or {})}
            if chunked:
                sent["Transfer-Encoding"] = "chunked"
            connection.request(method, self.path(path), content, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self.request("GET", path, **kwargs)

    def submit(
        self,
        script: str | Mapping[str, str],
        *,
        manifest: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> str:
        """Submit a Python script (as train.py), or files, and return the training's id."""
        files = {"train.py": script} if isinstance(script, str) else script
        parts = submission(manifest or MANIFEST, zip_of(files), **more)
        answer = self.post(parts, headers=headers)
        assert answer.status == 201, answer.text
        return str(answer.json["model_id"])

    def post(
        self, parts: list[Part], path: str = "v1/models", headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = multipart(parts)
        sent = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})}
        return self.request("POST", path, body, sent)

    def status(self, training_id: str) -> dict[str, Any]:
        model = self.get(f"v1/models/{training_id}").json
        return dict(model["training"]["training_status"])

    def wait(self, training_id: str, *, seconds: float = 30.0) -> str:
        """Wait for the end and return the final status."""
        until(lambda: "completed" in self.status(training_id), seconds=seconds)
        return str(self.status(training_id)["status"])

    def wait_for(self, training_id: str, status: str, *, seconds: float = 20.0) -> None:
        until(lambda: self.status(training_id)["status"] == status, seconds=seconds)

    def lines(self, path: str, **kwargs: Any) -> list[dict[str, Any]]:
        """Return the messages of a stream of JSON lines, to its end."""
        answer = self.get(path, **kwargs)
        assert answer.status == 200, answer.text
        return [json.loads(line) for line in answer.body.splitlines()]

    def socket(self, path: str, headers: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        sent = self.authorization if headers is None else dict(headers)
        connection = websocket.create_connection(
            f"ws://127.0.0.1:{self.port}{self.path(path)}",
            header=[f"{name}: {value}" for name, value in sent.items()],
            timeout=30,
            **kwargs,
        )
        self.sockets.append(connection)
        return connection

    def close_sockets(self) -> None:
        while self.sockets:
            connection = self.sockets.pop()
            connection.close()
            connection.shutdown()  # after the server's own close, `close` does nothing

    def stop(self, how: int = signal.SIGTERM) -> None:
        self.close_sockets()
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Part:
    """One part of a multipart body."""

    name: str
    content: bytes
    filename: str | None = "part"


BOUNDARY = "boundary-of-the-tests"
MANIFEST = """\
name: demo
framework:
  name: custom
  version: python
  command: python -u train.py
"""


def multipart(parts: list[Part], boundary: str = BOUNDARY) -> bytes:
    body = b""
    for part in parts:
        filename = f'; filename="{part.filename}"' if part.filename is not None else ""
        body += (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{part.name}"{filename}\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body += part.content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def submission(manifest: str, code: bytes, **more: Any) -> list[Part]:
    parts = [Part("manifest", manifest.encode()), Part("model_definition", code)]
    return parts + [Part(name, json.dumps(value).encode(), None) for name, value in more.items()]


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Any, *, seconds: float = 10.0, pause: float = 0.05) -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(pause)


@contextlib.contextmanager
def serving(home: Path, *arguments: str, **kwargs: Any) -> Iterator[Server]:
    server = Server(home, *arguments, **kwargs)
    try:
        yield server
    finally:
        server.stop()
