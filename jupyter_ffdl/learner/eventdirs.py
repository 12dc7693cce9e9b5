"""Where event files are: found once, then told of by inotify.

User code may create 100 000 files beside one event file. A directory is therefore listed when it
is new or has changed, never by the clock; where inotify is missing or its watches are used up, a
``stat`` per directory tells, the less often the longer it takes.
"""

# Where we may not look, pathlib's forms of these raise.
# ruff: noqa: PTH110, PTH113

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_ffdl.trainingdata.record import readable
from jupyter_ffdl.watch import ENTRIES as NEW_ENTRY
from jupyter_ffdl.watch import IN_ISDIR, IN_MODIFY, IN_ONLYDIR, IN_Q_OVERFLOW, Change, Watcher

EVENT_FILE = "tfevents"
SUB_RUN = re.compile(r"\d+|learner-(\d+)")
"""Names of top-level directories that are sub-runs (FfDL contract §6.3)."""

_MAX_WATCHES = 2000
_LOOK_SECONDS = 1.0
_FULL_LOOK_SECONDS = 10.0
_LOOK_SHARE = 20
"""Looking by time takes at most a twentieth of it."""
_JUST_NOW_NS = 50_000_000
"""A directory changed so recently can change again without a new mtime."""


@dataclass(frozen=True)
class Root:
    """A directory tree in which event files count.

    ``label`` begins the names of its event directories ("logs/tb/train"). ``follow_links``: also
    through symbolic links; a working directory is full of links to what the user keeps elsewhere.
    ``skip``: names directly below that are not looked into. ``copies_of``: a tree whose files are
    copied to ``path`` and ``path/learner-N`` when a training ends (contract §5.2, §5.4); they must
    not count twice.
    """

    path: Path
    label: str
    follow_links: bool = False
    skip: frozenset[str] = frozenset()
    copies_of: Path | None = None


@dataclass
class Directory:
    """One directory of a root; an event directory once ``files`` has entries."""

    path: str
    root: Root
    parts: tuple[str, ...]
    modified: int = -1
    files: dict[str, int] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return the name under which its series are known: relative, with the root's label."""
        return readable("/".join((self.root.label, *self.parts)).strip("/") or ".")

    @property
    def sub_run(self) -> str:
        """Return the ``subid``: the top-level directory named by digits or ``learner-N``."""
        return self.parts[0] if self.parts and SUB_RUN.fullmatch(self.parts[0]) else ""


class EventTree:
    """The event directories below ``roots``; ``dirty`` names event files that may have grown."""

    def __init__(
        self,
        roots: Iterable[Root],
        watcher: Watcher | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dirty: set[str] = set()
        self._directories: dict[str, Directory] = {}
        self._inodes: set[tuple[int, int]] = set()
        self._roots = tuple(roots)
        self._watcher = watcher
        self._watched = 0
        self._monotonic = monotonic
        self._next_look = self._next_full_look = 0.0

    def directory(self, file: str) -> Directory:
        """Return the event directory of a file in ``dirty``."""
        return self._directories[os.path.dirname(file)]

    def notice(self, changes: Iterable[Change]) -> None:
        """Act on what inotify told."""
        for path, name, mask in changes:
            if mask & IN_Q_OVERFLOW:
                self._next_look = self._next_full_look = 0.0
            elif path in self._directories:
                if name and (EVENT_FILE in name or mask & IN_ISDIR):
                    self._scan(self._directories[path])
            elif os.path.dirname(path) in self._directories:
                self.dirty.add(path)

    def look(self, *, everything: bool = False) -> None:
        """Look for changes by time, if it is time or ``everything`` is asked."""
        started = self._monotonic()
        if not everything and started < self._next_look:
            return
        full = everything or started >= self._next_full_look
        for root in self._roots:
            if str(root.path) not in self._directories:
                self._enter(str(root.path), root, ())
        for directory in list(self._directories.values()):
            watched = self._watcher is not None and self._watcher.watches(directory.path)
            if full or not watched:
                self._look_at(directory)
            if directory.path not in self._directories:
                continue
            for name, size in directory.files.items():
                path = f"{directory.path}/{name}"
                if path not in self.dirty and _size(path) != size:
                    self.dirty.add(path)
        took = self._monotonic() - started
        self._next_look = started + max(_LOOK_SECONDS, _LOOK_SHARE * took)
        if full:
            self._next_full_look = started + max(_FULL_LOOK_SECONDS, 2 * _LOOK_SHARE * took)

    def read(self, file: str, size: int) -> None:
        """Take note that ``file`` was read when it had ``size`` bytes."""
        self.dirty.discard(file)
        self.directory(file).files[os.path.basename(file)] = size

    def _enter(self, path: str, root: Root, parts: tuple[str, ...]) -> None:
        try:
            about = os.stat(path)
        except OSError:
            return
        identity = (about.st_dev, about.st_ino)
        if identity in self._inodes or path in self._directories:
            return
        self._inodes.add(identity)
        directory = self._directories[path] = Directory(path, root, parts)
        self._watch(path, NEW_ENTRY | IN_ONLYDIR)
        self._scan(directory)

    def _watch(self, path: str, mask: int) -> None:
        if self._watcher is not None and self._watched < _MAX_WATCHES:
            self._watched += self._watcher.add(path, mask)

    def _look_at(self, directory: Directory) -> None:
        try:
            modified = os.stat(directory.path).st_mtime_ns
        except OSError:
            self._forget(directory)
            return
        if modified != directory.modified:
            self._scan(directory)

    def _forget(self, directory: Directory) -> None:
        del self._directories[directory.path]
        self.dirty.difference_update(f"{directory.path}/{name}" for name in directory.files)
        # Its inode may be given to another directory at once.
        self._inodes = set()
        for item in list(self._directories.values()):
            try:
                about = os.stat(item.path)
            except OSError:
                continue
            self._inodes.add((about.st_dev, about.st_ino))

    def _scan(self, directory: Directory) -> None:
        new: list[str] = []
        root = directory.root
        try:
            modified = os.stat(directory.path).st_mtime_ns
            with os.scandir(directory.path) as entries:
                for entry in entries:
                    if EVENT_FILE in entry.name and entry.name not in directory.files:
                        if os.path.isfile(entry) and (root.follow_links or not entry.is_symlink()):
                            self._add_file(directory, entry.name)
                    elif _is_directory(entry, follow=root.follow_links):
                        new.append(entry.name)
        except OSError:
            return
        fresh = time.time_ns() - modified < _JUST_NOW_NS
        directory.modified = -1 if fresh else modified
        for name in sorted(new):
            if directory.parts or name not in root.skip:
                self._enter(f"{directory.path}/{name}", root, (*directory.parts, name))

    def _add_file(self, directory: Directory, name: str) -> None:
        if name.endswith(".profile-empty") or self._is_copy(directory, name):
            return
        directory.files[name] = -1
        path = f"{directory.path}/{name}"
        self.dirty.add(path)
        self._watch(path, IN_MODIFY)

    @staticmethod
    def _is_copy(directory: Directory, name: str) -> bool:
        original = directory.root.copies_of
        if original is None:
            return False
        of_learner = directory.sub_run.startswith("learner-")
        parts = directory.parts[1:] if of_learner else directory.parts
        return os.path.exists(original.joinpath(*parts, name))


def _is_directory(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a link to itself, or into what we may not see
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
