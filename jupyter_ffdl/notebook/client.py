"""Trainings as Python objects: submit, watch, halt, fetch.

The magics are a thin layer over this; everything works without a notebook.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Conflict, FfdlError, NotFound
from ..training import TERMINAL, Status
from . import words
from .connection import ServiceError, lines, new_key
from .results import Results
from .scalars import Scalars
from .service import Service, failure
from .state import State

if TYPE_CHECKING:
    from .plan import Plan

FRESH_SECONDS = 1.0
"""A status is at most this old."""

_TERMINAL = frozenset(status.value for status in TERMINAL)


class TrainingFailed(FfdlError):
    """A training that was waited for with ``check=True`` did not complete."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.verdict = training.verdict
        sentence = training.sentence or f"{training.name} ended {training.status}"
        super().__init__(sentence, hint=f"See Training('{training.id}')")

    def _render_traceback_(self) -> list[str]:
        return [f"TrainingFailed: {self}"]


class StillRunning(TimeoutError):
    """What was waited for has not ended in time; it goes on."""

    def _render_traceback_(self) -> list[str]:
        return [f"TimeoutError: {self}"]


class Training:
    """One training, known by its id. Reading never changes it."""

    def __init__(
        self,
        training_id: str,
        *,
        service: Service | None = None,
        model: Mapping[str, Any] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.id = str(training_id)
        self.warnings = list(warnings)
        self.service = service or default_service()
        self._lock = threading.Lock()
        self._model: dict[str, Any] | None = None
        self._model_at = 0.0
        self._head: dict[str, Any] = {}
        self._final: State | None = None
        self.hide_once = False
        """Whether the display hook must not show it again: its view is published already."""
        if model is not None:
            self._learn(model)

    # What it is

    @property
    def name(self) -> str:
        """The name as submitted."""
        return str((self._model or self._fresh()).get("name", ""))

    @property
    def number(self) -> int:
        """Which of the trainings of this name it is, from 1."""
        return int(self._row().get("number") or 1)

    @property
    def parent(self) -> Training | None:
        """The training that this one repeats, or None."""
        parent = self._row().get("parent")
        return Training(parent, service=self.service) if parent else None

    @property
    def notebook(self) -> str | None:
        """The notebook it was submitted from, or None."""
        return self._row().get("notebook")

    @property
    def info(self) -> dict[str, Any]:
        """Everything the service tells about it (the Model of FfDL's API)."""
        return self._fresh()

    @property
    def manifest(self) -> str:
        """The manifest as it was submitted, secrets masked."""
        with self.service.connection.open(self._path("/manifest")) as answer:
            return answer.read().decode()

    def source(self) -> dict[str, Any]:
        """Return the snapshot: ``files`` with their text, and ``origin``, where they came from."""
        return dict(self.service.get(self._path("/source")))

    # Where it is

    @property
    def status(self) -> str:
        """FfDL's status, at most 1 s old; a terminal one never changes."""
        return str(_status(self._fresh()).get("status", "NOT_STARTED"))

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.status in _TERMINAL

    @property
    def verdict(self) -> dict[str, Any] | None:
        """Why it ended: sentence, cell and line, remedy; None while it has not."""
        if self.status in _TERMINAL:
            answer = self.service.get(self._path("/verdict"))
            return (answer or {}).get("verdict") or None
        return None

    @property
    def sentence(self) -> str:
        """Why it failed, in one sentence; empty if it did not."""
        if self.status != Status.FAILED.value:
            return ""
        return words.describe(_status(self._fresh()), self.verdict)

    # What it says

    def logs(
        self,
        *,
        follow: bool = False,
        learner: int | None = None,
        attempt: int | None = None,
        tail: int | None = None,
    ) -> Iterator[str]:
        """Yield the log's lines without their ends.

        ``follow`` waits for more and ends after the last line of a finished training. Lines of
        several learners come in order of time; learners and attempts count from 1.
        """
        query = {"learner": learner, "attempt": attempt}
        found = self._followed_lines(query) if follow else self._recorded_lines(query)
        if tail is not None and not follow:
            yield from deque(found, maxlen=max(tail, 0))
        else:
            yield from found

    def scalars(self, tags: str | Sequence[str] | None = None, *, max_points: int = 0) -> Scalars:
        """Return the recorded scalars by tag; ``max_points`` thins each curve, 0 gives all."""
        wanted = [tags] if isinstance(tags, str) else list(tags or ())
        answer = self.service.get(
            self._path("/scalars"), {"tags": ",".join(wanted) or None, "max_points": max_points}
        )
        return Scalars.from_json(answer)

    def stacks(self) -> list[dict[str, Any]]:
        """Return what every learner's threads do now: learner, pid, text."""
        answer = self.service.call("POST", self._path("/stacks"), body={}, key=new_key())
        return list(answer["stacks"] if isinstance(answer, dict) else answer or ())

    @property
    def results(self) -> Results:
        """What the training wrote into ``RESULT_DIR``."""
        return Results(self.service, self.id)

    # What can be done

    def wait(self, timeout: float | None = None, *, check: bool = False) -> str:
        """Wait for the end and return the final status.

        ``TimeoutError`` leaves the training alone. ``check`` raises ``TrainingFailed`` unless it
        completed.
        """
        wait([self], timeout=timeout)
        if check and self.status != Status.COMPLETED.value:
            raise TrainingFailed(self)
        return self.status

    def halt(self) -> Training:
        """Stop it; logs and results stay. Halting a stopping or finished one changes nothing."""
        with contextlib.suppress(Conflict):
            self.service.call("PATCH", self._path(), body={"status": "halt"})
        self.refresh()
        return self

    def delete(self, *, results: bool = False) -> None:
        """Remove it and its records, halting it first; ``results`` removes what it wrote, too."""
        with contextlib.suppress(NotFound):
            self.service.call(
                "DELETE", self._path(), query={"delete_results": "true" if results else None}
            )

    def rerun(self, **changes: Any) -> Training:
        """Submit the same snapshot again with changes, and return the new training."""
        from . import submission  # noqa: PLC0415  (a kernel that only reads needs none of it)

        return submission.rerun(self, changes, self.service)

    # How it looks

    def __repr__(self) -> str:
        try:
            return self.line()
        except FfdlError as e:
            return f"Training {self.id} ({e.message})"

    def line(self) -> str:
        """Return one line: id, name, status, elapsed time, last value."""
        return self.state(log=False).line()

    def state(self, *, log: bool = True) -> State:
        """Return what is known now; ``log``: with the end of the log."""
        if self._final is not None:
            return self._final
        model = self._fresh()
        state = State(self.id, warnings=list(self.warnings))
        state.learn(model)
        state.apply({"type": "row", "row": self._row()})
        if state.terminal:
            state.verdict = self.verdict
        if _status(model).get("status") not in {"QUEUED", "NOT_STARTED"}:
            answer = self.service.get(self._path("/scalars"), {"max_points": 200})
            state.apply({"type": "scalars", "series": (answer or {}).get("series")})
        if log and state.terminal:
            from .display import TAIL_BYTES  # noqa: PLC0415

            for message in self.follow(["log"], {"log": self.tail_cursor(TAIL_BYTES)}):
                state.apply(message)
            self._final = state
        return state

    def tail_cursor(self, size_bytes: int) -> dict[str, Any]:
        """Return the cursor that begins so many bytes before the end of each learner's log."""
        row = self._row()
        others = {str(learner): -size_bytes for learner in range(2, int(row["learners"]) + 1)}
        return {"attempt": row["attempt"], "learner": 1, "offset": -size_bytes, "others": others}

    def follow(
        self, channels: Sequence[str], cursor: Mapping[str, Any] | None = None, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the stream's messages up to the training's end, over cut connections."""
        for message in self.service.follow(self.id, channels, cursor=cursor, query=query):
            if message["type"] == "error":
                raise failure(message)
            self.hear(message)
            yield message

    def _ipython_display_(self) -> None:
        if self.hide_once:
            self.hide_once = False
            return
        from .display import show  # noqa: PLC0415

        show(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Training) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # Inside

    def _path(self, rest: str = "") -> str:
        return f"/v1/models/{self.id}{rest}"

    def _fresh(self, age: float = FRESH_SECONDS) -> dict[str, Any]:
        with self._lock:
            model = self._model
            if model is not None and (
                _status(model).get("status") in _TERMINAL or time.monotonic() - self._model_at < age
            ):
                return model
        return self._learn(self.service.get(self._path()))

    def refresh(self) -> None:
        """Ask for the status anew at the next look."""
        with self._lock:
            self._model_at = 0.0

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a status that a stream told: it is newer than what was asked for."""
        if message.get("type") != "status" or not self._model:
            return
        model = dict(self._model)
        model["training"] = {**model.get("training", {}), "training_status": message["status"]}
        self._learn(model)

    def _learn(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what the service said, unless an end is already known: terminal is absorbing."""
        with self._lock:
            known = self._model
            if known is None or _status(known).get("status") not in _TERMINAL:
                self._model = dict(model)
                self._model_at = time.monotonic()
            assert self._model is not None
            return self._model

    def _row(self) -> dict[str, Any]:
        """Return what a list shows of it; number, notebook and parent never change."""
        if not self._head:
            for message in self.service.follow(self.id, ["row"]):
                if message["type"] == "error":
                    raise failure(message)
                if message["type"] == "row":
                    self._head = dict(message["row"])
                    break
                if message["type"] == "offline":
                    raise ServiceError("The service does not answer", hint="%ffdl doctor")
        return self._head

    def _recorded_lines(self, query: Mapping[str, Any]) -> Iterator[str]:
        with self.service.connection.open(
            self._path("/logs"),
            {**query, "follow": "false"},
            headers={"Accept": "application/octet-stream"},
        ) as answer:
            for line in lines(answer):
                yield line.decode("utf-8", "replace")

    def _followed_lines(self, query: Mapping[str, Any]) -> Iterator[str]:
        rest: dict[tuple[Any, Any], str] = {}
        for message in self.follow(["log"], **query):
            if message["type"] == "log":
                source = (message.get("attempt"), message.get("learner"))
                *ended, rest[source] = (rest.get(source, "") + message["text"]).split("\n")
                yield from ended
        yield from (line for line in rest.values() if line)


def train(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str] | None = None,
    *,
    nested: bool = False,
    **options: Any,
) -> Training | Plan:
    """Train a ``.py`` file, or an FfDL manifest with its model folder or zip, and return at once.

    Keywords are the magic's options (``max_runtime="90m"``, ``param={"lr": 0.1}``, ``files=[…]``
    for ``--with``); ``dry_run=True`` returns the plan and creates nothing, ``wait=True`` returns
    after the end and raises ``TrainingFailed`` unless it completed. ``nested`` allows a training
    to start others.
    """
    from . import options as table  # noqa: PLC0415  (a kernel that only reads needs none of it)
    from . import submission  # noqa: PLC0415
    from .kernel import notebook  # noqa: PLC0415

    checked = table.keywords(options)
    submission.refuse_inside_a_learner(nested=nested)
    service = default_service()
    built = submission.of_source(source, directory, checked, notebook())
    if checked.get("dry_run"):
        return submission.plan(service, built)
    training = remember(submission.submit(service, built))
    if checked.get("wait"):
        training.wait(checked.get("timeout"), check=True)
    return training


def trainings(
    *, status: str | None = None, name: str | None = None, limit: int | None = None
) -> list[Training]:
    """Return the trainings, newest first; ``name`` is any part of it."""
    if status is not None:
        status = status.upper()
        if status not in Status.__members__:
            raise BadInput(
                f"{status} is not a status", field="status", hint=", ".join(Status.__members__)
            )
    service = default_service()
    found: list[Training] = []
    token: str | None = None
    while True:
        answer = service.get(
            "/v1/models", {"status": status, "name": name, "limit": limit, "page_token": token}
        )
        found += [Training(m["model_id"], service=service, model=m) for m in answer["models"]]
        token = answer.get("next_page_token")
        if not token or (limit is not None and len(found) >= limit):
            return found


def wait(trainings: Iterable[Training], timeout: float | None = None) -> list[Training]:
    """Wait until all have ended and return them in the same order; ``TimeoutError`` otherwise."""
    wanted = list(trainings)
    for _ in as_completed(wanted, timeout=timeout):
        pass
    return wanted


def as_completed(trainings: Iterable[Training], timeout: float | None = None) -> Iterator[Training]:
    """Yield trainings as they end; ``TimeoutError`` leaves the others alone.

    Each is followed by a stream: nothing is polled, and restarts of the service are survived.
    """
    wanted = list(dict.fromkeys(trainings))
    ended: queue.SimpleQueue[tuple[Training, FfdlError | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def watch(training: Training) -> None:
        problem: FfdlError | None = None
        try:
            for message in training.service.follow(training.id, ["status"], stop=stop):
                if message["type"] == "error":
                    problem = failure(message)
                    break
                training.hear(message)
        except FfdlError as e:
            problem = e
        ended.put((training, problem))

    for training in wanted:
        threading.Thread(target=watch, args=(training,), daemon=True).start()
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        for count in range(len(wanted)):
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                training, problem = _interruptible(ended, left)
            except queue.Empty:
                open_ = len(wanted) - count
                raise StillRunning(
                    f"{open_} of {len(wanted)} trainings still run after {timeout:g} s; they go on"
                ) from None
            if problem is not None:
                raise problem
            training.refresh()
            yield training
    finally:
        stop.set()


def _interruptible(
    ended: queue.SimpleQueue[tuple[Training, FfdlError | None]], left: float | None
) -> tuple[Training, FfdlError | None]:
    """Get in slices: where a wait cannot be interrupted (Windows), Ctrl-C must still work."""
    while True:
        slice_ = 1.0 if left is None else min(left, 1.0)
        try:
            return ended.get(timeout=slice_)
        except queue.Empty:
            if left is not None:
                left -= slice_
                if left <= 0:
                    raise


def _status(model: Mapping[str, Any]) -> dict[str, Any]:
    return dict((model.get("training") or {}).get("training_status") or {})


_service: Service | None = None
_latest: list[Training] = []


def default_service() -> Service:
    """Return the service of this process, found at first use."""
    global _service  # noqa: PLW0603  (one per kernel, as there is one notebook)
    if _service is None:
        _service = Service(say=print)
    return _service


def remember(training: Training) -> Training:
    """Take note of the latest training of this notebook."""
    _latest[:] = [training]
    return training


def latest() -> Training | None:
    """Return the latest training that was submitted from here."""
    return _latest[0] if _latest else None
