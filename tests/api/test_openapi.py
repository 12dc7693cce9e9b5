"""The description is whole, and answers are what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from jupyter_ffdl.api import openapi, wire
from jupyter_ffdl.api.routes import ROUTES, handlers
from serving import MANIFEST, submission, zip_of

DOCUMENT = openapi.document()
CODE = zip_of({"train.py": "print('hello')"})


def test_the_description_is_valid():
    validate(DOCUMENT)


def test_it_is_printed_the_same_every_time():
    command = [sys.executable, "-m", "jupyter_ffdl.api.openapi"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert printed == openapi.text().encode()


def test_every_route_of_the_server_is_described():
    described = {
        "/ffdl" + re.escape(path).replace(r"\{id\}", "([^/]+)").replace(r"\{path\}", "(.+)")
        for path in DOCUMENT["paths"]
    }
    served = {pattern for pattern, _ in handlers()[:-1]}
    assert {pattern.replace("\\", "") for pattern in served} == {
        pattern.replace("\\", "") for pattern in described
    }


def test_every_verb_of_a_handler_is_described():
    from tornado.web import RequestHandler

    for route in ROUTES:
        verbs = {
            verb
            for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
            if getattr(route.handler, verb.lower()) is not RequestHandler._unimplemented_method
        }
        assert verbs == {operation.method for operation in route.operations}, route.path


def test_stream_messages_are_components():
    schemas = DOCUMENT["components"]["schemas"]
    assert {"ClientMessage", "ServerMessage", "LogMessage", "Error"} <= set(schemas)


def undocumented(model: type[BaseModel], value: object) -> None:
    """Check that ``value`` is a ``model`` and has no field that its description lacks."""
    model.model_validate(value, extra="forbid", by_alias=True)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("v1/models", wire.Models),
        ("v1/models?limit=1", wire.Models),
        ("v1/models/{id}", wire.Model),
        ("v1/models/{id}/timeline", wire.Timeline),
        ("v1/models/{id}/verdict", wire.VerdictAnswer),
        ("v1/models/{id}/source", wire.Source),
        ("v1/models/{id}/results", wire.Results),
        ("v1/models/{id}/results?limit=1", wire.Results),
        ("v1/models/{id}/scalars", wire.Scalars),
        ("v1/logs/{id}/loglines", wire.LogLines),
        ("v1/logs/{id}/emetrics", wire.EMetricsPage),
        ("v1/models/training-unknownunknown", wire.Error),
        ("v1/models?status=NOPE", wire.Error),
        ("v1/nothing", wire.Error),
    ],
)
def test_answers_are_as_described(server, finished, path, model):
    answer = server.get(path.replace("{id}", finished))
    assert answer.headers["Content-Type"] == "application/json"
    undocumented(model, answer.json)


def test_the_answers_of_what_changes_are_as_described(server, finished):
    accepted = server.post(submission(MANIFEST, CODE))
    undocumented(wire.Accepted, accepted.json)
    training_id = accepted.json["model_id"]
    undocumented(wire.Plan, server.post(submission(MANIFEST, CODE), "v1/plans").json)
    undocumented(wire.Plan, server.post(submission("name: x", CODE), "v1/plans").json)
    archived = server.request("PATCH", f"v1/models/{finished}", {"archived": False})
    undocumented(wire.ModelId, archived.json)
    server.wait(training_id)
    undocumented(wire.ModelId, server.request("DELETE", f"v1/models/{training_id}").json)


def test_what_works_here_is_as_described(server):
    capabilities = wire.Capabilities.model_validate(server.get("v1/capabilities").json)
    assert [backend.name for backend in capabilities.backends] == ["local"]


def test_every_message_of_a_stream_is_as_described(server, finished):
    path = f"v1/models/{finished}/stream?channels=status,log,row,scalars"
    messages = server.lines(path)
    for message in messages:
        undocumented(wire.ServerMessage, message)
    assert {message["type"] for message in messages} == {"status", "log", "row", "scalars", "end"}


def test_the_pages_about_the_api(server):
    assert server.get("swagger.json").json == json.loads(openapi.text())
    page = server.get("docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for path in DOCUMENT["paths"]:
        assert path in page.text
    assert "://" not in page.text.replace("http://www.w3.org", "")
