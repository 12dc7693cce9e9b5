"""``/v1/models``: submit a training, list them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..errors import BadInput, FfdlError
from ..training import Status
from .base import FfdlHandler
from .errors import WrongMediaType
from .multipart import boundary_of
from .upload import Upload

WRITE_BYTES = 1024 * 1024
"""Collected before the disk is troubled: one hop to a thread per MiB, not per packet."""

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
MAX_PAGE = 1000


class SubmissionHandler(FfdlHandler):
    """Takes a multipart submission: parts in any order, with or without a length."""

    upload: Upload | None = None

    async def prepare(self, **_: Any) -> None:
        """Get ready for the parts, once it is known who sends them."""
        await super().prepare()
        if self.request.method != "POST" or self._refusal is not None:
            return
        # Checked by ourselves: tornado's own answer to a long body is a bare 400.
        self.request.connection.set_max_body_size(1 << 62)  # type: ignore[union-attr]
        boundary = boundary_of(self.request.headers.get("Content-Type", ""))
        if boundary is None:
            self.turn_away(
                WrongMediaType(
                    "The body must be multipart/form-data",
                    hint="Send the parts manifest and model_definition as files",
                )
            )
            return
        limit = self.trainer.max_definition_bytes
        self.upload = Upload(boundary, self.ffdl.uploads, limit)

    async def data_received(self, chunk: bytes) -> None:
        """Take the next bytes; after a refusal the rest is dropped."""
        if self._refusal is not None:
            return
        self._received += chunk
        if self.upload is not None and len(self._received) >= WRITE_BYTES:
            try:
                await self._store()
            except FfdlError as error:
                self.refuse(error)

    async def _store(self) -> None:
        assert self.upload is not None
        chunk = bytes(self._received)
        self._received.clear()
        await asyncio.to_thread(self.upload.write, chunk)

    async def received(self) -> Upload:
        """Return the whole submission."""
        assert self.upload is not None
        await self._store()
        await asyncio.to_thread(self.upload.finish)
        return self.upload

    def checked_origin(self, upload: Upload) -> dict[str, Any] | None:
        """Return where the training came from, 400 where the part is not what it must be."""
        origin = upload.json_part("origin")
        if origin is not None:
            self.parsed(self.wire.Origin, origin, "origin")
        return origin

    def checked_context(self, upload: Upload) -> dict[str, Any] | None:
        """Return what the kernel says about itself; it is never shown."""
        context = upload.json_part("context")
        if context is not None:
            self.parsed(self.wire.Context, context, "context")
        return context

    def idempotency_key(self) -> str | None:
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise BadInput(
                "The header Idempotency-Key must be 1 to 200 printable ASCII characters",
                field="Idempotency-Key",
            )
        return key

    def on_finish(self) -> None:
        """Remove what was uploaded, however the request ended."""
        super().on_finish()
        self._discard()

    def on_connection_close(self) -> None:
        """Remove what was uploaded by a client that went away."""
        incomplete = not self.request._body_future.done()  # noqa: SLF001
        super().on_connection_close()
        if incomplete:  # else the trainer is reading it, and the verb's end removes it
            self._discard()

    def _discard(self) -> None:
        upload, self.upload = self.upload, None
        if upload is not None:
            asyncio.get_running_loop().run_in_executor(None, upload.close)


class ModelsHandler(SubmissionHandler):
    """Every training of the owner."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List trainings; without parameters exactly FfDL's answer, newest first."""
        status = self.choice("status", ["", *(s.value for s in Status)], "")
        token = self.text("page_token") or None
        limit = self.number("limit", 0, minimum=0, maximum=MAX_PAGE)
        models, following = await self.call(
            self.trainer.models,
            self.owner,
            status=status or None,
            name=self.text("name") or None,
            limit=limit or (MAX_PAGE if token else None),
            page_token=token,
            sort=self.text("sort") or "-submitted",
            archived=self.flag("archived") if self.text("archived") else None,
        )
        self.reply({"models": models, **({"next_page_token": following} if following else {})})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make a submission a training; the answer does not wait for its start."""
        upload = await self.received()
        assert upload.code is not None
        accepted = await self.call(
            self.trainer.submit,
            upload.manifest,
            upload.code,
            owner=self.owner,
            origin=self.checked_origin(upload),
            context=self.checked_context(upload),
            idempotency_key=self.idempotency_key(),
        )
        self.reply_accepted(accepted)


class PlansHandler(SubmissionHandler):
    """What a submission would check and create; nothing is created."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer the plan of a submission."""
        upload = await self.received()
        plan = await self.call(
            self.trainer.plan,
            upload.manifest,
            upload.code if upload.code_bytes else None,
            owner=self.owner,
            origin=self.checked_origin(upload),
            context=self.checked_context(upload),
        )
        self.reply(plan)
