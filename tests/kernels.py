"""Real kernels, started by a Jupyter server and driven over its WebSocket as a browser does."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import websocket

from serving import Server

SECONDS = 60.0


@dataclass
class Ran:
    """What a cell left: its outputs in order, streams joined, and its error."""

    displayed: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""
    warned: str = ""
    error: str = ""
    traceback: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return len(self.displayed) + bool(self.printed) + bool(self.warned)

    @property
    def view(self) -> dict[str, Any]:
        (one,) = self.displayed
        return one

    @property
    def training_id(self) -> str:
        text = self.view["text/plain"] if self.displayed else self.printed
        return next(word for word in text.split() if word.startswith("training-"))


class Kernel:
    """One kernel of a server, with its session and socket."""

    def __init__(
        self, server: Server, notebook: str = "demo.ipynb", headers: Mapping[str, str] | None = None
    ) -> None:
        self.server = server
        self.headers = dict(server.authorization if headers is None else headers)
        body = {
            "path": notebook,
            "name": notebook.rpartition("/")[2],
            "type": "notebook",
            "kernel": {"name": "python3"},
        }
        answer = server.request(
            "POST", f"{server.base}api/sessions", body, self.headers, login=False
        )
        assert answer.status == 201, answer.text
        self.session = answer.json
        self.id = self.session["kernel"]["id"]
        self.updates: dict[str, list[dict[str, Any]]] = {}
        self.socket = websocket.create_connection(
            f"ws://127.0.0.1:{server.port}{server.base}api/kernels/{self.id}/channels",
            header=[f"{name}: {value}" for name, value in self.headers.items()],
            timeout=SECONDS,
        )

    def send(self, kind: str, content: Mapping[str, Any]) -> str:
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": kind, "username": "", "session": "tests"}
        message = {
            "header": {**header, "version": "5.3"},
            "parent_header": {},
            "metadata": {"cellId": f"cell-{message_id[:8]}"},
            "channel": "shell",
            "content": dict(content),
        }
        self.socket.send(json.dumps(message))
        return message_id

    def execute(self, source: str) -> str:
        """Begin to run a cell and return the message's id."""
        return self.send(
            "execute_request",
            {
                "code": source,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )

    def run(self, source: str, *, seconds: float = SECONDS) -> Ran:
        return self.finish(self.execute(source), seconds=seconds)

    def finish(self, message_id: str, *, seconds: float = SECONDS) -> Ran:
        """Wait for a cell's end and return what it left."""
        ran, replied, idle = Ran(), False, False
        deadline = time.monotonic() + seconds
        while not (replied and idle):
            message = self.receive(deadline)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "execute_reply":
                replied = True
            elif kind == "status":
                idle = content["execution_state"] == "idle"
            elif kind in {"display_data", "execute_result"}:
                transient = content.get("transient") or {}
                ran.displayed.append({**content["data"], "id": transient.get("display_id")})
            elif kind == "stream" and content["name"] == "stdout":
                ran.printed += content["text"]
            elif kind == "stream":
                ran.warned += content["text"]
            elif kind == "error":
                ran.error = f"{content['ename']}: {content['evalue']}"
                ran.traceback = content["traceback"]
        return ran

    def ok(self, source: str, *, seconds: float = SECONDS) -> Ran:
        """Run a cell that must not fail."""
        ran = self.run(source, seconds=seconds)
        assert not ran.error, (ran.error, ran.traceback)
        return ran

    def complete(self, line: str) -> list[str]:
        """Return what Tab offers at the end of a line."""
        message_id = self.send("complete_request", {"code": line, "cursor_pos": len(line)})
        while True:
            message = self.receive(time.monotonic() + SECONDS)
            if message["msg_type"] == "complete_reply":
                assert message["parent_header"]["msg_id"] == message_id
                return list(message["content"]["matches"])

    def last(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Return the latest update of a view, or what was published first."""
        return (self.updates.get(view["id"]) or [dict(view)])[-1]

    def until(self, view: Mapping[str, Any], text: str, *, seconds: float = 30.0) -> dict[str, Any]:
        """Wait, the kernel being idle, until a view's text holds ``text``; return it."""
        deadline = time.monotonic() + seconds
        while text not in self.last(view)["text/plain"]:
            assert time.monotonic() < deadline, self.last(view)["text/plain"]
            self.receive(deadline)
        return self.last(view)

    def receive(self, deadline: float) -> dict[str, Any]:
        self.socket.settimeout(max(deadline - time.monotonic(), 0.01))
        message: dict[str, Any] = json.loads(self.socket.recv())
        if message["msg_type"] == "update_display_data":
            content = message["content"]
            updates = self.updates.setdefault(content["transient"]["display_id"], [])
            updates.append({**content["data"], "at": time.monotonic()})
        return message

    def interrupt(self) -> None:
        path = f"{self.server.base}api/kernels/{self.id}/interrupt"
        self.server.request("POST", path, None, self.headers, login=False)

    def stop(self) -> None:
        self.socket.close()
        path = f"{self.server.base}api/sessions/{self.session['id']}"
        self.server.request("DELETE", path, None, self.headers, login=False)
