"""``/health``, ``/swagger.json``, ``/docs``: whether it is up, and what it can do."""

from __future__ import annotations

import asyncio
import html
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from tornado import web

from .base import JSON, TEXT, FfdlHandler, to_json


class HealthHandler(FfdlHandler):
    """Whether the server is up; open to everybody, tells nothing else."""

    needs_ready = False

    @allow_unauthenticated
    async def get(self) -> None:
        """Answer OK."""
        self.set_header("Content-Type", TEXT)
        self.finish("OK")


class SwaggerHandler(FfdlHandler):
    """The API's description for programs."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer the OpenAPI document."""
        self.set_header("Content-Type", JSON)
        self.finish(await asyncio.to_thread(_document))


class DocsHandler(FfdlHandler):
    """The API's description for people: one page, nothing loaded from elsewhere."""

    @property
    def content_security_policy(self) -> str:
        """Allow the page's own style."""
        return super().content_security_policy + "; style-src 'unsafe-inline'"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer the page."""
        page = await asyncio.to_thread(_page)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(page)


def _document() -> bytes:
    from .openapi import document  # noqa: PLC0415  (pydantic)

    return to_json(document())


def _page() -> str:
    from .openapi import document  # noqa: PLC0415  (pydantic)

    described = document()
    rows = "".join(
        _row(path, method, operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    )
    info = described["info"]
    return _TEMPLATE.format(
        title=html.escape(info["title"]), version=html.escape(info["version"]), rows=rows
    )


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{html.escape(p['name'])}</code> {html.escape(p['description'])}</li>"
        for p in operation.get("parameters", ())
    )
    more = html.escape(operation.get("description", ""))
    return (
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}<br>{more}<ul>{parameters}</ul></td></tr>\n"
    )


_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-top: 1px solid #8888; padding: .4em .6em; vertical-align: top }}
ul {{ margin: .3em 0 0; padding-left: 1.2em }}
:root {{ color-scheme: light dark }}
</style></head><body>
<h1>{title} {version}</h1>
<p>All paths are below this server's <code>ffdl/</code>. For programs:
<a href="swagger.json">swagger.json</a> (OpenAPI 3.1). Errors have the shape of the schema
<code>Error</code> there; stream messages are <code>ClientMessage</code> and
<code>ServerMessage</code>.</p>
<p>Log in as everywhere in Jupyter, or send <code>Authorization: token …</code>. The original FfDL
command line: <code>DLAAS_URL</code> is this address without <code>/docs</code>,
<code>DLAAS_PASSWORD</code> the token, <code>DLAAS_USERNAME</code> anything.</p>
<table>
{rows}</table></body></html>
"""
