"""Errors as HTTP: the one place that turns what happened into an answer (FfDL contract §2.2)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tornado import web

from ..errors import (
    BadInput,
    BadParameter,
    Conflict,
    FfdlError,
    NotFound,
    Refused,
    TooLarge,
)

# FfDL's go-swagger layer had the text of these in `message`; its clients look there.
WITH_MESSAGE = frozenset({404, 405, 413, 415, 422})


class NotLoggedIn(FfdlError):
    """Nobody, or somebody with a wrong credential."""

    http_status = 401


class Forbidden(FfdlError):
    """Known, but this is not allowed: the authorizer, the XSRF check or the origin says no."""

    http_status = 403


class WrongMethod(FfdlError):
    """The path exists, the method does not."""

    http_status = 405


class WrongMediaType(FfdlError):
    """The body is not of the type that this path takes."""

    http_status = 415


class RangeNotSatisfiable(FfdlError):
    """The file ends before the range begins."""

    http_status = 416


@dataclass(frozen=True)
class Answer:
    """An error as HTTP. ``incident`` is set where the fault is ours and the log has more."""

    status: int
    body: dict[str, Any]
    incident: str = ""


def answer_for(error: BaseException) -> Answer:
    """Return what the caller sees of ``error``: never a stack trace."""
    if isinstance(error, FfdlError):
        return _known(error)
    if isinstance(error, web.HTTPError) and error.status_code < 500:
        return _known(_from_tornado(error))
    incident = uuid.uuid4().hex[:12]
    body = {
        "code": 500,
        "description": f"incident {incident}",
        "error": "Internal server error",
        "hint": "The server's log has the details beside this incident id",
    }
    return Answer(500, body, incident=incident)


def _known(error: FfdlError) -> Answer:
    code, text, description, error_code = error.http_status, error.message, error.description, ""
    if isinstance(error, Refused):
        code, description = 429, description or error.message
    elif isinstance(error, BadParameter):
        code = int(error.code) if error.code.isdigit() else 601
    elif isinstance(error, NotFound):
        text, description = "Not found", description or _unless("Not found", error.message)
    elif isinstance(error, Conflict):
        text, description = "Conflict", description or _unless("Conflict", error.message)
    if not isinstance(error, BadParameter):
        error_code = error.code
    body = {
        "code": code,
        "description": description,
        "error": text,
        "field": error.field,
        "line": error.line,
        "hint": error.hint,
        "error_code": error_code,
    }
    if error.http_status in WITH_MESSAGE:
        body["message"] = description or text
    return Answer(error.http_status, {key: value for key, value in body.items() if value})


def _unless(known: str, text: str) -> str:
    return "" if text == known else text


def _from_tornado(error: web.HTTPError) -> FfdlError:
    """Return our error for one that tornado or Jupyter raised."""
    message = error.get_message() or error.reason or HTTPStatus(error.status_code).phrase
    kind = {
        400: BadInput,
        401: NotLoggedIn,
        403: Forbidden,
        404: NotFound,
        405: WrongMethod,
        413: TooLarge,
        415: WrongMediaType,
    }.get(error.status_code, BadInput)
    return kind(message)
