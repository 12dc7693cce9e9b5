"""The OpenAPI description, generated from the routes and the wire models.

``python -m jupyter_ffdl.api.openapi`` prints it; the same code always prints the same text.
"""

from __future__ import annotations

import json
import re
import sys
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .. import __version__
from . import wire
from .base import JSON
from .routes import ROUTES, Operation, Parameter, Route

_REF = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """Return the description as JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter_ffdl",
            "version": __version__,
            "description": "FfDL's REST API and its additions, below `<base_url>ffdl/`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "Relative to this document"}],
        "security": [{"token": []}, {"basic": []}, {"cookie": []}],
        "paths": {f"/{route.path}": _path(route) for route in ROUTES},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token TOKEN`: Jupyter's token, or the server's own secret",
                },
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Any user, the token as password",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "username-HOST-PORT",
                    "description": "Jupyter's login; changes also need X-XSRFToken",
                },
            },
        },
    }


def _path(route: Route) -> dict[str, Any]:
    path: dict[str, Any] = {}
    arguments = re.findall(r"\{(\w+)\}", route.path)
    if arguments:
        path["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in arguments
        ]
    for operation in route.operations:
        path[operation.method.lower()] = _operation(route, operation)
    return path


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(route, operation),
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.socket:
        described["description"] = f"Over a WebSocket: {operation.socket}"
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body:
        content = {operation.body_type: {"schema": {"$ref": _REF.format(model=operation.body)}}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.open:
        described["security"] = []
    return described


def _operation_id(route: Route, operation: Operation) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", route.path.removeprefix("v1/")) if word]
    return operation.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.type}
    if parameter.enum:
        schema["enum"] = list(parameter.enum)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    success = {"description": operation.summary, "content": _content(operation.answer)}
    responses: dict[str, Any] = {str(operation.status): success}
    if operation.method == "PATCH":
        responses["200"] = success
    errors = operation.errors if operation.open else (401, 403, *operation.errors)
    for status in sorted(errors):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": _content("Error"),
        }
    return dict(sorted(responses.items()))


def _content(answer: str) -> dict[str, Any]:
    if answer == "object":
        return {JSON: {"schema": {"type": "object"}}}
    if "/" in answer:
        return {answer: {"schema": {"type": "string"}}}
    return {JSON: {"schema": {"$ref": _REF.format(model=answer)}}}


def _schemas() -> dict[str, Any]:
    models: list[type[BaseModel]] = [getattr(wire, name) for name in wire.__all__ if name != "Wire"]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return {name: schemas[name] for name in sorted(schemas)}


def text() -> str:
    """Return the description as it is printed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
