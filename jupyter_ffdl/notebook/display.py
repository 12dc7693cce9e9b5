"""The view below a cell: published once, kept up to date by its display id.

One thread a training reads its stream and republishes at most twice a second, also while the
kernel is idle; several outputs of one training share it. The HTML holds no script and nothing
from outside, and only styles that JupyterLab's sanitizer lets through.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import FfdlError, NotFound
from .scalars import Scalars
from .state import State

if TYPE_CHECKING:
    from .client import Training

MIN_SECONDS = 0.5
"""Between two updates of one training's outputs."""

TICK_SECONDS = 5.0
"""The elapsed time moves this often when nothing else happens; more would fight selections."""

TAIL_BYTES = 32 * 1024
"""Of each learner's log, enough for the lines that a view shows."""

FLOOD_CHARACTERS = 2_000_000
"""Of log between two updates; who writes more is looked at where its log ends."""

CHANNELS = ("status", "log", "row", "scalars")

Publish = Callable[[dict[str, str], str, bool], None]
"""Called with the MIME bundle, the display id, and whether it is an update."""

_lock = threading.Lock()
_followers: dict[tuple[int, str], Follower] = {}


class Follower:
    """Keeps the outputs of one training up to date, from a thread of its own."""

    def __init__(self, training: Training, state: State) -> None:
        self.training = training
        self.state = state
        self._outputs: list[tuple[str, Publish]] = []
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self.finished = threading.Event()
        self._started = False

    def start(self) -> None:
        """Begin to follow, once."""
        with self._lock:
            if self._started:
                return
            self._started = True
        for target in (self._read, self._publish):
            threading.Thread(target=target, name=f"ffdl {self.training.id}", daemon=True).start()

    def add(self, display_id: str, publish: Publish) -> None:
        """Keep one more output up to date."""
        with self._lock:
            self._outputs.append((display_id, publish))
        self._changed.set()

    def bundle(self) -> dict[str, str]:
        """Return what an output shows now."""
        with self._lock:
            return bundle(self.state)

    def _read(self) -> None:
        try:
            cursor: dict[str, Any] = {}
            while not self._follow(
                {**cursor, "log": self.training.tail_cursor(TAIL_BYTES)}, cursor
            ):
                time.sleep(MIN_SECONDS)
        except NotFound:
            with self._lock:
                self.state.gone = True
        except FfdlError as e:
            with self._lock:
                self.state.warnings.append(str(e))
        finally:
            self.finished.set()
            self._changed.set()

    def _follow(self, begin: dict[str, Any], cursor: dict[str, Any]) -> bool:
        """Take messages to the end; False: to be begun again at the log's end, it floods us.

        A view shows some lines; reading gigabytes for them would take the kernel's time.
        """
        taken, since = 0, time.monotonic()
        for message in self.training.follow(CHANNELS, begin):
            with self._lock:
                changed = self.state.apply(message)
            if changed:
                self._changed.set()
            if message["type"] == "scalars":
                cursor["scalars"] = message["cursor"]
            elif message["type"] == "log":
                if time.monotonic() - since > MIN_SECONDS:
                    taken, since = 0, time.monotonic()
                taken += len(message["text"])
                if taken > FLOOD_CHARACTERS:
                    with self._lock:
                        self.state.tail.skipped(message["learner"], "… output left out")
                    return False
        return True

    def _publish(self) -> None:
        shown: dict[str, str] = {}
        while True:
            self._changed.wait(TICK_SECONDS)
            ended = self.finished.is_set()
            self._changed.clear()
            now = self.bundle()
            with self._lock:
                outputs = list(self._outputs)
            for display_id, publish in outputs:
                if now["text/html"] != shown.get(display_id):
                    shown[display_id] = now["text/html"]
                    # A front end that is gone must not end the updates of the others.
                    with contextlib.suppress(Exception):
                        publish(now, display_id, True)
            if ended:
                with _lock:
                    _followers.pop((id(self.training.service), self.training.id), None)
                return
            time.sleep(MIN_SECONDS)


def show(training: Training) -> None:
    """Publish a training's view in the running cell, and keep it up to date until its end."""
    publish = publisher()
    if publish is None:
        print(training.line())  # noqa: T201  (plain Python and terminals)
        return
    display_id = f"ffdl-{uuid.uuid4().hex}"
    follower = _follower(training)
    if follower is None:
        publish(bundle(_ended(training)), display_id, False)
        return
    publish(follower.bundle(), display_id, False)
    follower.add(display_id, publish)
    follower.start()


def _follower(training: Training) -> Follower | None:
    """Return who follows the training, a new one if nobody does; None once it has ended."""
    key = (id(training.service), training.id)
    with _lock:
        follower = _followers.get(key)
    if follower is not None:
        return follower
    try:
        known = training.state(log=False)
    except NotFound:
        return None
    if known.terminal:
        return None
    # The stream tells the points and lines again, so it begins without them.
    state = State(training.id, known.name, known.number, known.status, warnings=known.warnings)
    with _lock:
        return _followers.setdefault(key, Follower(training, state))


def _ended(training: Training) -> State:
    try:
        return training.state()
    except NotFound:
        return State(training.id, gone=True)


def publisher() -> Publish | None:
    """Return how this cell's front end is reached; None where there is only text."""
    try:
        from IPython.core.getipython import get_ipython  # noqa: PLC0415
    except ImportError:
        return None
    shell: Any = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    display = shell.display_pub

    def publish(data: dict[str, str], display_id: str, update: bool) -> None:  # noqa: FBT001
        if update and parent and hasattr(display, "set_thread_parent"):
            display.set_thread_parent(parent)
        display.publish(data, transient={"display_id": display_id}, update=update)

    return publish


def bundle(state: State, now: float | None = None) -> dict[str, str]:
    """Return the MIME bundle of a training's view."""
    from .html import view  # noqa: PLC0415

    return {"text/plain": state.line(now), "text/html": view(state, now)}


def scalars_html(scalars: Scalars) -> str:
    """Return curves with their last values."""
    from .html import curves  # noqa: PLC0415

    return curves(scalars.series, most=12)
