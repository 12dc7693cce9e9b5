"""A manifest's YAML as a tree of values that know their own text and their place in it.

A loader that constructs values loses both: ``1.10`` becomes 1.1 and ``yes`` becomes True, although
a version is text. So scalars stay as they are written, and only fields that are numbers are
converted (FfDL contract §1.1). The tree is built from PyYAML's events, not by its composer, because
that recurses as deep as the text nests.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1024 * 1024
"""Limit of a manifest (FfDL contract §1.1)."""

MAX_DEPTH = 64
"""No manifest needs more than a dozen levels; a thousand would only exhaust the stack."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_NUMBER_TAGS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


@dataclass(slots=True, eq=False)
class Scalar:
    """Text, as it is written. ``plain``: without quotes; ``literal``: a block after ``|``.

    ``start`` and ``end`` are its place in the text, in characters; ``line`` counts from 1.
    """

    text: str
    line: int
    start: int
    end: int
    plain: bool = False
    literal: bool = False

    @property
    def null(self) -> bool:
        """Whether this is YAML's null, or nothing at all."""
        return self.plain and self.text in _NULLS

    @property
    def merge(self) -> bool:
        """Whether this key merges another map: ``<<``."""
        return self.plain and self.text == "<<"


@dataclass(slots=True, eq=False)
class Sequence:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Pairs:
    """A map as it is written: merges and repeated keys are still there."""

    line: int
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Sequence | Pairs
"""Aliases share nodes: a tree's text is bounded, the number of ways through it is not."""


@dataclass(frozen=True)
class Document:
    """The first document of a text, and the line where a second one begins."""

    root: Node
    second_line: int | None


def refuse(message: str, *, line: int | None = None, field: str = "", hint: str = "") -> BadInput:
    """Return the refusal of a text that cannot be parsed (FfDL contract §1.1)."""
    return BadInput(
        message, code="C101", description="Incorrect manifest", line=line, field=field, hint=hint
    )


def decode(text: bytes | str) -> str:
    """Return the manifest as text without a byte order mark; refuses other encodings."""
    if isinstance(text, bytes):
        if len(text) > MAX_BYTES:
            raise _too_large()
        try:
            if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return text.decode("utf-16")
            return text.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            raise refuse(
                f"The manifest is not UTF-8 text: byte {e.start} cannot be decoded",
                line=text.count(b"\n", 0, e.start) + 1,
                hint="Save the manifest as UTF-8",
            ) from e
    try:
        size = len(text.encode())
    except UnicodeEncodeError as e:
        raise refuse(
            "The manifest holds half of a surrogate pair, which is no character",
            line=text.count("\n", 0, e.start) + 1,
        ) from e
    if size > MAX_BYTES:
        raise _too_large()
    return text.removeprefix("\ufeff")


def _too_large() -> BadInput:
    return refuse(
        "The manifest is larger than 1 MiB",
        hint="Put code and data into files: they belong into the zip or a data store",
    )


def read(text: str) -> Document:
    """Return the first document of ``text`` as a tree; refuses what is not YAML."""
    documents = _documents(text)
    first = next(documents, None)
    if first is None or (isinstance(first[1], Scalar) and first[1].null):
        raise refuse("The manifest is empty", hint="It needs at least name and framework")
    second = next(documents, None)
    return Document(first[1], None if second is None else second[0])


def trees(text: str) -> Iterator[Node]:
    """Yield every document of ``text``."""
    for document in _documents(text, whole=True):
        yield document[1]


def _documents(text: str, *, whole: bool = False) -> Iterator[tuple[int, Node]]:
    """Yield (line, tree). Without ``whole``, a document after the first is not looked into."""
    import yaml  # noqa: PLC0415  (a kernel writes manifests without having PyYAML)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    line = 0
    begun = 0
    try:
        event: Any
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentStartEvent):
                begun += 1
                line = 1 + (event.end_mark.line if event.end_mark else 0)
                if begun > 1 and not whole:
                    yield line, Scalar("", line, 0, 0)
                    return
                builder = _Builder()
            elif isinstance(event, yaml.DocumentEndEvent) and builder.root is not None:
                yield line, builder.root
            else:
                builder.take(event)
    # ValueError and OverflowError: PyYAML's own scanner on escapes beyond Unicode.
    except (yaml.YAMLError, ValueError, OverflowError) as e:
        raise _not_yaml(e) from e


def _not_yaml(error: Exception) -> BadInput:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = None if mark is None else mark.line + 1
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    where = "" if line is None else f"line {line}: "
    message = f"{where}{problem}" + (f" {context}" if context else "")
    return refuse(" ".join(message.split()), line=line)


class _Builder:
    """Puts one document together from its events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Sequence | Pairs] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            node = _scalar(event)
            self._name(event, node)
            self._add(node)
        elif kind == "AliasEvent":
            self._add(self._aliased(event))
        elif kind in {"SequenceStartEvent", "MappingStartEvent"}:
            self._enter(event, Sequence if kind == "SequenceStartEvent" else Pairs)
        elif kind in {"SequenceEndEvent", "MappingEndEvent"}:
            self._open.pop()
            self._keys.pop()

    def _enter(self, event: Any, kind: type[Sequence | Pairs]) -> None:
        line = event.start_mark.line + 1
        if len(self._open) >= MAX_DEPTH:
            raise refuse(f"line {line}: nested deeper than {MAX_DEPTH} levels", line=line)
        container = kind(line)
        self._name(event, container)
        self._add(container)
        self._open.append(container)
        self._keys.append(None)

    def _name(self, event: Any, node: Node) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = node

    def _aliased(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        line = event.start_mark.line + 1
        if node is None:
            raise refuse(f"line {line}: found undefined alias {event.anchor!r}", line=line)
        # Without loops in the tree no reader has to guard against them.
        if any(node is container for container in self._open):
            raise refuse(f"line {line}: alias {event.anchor!r} stands inside itself", line=line)
        return node

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        container = self._open[-1]
        if isinstance(container, Sequence):
            container.items.append(node)
            return
        key = self._keys[-1]
        if key is None:
            self._keys[-1] = node
        else:
            container.pairs.append((key, node))
            self._keys[-1] = None


def _scalar(event: Any) -> Scalar:
    line = event.start_mark.line + 1
    if "\0" in event.value or any("\ud800" <= c <= "\udfff" for c in event.value):
        # Neither can stand in an environment variable or a file name.
        raise refuse(f"line {line}: a character that no text may hold", line=line)
    plain = not event.style and (event.tag is None or event.tag in _NUMBER_TAGS)
    return Scalar(
        text=event.value,
        line=line,
        start=event.start_mark.index,
        end=event.end_mark.index,
        plain=plain or event.tag in _NUMBER_TAGS,
        literal=event.style == "|",
    )


_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_MAX_DIGITS = 400


def number(scalar: Scalar) -> int | float | None:
    """Return the YAML number that ``scalar`` is, or None where it is none.

    YAML 1.1 with two differences, both as Go's YAML reads them: ``1e3`` is a number without its
    point, and ``1:30`` is no count of seconds.
    """
    text = scalar.text
    if not scalar.plain or len(text) > _MAX_DIGITS:
        return None
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        value = float(text.replace("_", ""))
        return value if math.isfinite(value) else None
    return None


def _integer(text: str) -> int | None:
    digits = text.replace("_", "").lower()
    unsigned = digits.lstrip("+-")
    base = 0
    if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit():
        base = 8
    try:
        return int(digits, base)
    except ValueError:
        # Only underscores after the prefix.
        return None


_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


def typed(scalar: Scalar) -> str | int | float | bool | None:
    """Return the value that a parameter has: text unless it is plainly something else.

    Only ``true`` and ``false`` are booleans, as in YAML 1.2: a parameter ``no`` is text.
    """
    if not scalar.plain:
        return scalar.text
    if scalar.null:
        return None
    lower = scalar.text.lower()
    if lower in {"true", "false"}:
        return lower == "true"
    if lower in _SPECIAL:
        return _SPECIAL[lower]
    value = number(scalar)
    return scalar.text if value is None else value
