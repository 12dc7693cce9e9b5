"""Which extractor runs for a training, and on which files (FfDL contract §1.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jupyter_ffdl.trainingdata.record import Record
from jupyter_ffdl.watch import Watcher

from .eventdirs import EventTree
from .extractors.emetrics import EmetricsExtractor
from .extractors.regex import RegexExtractor
from .extractors.tensorboard import TensorBoardExtractor
from .logdir import EMETRICS_NAMES, LOG_NAMES, Input, Places, TextFiles, text_inputs


class Extractor(Protocol):
    """Reads what is new, and can say all it knows as plain JSON.

    ``catching_up``: what a killed process wrote after its checkpoint has not all been found again.
    """

    @property
    def catching_up(self) -> bool: ...

    def collect(self, *, final: bool = False) -> tuple[list[Record], bool]:
        """Return the records that are complete, and whether more can be read at once."""

    def due_in(self) -> float | None:
        """Return in how many seconds a record will be complete by time, None: not by time."""

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs."""


@dataclass(frozen=True)
class Surroundings:
    """What an extractor is made with: ``logs`` gives the logs of learners and of user code."""

    places: Places
    spec: Mapping[str, Any]
    logs: Callable[[], list[Input]]
    watcher: Watcher | None
    report: Callable[[str, str], None]
    monotonic: Callable[[], float]

    @property
    def learners(self) -> int:
        """How many learners there are."""
        return int(self.spec.get("learners", 1))


def make_extractor(
    around: Surroundings, state: Mapping[str, Any] | None, written: Iterable[Mapping[str, Any]]
) -> tuple[Extractor | None, EventTree | None]:
    """Return the extractor that the spec names, None for logs alone, and the tree it reads.

    ``state`` and ``written`` as for ``TensorBoardExtractor``.
    """
    metrics = around.spec.get("metrics") or {}
    extra = around.places.expand(metrics.get("in") or "")
    kind = metrics.get("kind")
    if kind == "tensorboard":
        roots = around.places.event_roots(around.spec, extra=extra)
        tree = EventTree(roots, around.watcher, around.monotonic)
        extractor = TensorBoardExtractor(
            tree,
            learners=around.learners,
            state=state,
            written=written,
            report=around.report,
            monotonic=around.monotonic,
        )
        return extractor, tree
    if kind == "regex":
        inputs = _regex_inputs(around, extra)
        found = RegexExtractor(metrics, inputs, state=state, written=written, report=around.report)
        return found, None
    if kind == "emetrics":
        inputs = _emetrics_inputs(around, extra)
        return EmetricsExtractor(inputs, state=state, written=written, report=around.report), None
    return None, None


def inherited(before: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return where the attempt before stopped reading: files outlive attempts in ``job``."""
    state = (before or {}).get("extractor") or {}
    groups = {path: dict(group) for path, group in state.get("groups", {}).items()}
    for group in groups.values():
        group.pop("open", None)
    return {**state, "groups": groups}


def _regex_inputs(around: Surroundings, extra: Path | None) -> Callable[[], list[Input]]:
    return lambda: [*around.logs(), *text_inputs(extra, LOG_NAMES)]


def _emetrics_inputs(around: Surroundings, extra: Path | None) -> Callable[[], list[Input]]:
    places = around.places
    users = TextFiles(places.logs, EMETRICS_NAMES, around.learners, places.folder / "attempts")
    return lambda: [*users.look(), *text_inputs(extra, EMETRICS_NAMES)]
