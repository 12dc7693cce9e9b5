"""What can go wrong, in one hierarchy.

Errors are raised in the core and turned into a form for people exactly three times: into HTTP
(``api/errors.py``), into a ``UsageError`` of the magics, into exit codes of the command line.
"""

from __future__ import annotations


class FfdlError(Exception):
    """Something failed, said so that a person can act on it.

    ``message``: what happened, one sentence without a full stop (the old command line adds one).
    ``hint``: what to do about it. ``code``: FfDL's code (contract §4.3), ``field`` and ``line``
    (from 1): where in the manifest, if it is about one.
    """

    http_status = 500

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        field: str = "",
        line: int | None = None,
        description: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.field = field
        self.line = line
        self.description = description

    def __str__(self) -> str:
        named = self.line is None or f"line {self.line}" in self.message
        where = "" if named else f" (line {self.line})"
        hint = f". {self.hint}" if self.hint else ""
        return f"{self.message}{where}{hint}"


class BadInput(FfdlError):
    """The caller's input cannot be used; nothing was created."""

    http_status = 400


class Refused(FfdlError):
    """The input is right, but a quota or a limit refuses it (FfDL: HTTP 400, code 429)."""

    http_status = 400


class NotFound(FfdlError):
    """No such training, path or learner, or it belongs to somebody else."""

    http_status = 404


class Conflict(FfdlError):
    """The training's status does not allow what was asked."""

    http_status = 409


class BadParameter(FfdlError):
    """A query parameter has the wrong type (``601``) or is not in its list (``606``)."""

    http_status = 422


class TooLarge(FfdlError):
    """The upload is over its limit."""

    http_status = 413


class Unavailable(FfdlError):
    """Something we depend on does not answer now; trying again may help."""

    http_status = 503
