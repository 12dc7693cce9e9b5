"""The manifest's ``evaluation_metrics``: how a training's numbers are found (FfDL contract §1.5).

Regular expressions are expanded and compiled when the manifest is read, so that a mistake in one
is refused at submission and not found out by an empty chart.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import BadInput
from .section import Section, shown

Kind = Literal["logs", "tensorboard", "regex", "emetrics"]

KINDS: Mapping[str, Kind] = {
    "": "logs",
    "null": "logs",
    "nil": "logs",
    "logger": "logs",
    "none": "logs",
    "tensorboard": "tensorboard",
    "tensorboard_extractor": "tensorboard",
    "tensorboard_extract": "tensorboard",
    "regex_extractor": "regex",
    "emetrics_file": "emetrics",
    "emetrics_file_extractor": "emetrics",
    "optivist": "emetrics",
    "file": "emetrics",
}

VALUE_TYPES = ("STRING", "JSONSTRING", "INT", "FLOAT")

MACROS: Mapping[str, str] = {
    "GLOG_STAMP": r"[EFIW]\d{4}\s+\d\d:\d\d:\d*\.\d+",
    "TIMESTAMP": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:?\d\d)",
    "FLOAT": r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?",
    "INT": r"[-+]?\d+",
    "INT_ANY": r"[-+]?(?:0[xX][\dA-Fa-f]+|0[0-7]*|\d+)",
    "HEX": r"[-+]?(?:0[xX])?[\dA-Fa-f]+",
}
"""FfDL's names for patterns (FfDL contract §6.4)."""

FLAGS = re.MULTILINE | re.DOTALL
"""How the learner compiles a group's ``regex`` again."""

_MACRO = re.compile(r"%\{(?P<name>\w+)(?::(?P<capture>\w+))?\}", re.ASCII)
_CAPTURE = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
_MAX_GROUPS = 100
_MAX_PATTERN = 20_000
_MAX_LOOKAHEAD = 10_000


@dataclass(frozen=True)
class Value:
    """One value of a record: ``value`` is literal text, or ``$name`` of a capture."""

    type: str
    value: str


@dataclass(frozen=True)
class Group:
    """One kind of record that a regular expression finds.

    ``regex`` is Python's, all macros expanded; ``subid`` is literal, ``$name`` or empty.
    """

    label: str
    regex: str
    values: Mapping[str, Value]
    etimes: Mapping[str, Value]
    subid: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the group as the learner reads it."""
        return {
            "label": self.label,
            "regex": self.regex,
            "values": {name: vars(value) for name, value in self.values.items()},
            "etimes": {name: vars(value) for name, value in self.etimes.items()},
            "subid": self.subid,
        }


@dataclass(frozen=True)
class EvaluationMetrics:
    """Which extractor runs, and on what. ``in_path`` is read besides ``LOG_DIR``."""

    kind: Kind = "logs"
    in_path: str = ""
    event_types: tuple[str, ...] = ("scalars",)
    line_lookahead: int = 4
    groups: tuple[Group, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: the learner has no YAML."""
        return {
            "kind": self.kind,
            "in": self.in_path,
            "event_types": list(self.event_types),
            "line_lookahead": self.line_lookahead,
            "groups": [group.to_json() for group in self.groups],
        }


def expand(pattern: str) -> str:
    """Return ``pattern`` with every macro replaced; raises ValueError for an unknown one."""

    def replaced(match: re.Match[str]) -> str:
        macro = MACROS.get(match["name"])
        if macro is None:
            raise ValueError(f"unknown macro %{{{match['name']}}}, known are {', '.join(MACROS)}")
        return f"(?P<{match['capture']}>{macro})" if match["capture"] else f"(?:{macro})"

    return _MACRO.sub(replaced, pattern)


def read(top: Section) -> EvaluationMetrics | None:
    """Return what ``evaluation_metrics`` says (FfDL contract §1.9, rule 21); None if absent."""
    section = top.section("evaluation_metrics")
    if section is None:
        return None
    try:
        return _read(section)
    except BadInput as e:
        if e.code == "C101" and not e.description:
            raise
        # Wrong shapes and numbers are refused as the rest of this section is.
        raise BadInput(e.message, code="C101", field=e.field, line=e.line, hint=e.hint) from e


def _read(section: Section) -> EvaluationMetrics:
    spelled = ("eventTypes", "event_types", "eventtypes")
    without_effect = ("image_tag", "imagetag")
    lookahead = ("line_lookahead", "linelookahead")
    section.expect(("type", "in", "groups", *spelled, *lookahead, *without_effect))
    for key in without_effect:
        if key in section:
            section.warn(key, f"{key} has no effect: extractors are built in")
    name = section.text("type")
    kind = KINDS.get(name)
    if kind is None:
        raise section.refuse(
            "type",
            f"Evaluation metrics type '{shown(name)}' is not supported",
            hint="Use tensorboard, regex_extractor or emetrics_file",
        )
    event_types: tuple[str, ...] = ("scalars",)
    for key in spelled:
        event_types = section.texts(key) or event_types
        for event_type in section.texts(key) or ():
            if event_type != "scalars":
                section.warn(key, f"Only scalars are read, not {shown(event_type)}")
    if kind != "regex" and "groups" in section:
        section.warn("groups", "groups has no effect without type: regex_extractor")
    return EvaluationMetrics(
        kind=kind,
        in_path=section.text("in"),
        event_types=event_types,
        line_lookahead=_lookahead(section),
        groups=_groups(section) if kind == "regex" else (),
    )


def _lookahead(section: Section) -> int:
    for key in ("line_lookahead", "linelookahead"):
        lines = section.integer(key)
        if lines:
            if lines > _MAX_LOOKAHEAD:
                raise section.refuse(key, f"{section.field(key)} must be at most {_MAX_LOOKAHEAD}")
            return lines
    return 4


def _groups(section: Section) -> tuple[Group, ...]:
    groups = section.section("groups")
    if groups is None or not list(groups):
        raise section.refuse(
            "groups",
            "Evaluation metrics groups are not set",
            hint="Add groups.<label> with regex, scalars and etimes",
        )
    labels = list(groups)
    if len(labels) > _MAX_GROUPS:
        raise section.refuse("groups", f"Evaluation metrics have over {_MAX_GROUPS} groups")
    return tuple(_group(groups, label) for label in labels)


def _group(groups: Section, label: str) -> Group:
    section = groups.section(label)
    if section is None:
        raise groups.refuse(label, f"Evaluation metrics group '{shown(label)}' is empty")
    section.expect(("regex", "scalars", "values", "etimes", "meta"))
    regex, captures = _regex(section, label)
    values = "values" if "values" in section and "scalars" not in section else "scalars"
    return Group(
        label=label,
        regex=regex,
        values=_values(section, label, values, captures),
        etimes=_values(section, label, "etimes", captures),
        subid=_subid(section, label, captures),
    )


def _problem(section: Section, key: str, label: str, problem: str, hint: str = "") -> BadInput:
    return section.refuse(key, f"Evaluation metrics group '{shown(label)}': {problem}", hint=hint)


def _regex(section: Section, label: str) -> tuple[str, frozenset[str]]:
    pattern = section.text("regex")
    if not pattern:
        raise _problem(section, "regex", label, "regex is not set")
    if len(pattern) > _MAX_PATTERN:
        raise _problem(section, "regex", label, f"regex is longer than {_MAX_PATTERN} characters")
    try:
        expanded = expand(pattern)
        with warnings.catch_warnings():
            # A doubtful pattern such as "[[" works; its warning would land in a server's log.
            warnings.simplefilter("ignore")
            compiled = re.compile(expanded, FLAGS)
    except (re.error, ValueError, OverflowError, RecursionError) as e:
        raise _problem(section, "regex", label, f"regex cannot be compiled, {e}") from e
    return expanded, frozenset(compiled.groupindex)


def _values(
    section: Section, label: str, key: str, captures: frozenset[str]
) -> Mapping[str, Value]:
    inner = section.section(key)
    if inner is None or not list(inner):
        raise _problem(
            section, key, label, f"{key} is not set", hint="Add <name>: {type: FLOAT, value: $name}"
        )
    found = {}
    for name in inner:
        value = inner.section(name)
        if value is None:
            raise _problem(inner, name, label, f"{key}.{shown(name)} is empty")
        value.expect(("type", "value"))
        kind = value.text("type").upper()
        if kind not in VALUE_TYPES:
            raise _problem(
                value,
                "type",
                label,
                f"type '{shown(value.text('type'))}' of {shown(name)} is not known",
                hint=f"Use {', '.join(VALUE_TYPES)}",
            )
        text = value.text("value")
        _check_capture(value, "value", label, text, captures)
        found[name] = Value(kind, text)
    return found


def _check_capture(
    section: Section, key: str, label: str, text: str, captures: frozenset[str]
) -> None:
    match = _CAPTURE.fullmatch(text)
    if match and match[1] not in captures:
        known = ", ".join(sorted(captures)) or "none"
        raise _problem(
            section,
            key,
            label,
            f"'{shown(text)}' is no capture of its regex",
            hint=f"Its captures: {known}. %{{FLOAT:{match[1][:40]}}} in the regex makes one",
        )


def _subid(section: Section, label: str, captures: frozenset[str]) -> str:
    meta = section.section("meta")
    if meta is None:
        return ""
    meta.expect(("time", "subid"))
    subid = meta.text("subid")
    _check_capture(meta, "subid", label, subid, captures)
    return subid
