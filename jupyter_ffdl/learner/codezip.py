"""The code zip: what it may hold, and unpacking it (FfDL contract §1.8).

The trainer asks ``check`` before it accepts a zip; the learner unpacks it with ``extract``, under
the same rules. Standard library only: the learner's side has nothing else.

A zip is untrusted: its directory may lie about sizes, so bytes are counted again while unpacking,
and nothing is written through a link that the zip itself brought.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import BadInput

NOT_A_ZIP = "Model definition content is not a valid ZIP file"
"""FfDL contract §1.9, rule 9; what is wrong, and with which entry, follows after a colon."""


@dataclass(frozen=True)
class Limits:
    """What a zip may unpack to (FfDL contract §10): bytes of all files, number of entries."""

    bytes: int = 10 * 1024**3
    entries: int = 100_000


LIMITS = Limits()

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 3000
_MAX_DEPTH = 100
_MAX_LINK_BYTES = 1000
_MAX_LINKS_FOLLOWED = 40
_MAX_LINK_STEPS = 200_000
_CHUNK = 1024 * 1024
# What FfDL read (Go's archive/zip). zipfile unpacks bzip2 and LZMA without any bound on memory.
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# Encrypted, strongly encrypted, with a hidden directory.
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_UNIX = 3
# What zipfile raises for damaged or hostile content, depending on where the damage is.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True)
class Entry:
    """One file, directory or link of a zip. ``path`` is relative, clean, with ``/``."""

    path: str
    kind: Literal["file", "directory", "link"]
    mode: int
    size: int
    info: zipfile.ZipInfo
    target: str = ""


def bad(problem: str, hint: str, name: str = "") -> BadInput:
    """Return the refusal of a zip (FfDL contract §1.9, rule 9)."""
    where = f"entry '{printable(name)}' " if name else ""
    return BadInput(
        f"{NOT_A_ZIP}: {where}{problem}", code="C102", field="model_definition", hint=hint
    )


def printable(name: str) -> str:
    """Return an entry's name fit for one line of a message."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= 120 else text[:117] + "..."


def check(
    path: Path,
    limits: Limits = LIMITS,
    look: Callable[[Entry, bytes], None] | None = None,
) -> list[Entry]:
    """Return the entries of the zip, after reading every byte of them; raises ``BadInput``.

    ``look`` is called with each file and its content, as far as the first megabyte. Memory use
    does not depend on the zip's size, apart from its list of entries.
    """
    with _opened(path) as archive:
        entries = _entries(archive, limits)
        left = limits.bytes
        for entry in entries:
            if entry.kind == "file":
                first = b""
                for chunk in _chunks(archive, entry, left):
                    first = first or chunk
                    left -= len(chunk)
                if look is not None:
                    look(entry, first)
    return entries


def extract(
    path: Path, destination: Path, strip_prefix: str = "", limits: Limits = LIMITS
) -> list[str]:
    """Unpack the zip into ``destination`` and return the paths of its files and links.

    ``strip_prefix`` is the directory D that all entries lie below (§1.8). Modes are restored
    without set-uid, set-gid and sticky bits; files that begin with ``#!`` or end in ``.sh`` can be
    executed. Each file appears whole; after a crash in the middle, the same call completes the
    work. Raises ``BadInput`` for a zip that ``check`` would refuse.
    """
    written = []
    with _opened(path) as archive:
        entries = stripped(_entries(archive, limits), strip_prefix)
        destination.mkdir(parents=True, exist_ok=True)
        part = _part(destination, entries)
        left = limits.bytes
        for entry in entries:
            place = destination / entry.path
            if entry.kind == "directory":
                _directory(place)
            elif entry.kind == "file":
                _directory(place.parent)
                left -= _write_file(archive, entry, place, part, left)
                written.append(entry.path)
        # Links come last, and no entry lies below one: nothing is ever written through them.
        for entry in entries:
            if entry.kind == "link":
                _link(destination / entry.path, entry.target, part)
                written.append(entry.path)
        # Modes of directories come after their content: they may forbid writing.
        for entry in entries:
            if entry.kind == "directory":
                (destination / entry.path).chmod(_directory_mode(entry.mode))
    return written


def _part(destination: Path, entries: list[Entry]) -> Path:
    """Return where files grow: always the same name, so that the next call takes it over."""
    taken = {entry.path.partition("/")[0] for entry in entries}
    name = ".codezip.part"
    while name in taken:
        name += "~"
    return destination / name


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except UnicodeDecodeError as e:
        name = bytes(e.object).decode(errors="replace")
        raise bad("has a name that is not UTF-8", "Rename it", name) from e
    except (*_DAMAGED, OSError) as e:
        if _disk_failed(e):
            raise
        raise BadInput(
            NOT_A_ZIP,
            code="C102",
            field="model_definition",
            hint="Send a zip of the directory that holds your code",
        ) from e
    with archive:
        yield archive


def _disk_failed(error: Exception) -> bool:
    # EINVAL is the zip's fault: its directory points before the beginning of the file.
    return isinstance(error, OSError) and error.errno != errno.EINVAL


def _entries(archive: zipfile.ZipFile, limits: Limits) -> list[Entry]:
    """Return the zip's entries in its own order, judged by its directory alone."""
    infos = archive.infolist()
    if len(infos) > limits.entries:
        raise bad(
            f"it has {len(infos)} entries, at most {limits.entries} are accepted",
            "Put data into a data store or one archive",
        )
    entries: dict[str, Entry] = {}
    total = 0
    for info in infos:
        entry = _entry(archive, info)
        if not entry.path:
            # "./" is the directory itself.
            continue
        known = entries.get(entry.path)
        if known is not None and not (known.kind == entry.kind == "directory"):
            raise bad("is there twice", "Zip the directory again into a new file", entry.path)
        entries[entry.path] = entry
        total += entry.size
        if total > limits.bytes:
            raise bad(f"it unpacks to more than {limits.bytes} bytes", "Put data into a data store")
    _check_clashes(entries)
    _check_links(entries)
    return list(entries.values())


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    name = _name(info)
    if info.flag_bits & _ENCRYPTED:
        raise bad("is encrypted", "Zip it without a password", name)
    if info.compress_type not in _COMPRESSIONS:
        raise bad(
            f"is compressed by method {info.compress_type}, which we cannot read",
            "Zip it with the usual method, deflate",
            name,
        )
    mode = info.external_attr >> 16
    # Only Unix stores file types; elsewhere these bits are zero or noise.
    kind_bits = stat.S_IFMT(mode) if info.create_system == _UNIX else 0
    path = _clean(name)
    if name.endswith("/") or kind_bits == stat.S_IFDIR:
        if info.file_size:
            raise bad("is a directory with content", "Zip the directory again", name)
        return Entry(path, "directory", stat.S_IMODE(mode), 0, info)
    if kind_bits == stat.S_IFLNK:
        return Entry(path, "link", 0, 0, info, target=_target(archive, info, name))
    if kind_bits not in {0, stat.S_IFREG}:
        raise bad(
            "is a device, a pipe or a socket", "Leave it out: only files can be trained with", name
        )
    if not path:
        raise bad("has no name", "Zip the directory again", name)
    return Entry(path, "file", stat.S_IMODE(mode), info.file_size, info)


def _name(info: zipfile.ZipInfo) -> str:
    """Return the entry's name as it was stored, refusing one that no disk could hold."""
    # zipfile cuts a name at NUL and turns the system's separators; the original tells the truth.
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        # Without the UTF-8 flag zipfile decodes code page 437, but most zips hold UTF-8 anyway.
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError as e:
            raise bad(
                "has a name that is not UTF-8", "Rename it, or zip it with UTF-8 names", name
            ) from e
    if "\0" in name:
        raise bad("has a NUL in its name", "Zip the directory again", name)
    if "\\" in name:
        raise bad("has a backslash in its name", "Zip it with / between names", name)
    return name


def _clean(name: str) -> str:
    """Return the path without ``.`` and doubled ``/``; refuses one that leaves the directory."""
    if name.startswith("/"):
        raise bad("is an absolute path", "Zip the directory from within", name)
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise bad("leaves the directory by ..", "Zip the directory from within", name)
    if parts and len(parts[0]) >= 2 and parts[0][1] == ":" and parts[0][0].isalpha():
        raise bad("begins with a drive letter", "Zip the directory from within", name)
    for part in parts:
        try:
            length = len(part.encode())
        except UnicodeEncodeError as e:
            raise bad("has a name that is not UTF-8", "Rename it", name) from e
        if length > _MAX_NAME_BYTES:
            raise bad(f"has a name of over {_MAX_NAME_BYTES} bytes", "Rename it", name)
    path = "/".join(parts)
    if len(path.encode()) > _MAX_PATH_BYTES or len(parts) > _MAX_DEPTH:
        raise bad("is nested too deeply", "Nest it less deeply", name)
    return path


def _target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> str:
    if info.file_size > _MAX_LINK_BYTES:
        raise bad("is a link with a target that is too long", "Leave it out", name)
    content = b"".join(_raw_chunks(archive, info, name, _MAX_LINK_BYTES))
    try:
        target = content.decode()
    except UnicodeDecodeError as e:
        raise bad("is a link to a name that is not UTF-8", "Leave it out", name) from e
    if not target or "\0" in target:
        raise bad("is a link to nothing", "Leave it out", name)
    return target


def _check_clashes(entries: dict[str, Entry]) -> None:
    """Refuse a path that is a file or link and a directory at once."""
    directories: set[str] = set()
    for entry in entries.values():
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in directories:
            above = entries.get(parent)
            if above is not None and above.kind != "directory":
                raise bad(
                    f"lies below '{printable(parent)}', which is a {above.kind}",
                    "Rename one of the two",
                    entry.path,
                )
            directories.add(parent)
            parent = parent.rpartition("/")[0]


def _check_links(entries: dict[str, Entry]) -> None:
    """Refuse links that leave the directory, also by way of other links."""
    steps = 0
    for entry in entries.values():
        if entry.kind == "link":
            steps += _check_link(entry, entries)
            if steps > _MAX_LINK_STEPS:
                raise bad("is one link too many", "Leave links out", entry.path)


def _check_link(entry: Entry, entries: dict[str, Entry]) -> int:
    """Walk where a link leads as the system would, and return how many steps that took."""
    leaving = f"is a link that leaves the directory, to '{printable(entry.target)}'"
    remedy = "Zip the file itself: zip follows links unless told -y"
    at = entry.path.split("/")[:-1]
    ahead = [entry.target]
    steps = followed = 0
    while ahead:
        steps += 1
        head, slash, rest = ahead.pop().partition("/")
        if slash and not head:
            raise bad(leaving, remedy, entry.path)
        if rest.lstrip("/"):
            ahead.append(rest.lstrip("/"))
        if head == "..":
            if not at:
                raise bad(leaving, remedy, entry.path)
            at.pop()
        elif head != ".":
            met = entries.get("/".join([*at, head]))
            if met is None or met.kind != "link":
                at.append(head)
                continue
            followed += 1
            if followed > _MAX_LINKS_FOLLOWED:
                raise bad("is a link in a circle", "Leave it out", entry.path)
            ahead.append(met.target)
    return steps


def stripped(entries: list[Entry], prefix: str) -> list[Entry]:
    """Return the entries as they are below the directory ``prefix``; empty: unchanged."""
    if not prefix:
        return entries
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.path == prefix:
            continue
        if not entry.path.startswith(prefix + "/"):
            raise bad(f"does not lie below '{printable(prefix)}'", "Submit it again", entry.path)
        inner = replace(entry, path=entry.path[len(prefix) + 1 :])
        found[inner.path] = inner
    # A way up that ended in the zip may end outside of what is left.
    _check_links(found)
    return list(found.values())


def _chunks(archive: zipfile.ZipFile, entry: Entry, left: int) -> Iterator[bytes]:
    return _raw_chunks(archive, entry.info, entry.path, min(left, entry.size))


def _raw_chunks(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, at_most: int
) -> Iterator[bytes]:
    """Yield the content of an entry, at most as much as it declares; its checksum is compared."""
    read = 0
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK):
                read += len(chunk)
                if read > at_most:
                    break
                yield chunk
    except (*_DAMAGED, OSError) as e:
        if _disk_failed(e):
            raise
        raise bad("cannot be read, it is damaged", "Zip the directory again", name) from e
    if read > at_most:
        raise bad("unpacks to more bytes than it declares", "Zip the directory again", name)
    if read < info.file_size:
        raise bad("unpacks to fewer bytes than it declares", "Zip the directory again", name)


def _write_file(archive: zipfile.ZipFile, entry: Entry, place: Path, part: Path, left: int) -> int:
    """Write one file whole and return its size."""
    part.unlink(missing_ok=True)
    size = 0
    first = b""
    with part.open("xb") as file:
        for chunk in _chunks(archive, entry, left):
            first = first or chunk[:2]
            size += len(chunk)
            file.write(chunk)
    part.chmod(_file_mode(entry, first))
    _make_room(place)
    part.replace(place)
    return size


def _file_mode(entry: Entry, first: bytes) -> int:
    # Zips made on Windows or by some libraries store no mode.
    mode = (entry.mode & 0o777) or 0o644
    mode |= 0o600
    if first == b"#!" or entry.path.endswith(".sh"):
        mode |= 0o111
    return mode


def _directory_mode(mode: int) -> int:
    return ((mode & 0o777) or 0o755) | 0o700


def _directory(place: Path) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
    place.mkdir(parents=True, exist_ok=True)


def _make_room(place: Path) -> None:
    # Only an earlier, interrupted attempt with other content can have left a directory here.
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)


def _link(place: Path, target: str, part: Path) -> None:
    _directory(place.parent)
    _make_room(place)
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(place)
