"""One map of a manifest, read by key: the place where text turns into typed values.

Every refusal names the field as a path (``data_stores[0].connection.password``) and its line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput
from . import sizes, source
from .source import Node, Pairs, Scalar, Sequence

MAX_INTEGER = 2**31 - 1
_MAX_WARNINGS = 100
_MAX_MERGED = 100_000
_MAX_VALUES = 10_000


@dataclass(frozen=True)
class Note:
    """A warning about an accepted manifest: ``line`` counts from 1, None where no line is meant."""

    message: str
    field: str = ""
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the warning as the API gives it (FfDL contract §2.3)."""
        place: dict[str, Any] = {}
        if self.field:
            place["field"] = self.field
        if self.line is not None:
            place["line"] = self.line
        return {"message": self.message, **place}


@dataclass
class Notes:
    """Collects warnings, each once, and bounds what aliases may blow up."""

    notes: list[Note] = field(default_factory=list)
    left_out: int = 0
    merged: int = 0

    @property
    def full(self) -> bool:
        """Whether further warnings are only counted."""
        return len(self.notes) >= _MAX_WARNINGS

    def warn(self, message: str, field: str = "", line: int | None = None) -> None:
        """Add a warning."""
        note = Note(message, field, line)
        if self.full:
            self.left_out += 1
        elif note not in self.notes:
            self.notes.append(note)

    def all(self) -> tuple[Note, ...]:
        """Return the warnings, and how many more there would have been."""
        more = [Note(f"{self.left_out} more warnings are left out")] if self.left_out else []
        return (*self.notes, *more)


def shown(text: str) -> str:
    """Return ``text`` short enough for a message."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 60 else one_line[:57] + "..."


class Section:
    """A map whose merges are done and whose last duplicates count (FfDL contract §1.1)."""

    def __init__(self, node: Pairs, path: str, notes: Notes) -> None:
        self.path = path
        self.notes = notes
        self._own_line = node.line
        self._entries: dict[str, tuple[int, Node]] = {}
        explicit: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                raise source.refuse(
                    f"line {key.line}: a key must be text", line=key.line, field=path
                )
            if key.merge:
                merged.append(value)
                continue
            if key.text in explicit:
                notes.warn(
                    f"Key '{shown(key.text)}' is given twice, the last one counts",
                    self.field(key.text),
                    key.line,
                )
            explicit[key.text] = key.line
            self._entries[key.text] = (key.line, value)
        for value in merged:
            for name, entry in self._merged(value, depth=0):
                self._entries.setdefault(name, entry)

    def _merged(self, node: Node, depth: int) -> Iterator[tuple[str, tuple[int, Node]]]:
        """Yield what ``<<: node`` adds, what counts first."""
        maps = node.items if isinstance(node, Sequence) else [node]
        for pairs in maps:
            self.notes.merged += 1
            if not isinstance(pairs, Pairs) or depth > source.MAX_DEPTH:
                raise source.refuse(
                    f"line {node.line}: << needs a map or a list of maps",
                    line=node.line,
                    field=self.path,
                )
            own: dict[str, tuple[int, Node]] = {}
            inner: list[Node] = []
            for key, value in pairs.pairs:
                self.notes.merged += 1
                # Maps that merge maps that merge maps: small as text, without end as values.
                if self.notes.merged > _MAX_MERGED:
                    raise source.refuse(f"line {node.line}: too much to merge", line=node.line)
                if isinstance(key, Scalar) and key.merge:
                    inner.append(value)
                elif isinstance(key, Scalar):
                    own[key.text] = (key.line, value)
            yield from own.items()
            for value in inner:
                yield from self._merged(value, depth + 1)

    def field(self, key: str) -> str:
        """Return the path of ``key``."""
        key = shown(key)
        return f"{self.path}.{key}" if self.path else key

    def line(self, key: str = "") -> int | None:
        """Return the line of ``key``; where it is missing, the line it is missing from."""
        entry = self._entries.get(key)
        if entry is not None:
            return entry[0]
        return self._own_line if self.path else None

    def __contains__(self, key: str) -> bool:
        return self._node(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def _node(self, key: str) -> Node | None:
        entry = self._entries.get(key)
        if entry is None or (isinstance(entry[1], Scalar) and entry[1].null):
            return None
        return entry[1]

    def refuse(self, key: str, message: str, *, code: str = "C101", hint: str = "") -> BadInput:
        """Return the refusal of what stands at ``key``."""
        return BadInput(message, code=code, field=self.field(key), line=self.line(key), hint=hint)

    def warn(self, key: str, message: str) -> None:
        """Warn of what stands at ``key``."""
        self.notes.warn(message, self.field(key), self.line(key))

    def expect(self, known: Iterable[str]) -> None:
        """Warn of every key that is not ``known``."""
        names = list(known)
        for key in self._entries:
            if key in names:
                continue
            if self.notes.full:
                self.notes.left_out += 1
            else:
                near = [name for name in names if name == key.lower()]
                near = near or difflib.get_close_matches(key[:60], names, n=1)
                meant = f": did you mean '{near[0]}'?" if near else ""
                self.warn(key, f"Unknown key '{shown(key)}' is ignored{meant}")

    def _misshapen(self, key: str, wanted: str, node: Node) -> BadInput:
        found = {Scalar: "text", Sequence: "a list", Pairs: "a map"}[type(node)]
        return source.refuse(
            f"line {node.line}: {self.field(key)} must be {wanted}, not {found}",
            field=self.field(key),
            line=node.line,
        )

    def scalar(self, key: str) -> Scalar | None:
        """Return the scalar at ``key``, or None where it is absent or null."""
        node = self._node(key)
        if node is not None and not isinstance(node, Scalar):
            raise self._misshapen(key, "text", node)
        return node

    def text(self, key: str) -> str:
        """Return the text at ``key``, as it is written; empty where it is absent or null."""
        scalar = self.scalar(key)
        return "" if scalar is None else scalar.text

    def section(self, key: str) -> Section | None:
        """Return the map at ``key``, or None where it is absent or null."""
        node = self._node(key)
        if node is None:
            return None
        if not isinstance(node, Pairs):
            raise self._misshapen(key, "a map", node)
        return Section(node, self.field(key), self.notes)

    def sections(self, key: str, *, at_most: int) -> list[Section] | None:
        """Return the list of maps at ``key``, or None where it is absent or null."""
        items = self._items(key)
        if items is None:
            return None
        if len(items) > at_most:
            raise self.refuse(key, f"{self.field(key)} may hold at most {at_most} entries")
        found = []
        for number, node in enumerate(items):
            if not isinstance(node, Pairs):
                raise self._misshapen(f"{key}[{number}]", "a map", node)
            found.append(Section(node, self.field(f"{key}[{number}]"), self.notes))
        return found

    def _items(self, key: str) -> list[Node] | None:
        node = self._node(key)
        if node is None:
            return None
        if not isinstance(node, Sequence):
            raise self._misshapen(key, "a list", node)
        return node.items

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return the list of texts at ``key``, or None where it is absent or null."""
        items = self._items(key)
        if items is None:
            return None
        found = []
        for number, node in enumerate(items):
            if not isinstance(node, Scalar):
                raise self._misshapen(f"{key}[{number}]", "text", node)
            found.append("" if node.null else node.text)
        return tuple(found)

    def values(self, key: str) -> Mapping[str, Any]:
        """Return the map at ``key`` with typed values of any shape; empty where it is absent."""
        section = self.section(key)
        return {} if section is None else section.typed_values([_MAX_VALUES])

    def typed_values(self, budget: list[int]) -> dict[str, Any]:
        """Return this map as plain values, as many as ``budget[0]`` allows.

        Aliases make maps that are small as text and without end as values.
        """
        return {name: self._value(node, budget) for name, (_, node) in self._entries.items()}

    def _value(self, node: Node, budget: list[int]) -> Any:
        budget[0] -= 1 + (len(node.pairs) if isinstance(node, Pairs) else 0)
        if budget[0] < 0:
            raise source.refuse(
                f"line {self._own_line}: {self.path} holds more than {_MAX_VALUES} values",
                line=self._own_line,
                field=self.path,
            )
        if isinstance(node, Scalar):
            return source.typed(node)
        if isinstance(node, Sequence):
            return [self._value(item, budget) for item in node.items]
        return Section(node, self.path, self.notes).typed_values(budget)

    def number(self, key: str) -> int | float | None:
        """Return the number at ``key`` (FfDL contract §1.1), or None where it is absent or null."""
        node = self._node(key)
        if node is None:
            return None
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, Sequence) else "a map"
            raise self._no_number(key, f"{self.field(key)} must be a number, not {kind}")
        value = source.number(node)
        if value is None:
            bare = Scalar(node.text, node.line, 0, 0, plain=True)
            quoted = not node.plain and source.number(bare) is not None
            raise self._no_number(
                key,
                f"{self.field(key)} must be a number, not '{shown(node.text)}'",
                hint=f"Remove the quotes: {node.text}" if quoted else "",
            )
        if value < 0:
            raise self._no_number(key, f"{self.field(key)} must not be negative: {node.text}")
        if value > MAX_INTEGER:
            raise self._no_number(key, f"{self.field(key)} is too large: {shown(node.text)}")
        return value

    def integer(self, key: str, *, hint: str = "") -> int | None:
        """Return the whole number at ``key``, or None where it is absent or null."""
        value = self.number(key)
        if value is None:
            return None
        if value != int(value):
            raise self._no_number(
                key, f"{self.field(key)} must be a whole number, not {value}", hint=hint
            )
        return int(value)

    def _no_number(self, key: str, message: str, hint: str = "") -> BadInput:
        hint = hint or "Write a plain number, such as 2"
        return self.refuse(key, message, code="C104", hint=hint)

    def size(self, key: str) -> sizes.Size | None:
        """Return the size at ``key`` (FfDL contract §1.3), or None where it is absent or null."""
        node = self._node(key)
        if node is None:
            return None
        text = node.text if isinstance(node, Scalar) else ""
        found = sizes.parse(text) if isinstance(node, Scalar) else None
        if found is None:
            what = f"'{shown(text)}'" if isinstance(node, Scalar) else "a list or a map"
            raise self.refuse(
                key,
                f"{self.field(key)} must be a size, not {what}",
                code="C104",
                hint=sizes.hint(text),
            )
        return found
