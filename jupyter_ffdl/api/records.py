"""``/v1/logs/{id}/…`` and ``/v1/models/{id}/scalars``: records by pages and columns."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..errors import BadInput, BadParameter
from .base import FfdlHandler

MAX_PAGE = 10_000


class PageHandler(FfdlHandler):
    """A page of records by FfDL's parameters (contract §2.6)."""

    def reader(self, training_id: str) -> Any:
        """Return the blocking function that reads a page."""
        raise NotImplementedError

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer a page."""
        self._check_search()
        known = self.training_id(training_id)
        folder = await self.call(self.trainer.folder, known, self.owner)
        page = await self.call(
            self.reader(known),
            folder.root,
            pos=self.number("pos", 0),
            pagesize=self.number("pagesize", 10),
            since=self.since(),
            subid=self.get_query_argument("subid", None),
        )
        self.reply({"models": page})

    def _check_search(self) -> None:
        if self.choice("searchType", ("TERM", "NESTED", "MATCH"), "TERM") != "TERM":
            raise BadInput("search type not supported", field="searchType", hint="Use TERM")


class LoglinesHandler(PageHandler):
    """Lines of a training's log."""

    def reader(self, training_id: str) -> Any:
        """Read log lines."""
        from ..trainingdata.lines import loglines  # noqa: PLC0415  (numpy)

        return lambda folder, **page: loglines(folder, training_id, **page)


class EmetricsHandler(PageHandler):
    """A training's emetrics records."""

    def reader(self, training_id: str) -> Any:
        """Read emetrics records."""
        from ..trainingdata.emetrics import emetrics  # noqa: PLC0415  (numpy)

        return emetrics


class ScalarsHandler(FfdlHandler):
    """A training's scalars as columns."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Answer the curves of one attempt."""
        from ..trainingdata.series import read_scalars  # noqa: PLC0415  (numpy)

        folder = await self.call(self.trainer.folder, self.training_id(training_id), self.owner)
        options = self._options()
        self.reply(await self.call(lambda: _answer(read_scalars(folder.root, **options))))

    def _options(self) -> dict[str, Any]:
        tags = [tag for text in self.get_query_arguments("tags") for tag in text.split(",") if tag]
        points = self.number("max_points", 1000, minimum=0)
        return {
            "attempt": self.number("attempt", 0, minimum=1) or None,
            "learner": self.number("learner", 0, minimum=1) or None,
            "tags": tags or None,
            "max_points": points or None,
            "since": self._since(),
            "steps": self._steps(),
        }

    def _steps(self) -> tuple[float, float] | None:
        low, high = self.real("from_step"), self.real("to_step")
        if low is None and high is None:
            return None
        return (float("-inf") if low is None else low, float("inf") if high is None else high)

    def _since(self) -> list[dict[str, int]]:
        text = self.text("since")
        try:
            given = json.loads(text) if text else []
            return cursors(given)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadParameter(
                "since in query must be the JSON cursor of an earlier answer",
                code="601",
                field="since",
            ) from None


def cursors(given: Any) -> list[dict[str, int]]:
    """Return one cursor per learner for a cursor, a list of them, or one with ``others``."""
    found = []
    for cursor in given if isinstance(given, list) else [given]:
        attempt = int(cursor.get("attempt", 1))
        rows = {**cursor.get("others", {}), str(cursor.get("learner", 1)): cursor["row"]}
        found += [
            {"attempt": attempt, "learner": int(learner), "row": max(0, int(row))}
            for learner, row in rows.items()
        ]
    return found


def _answer(scalars: Any) -> dict[str, Any]:
    answer: dict[str, Any] = scalars.to_json()
    first, *others = answer["cursors"] or [{"attempt": answer["attempt"], "learner": 1, "row": 0}]
    answer["cursor"] = {**first, "others": {str(c["learner"]): c["row"] for c in others}}
    return answer
