"""``/v1/models/{id}``: one training, and what the views show of it."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..errors import BadInput, NotFound
from .base import TEXT, FfdlHandler


class ModelHandler(FfdlHandler):
    """One training: show, halt or archive, delete."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Show a training as Model JSON."""
        self.reply(await self.call(self.trainer.model, self.training_id(training_id), self.owner))

    @web.authenticated
    @authorized
    async def patch(self, training_id: str) -> None:
        """Halt a training (answered at once), or set what a person set: archived."""
        body = self.json_body()
        if "status" not in body and "archived" in body:
            await self._archive(training_id, body)
            return
        if body.get("status") != "halt":
            raise BadInput(
                "Bad request",
                description="status parameter has incorrect value",
                field="status",
                hint='Send {"status": "halt"}',
            )
        await self.call(self.trainer.halt, self.training_id(training_id), self.owner, by=self.asker)
        self.reply({"model_id": training_id}, status=202)

    async def _archive(self, training_id: str, body: dict[str, Any]) -> None:
        change = self.parsed(self.wire.ArchiveRequest, body)
        known = self.training_id(training_id)
        await self.call(self.trainer.archive, known, self.owner, archived=change.archived)
        self.reply({"model_id": training_id})

    @web.authenticated
    @authorized
    async def delete(self, training_id: str) -> None:
        """Delete a training; a running one is halted first."""
        results = self.flag("delete_results")
        await self.call(
            self.trainer.delete, self.training_id(training_id), self.owner, results=results
        )
        self.reply({"model_id": training_id})


class TimelineHandler(FfdlHandler):
    """What happened to one training, oldest first."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer statuses and events together."""
        events = await self.call(self.trainer.timeline, self.training_id(training_id), self.owner)
        self.reply({"events": events})


class VerdictHandler(FfdlHandler):
    """Why one training ended."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer the verdict; null while the training has not ended."""
        verdict = await self.call(self.trainer.verdict, self.training_id(training_id), self.owner)
        self.reply({"verdict": verdict})


class ManifestHandler(FfdlHandler):
    """The manifest of one training."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer its text as it was submitted, secrets masked."""
        text = await self.call(
            self.trainer.manifest_text, self.training_id(training_id), self.owner
        )
        self.set_header("Content-Type", TEXT)
        self.finish(text)


class SourceHandler(FfdlHandler):
    """What one training was made of."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer the files of the snapshot and where it came from."""
        self.reply(await self.call(self.trainer.source, self.training_id(training_id), self.owner))


class RerunHandler(FfdlHandler):
    """A new training from a stored snapshot."""

    @web.authenticated
    @authorized
    async def post(self, training_id: str) -> None:
        """Submit the snapshot again, with changes to its manifest."""
        request = self.parsed(self.wire.RerunRequest, self.json_body())
        accepted = await self.call(
            self.trainer.rerun,
            self.training_id(training_id),
            self.owner,
            request.changes,
            context=request.context.model_dump(exclude_unset=True) if request.context else None,
        )
        self.reply_accepted(accepted)


class StacksHandler(FfdlHandler):
    """What the threads of a running training do now."""

    @web.authenticated
    @authorized
    async def post(self, training_id: str) -> None:
        """Ask every interpreter of the learners that can answer."""
        request = self.parsed(self.wire.StacksRequest, self.json_body())
        stacks = await self.call(
            self.trainer.stacks,
            self.training_id(training_id),
            self.owner,
            wait_seconds=request.wait_seconds,
        )
        self.reply({"stacks": stacks})


class CapabilitiesHandler(FfdlHandler):
    """What works on this server."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer backends, what each lacks, defaults and limits."""
        self.reply(await self.call(self.trainer.capabilities))


def not_found(what: str) -> NotFound:
    """Return the 404 for a part of a training that is not there."""
    return NotFound("Not found", description=what)
