r"""Python tracebacks in a log, as a person would find the last one.

The hook's records are better; this is for interpreters that it could not watch (``python -I``,
another image, a process that ended by ``os._exit``). What a log does to a traceback: colours, a
progress bar's ``\r``, a launcher's prefix on every line, lines of other processes in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .observation import Failure, Frame, Link

MAX_FOREIGN_LINES = 10
"""Lines of others inside one traceback before it is given up."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_HEADER = re.compile(
    r"^(?P<prefix>.*?)(?P<group>\+ Exception Group )?Traceback \(most recent call last\):$"
)
_FRAME = re.compile(r'^  File "(?P<file>.+?)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_ERROR = re.compile(r"^(?P<type>[^\W\d]\w*(?:\.(?:[^\W\d]\w*|<locals>))*)(?:: ?(?P<message>.*))?$")
_POINTERS = re.compile(r"^\s*[~^][~^\s]*$")
_RELATIONS = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
_FATAL = re.compile(r"^Fatal Python error: (?P<message>.+)$")
_FAULT_FRAME = re.compile(r'^  File "(?P<file>.+?)", line (?P<line>\d+) in (?P<name>.+)$')


@dataclass(frozen=True)
class Found:
    """A traceback in a log and how many lines with text came after it."""

    failure: Failure
    lines_after: int


@dataclass(frozen=True)
class _Parsed:
    failure: Failure
    prefix: str
    group: bool
    end: int


def lines_of(data: bytes) -> list[str]:
    r"""Return the lines as seen on a screen: no colours, only the last text between ``\r``."""
    text = _ANSI.sub("", data.decode("utf-8", "replace"))
    return [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]


def last_lines(data: bytes, count: int = 20, width: int = 500) -> list[str]:
    """Return the last lines with text, oldest first, each at most ``width`` long."""
    return [line[:width] for line in lines_of(data) if line][-count:]


def last_traceback(data: bytes) -> Found | None:
    """Return the last traceback of the log, with those that it names as its causes."""
    lines = lines_of(data)
    last: _Parsed | None = None
    for parsed in _tracebacks(lines):
        if last is not None and last.group and parsed.prefix.startswith(last.prefix[:-2] + "  "):
            links = (*last.failure.chain, _link("group", parsed.failure), *parsed.failure.chain)
            last = replace(last, failure=replace(last.failure, chain=links), end=parsed.end)
            continue
        failure = parsed.failure
        relation = _relation(lines, last.end if last else 0, parsed)
        if last is not None and relation:
            links = (_link(relation, last.failure), *last.failure.chain)
            failure = replace(failure, chain=links)
        last = replace(parsed, failure=failure)
    if last is None:
        return None
    return Found(last.failure, sum(1 for line in lines[last.end :] if line))


def traceback_in(text: str) -> Failure | None:
    """Return the traceback that a message quotes (DataLoader workers, spawned processes)."""
    found = last_traceback(text.encode("utf-8", "replace"))
    return None if found is None else found.failure


def last_fault(text: str) -> Failure | None:
    """Return what faulthandler said about the last fatal signal; its frames begin innermost."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if _FATAL.match(line)]
    if not starts:
        return None
    frames: list[Frame] = []
    current = False
    for line in lines[starts[-1] + 1 :]:
        match = _FAULT_FRAME.match(line)
        if line.startswith(("Current thread", "Stack (")):
            current = True
        elif match and current:
            frames.append(Frame(match["file"], int(match["line"]), match["name"]))
        elif frames:
            break
    fatal = _FATAL.match(lines[starts[-1]])
    message = fatal["message"] if fatal else ""
    return Failure(type="Fatal Python error", message=message, frames=tuple(reversed(frames)))


def _tracebacks(lines: list[str]) -> Iterator[_Parsed]:
    at = 0
    while at < len(lines):
        parsed = _parse(lines, at)
        if parsed is not None:
            yield parsed
        at = max(at + 1, parsed.end if parsed else 0)


def _parse(lines: list[str], at: int) -> _Parsed | None:
    header = _HEADER.match(lines[at])
    if header is None:
        return _headless(lines, at)
    group = header["group"] is not None
    prefix = header["prefix"] + ("| " if group else "")
    frames: list[Frame] = []
    foreign = 0
    for number, line in _body(lines, at + 1, prefix):
        if line is None:
            foreign += 1
        elif match := _FRAME.match(line):
            frames.append(Frame(match["file"], int(match["line"]), match["name"] or ""))
        elif line.startswith("    ") and frames:
            if not frames[-1].text and not _POINTERS.match(line):
                frames[-1] = replace(frames[-1], text=line.strip())
        elif line.startswith(" ") or not line:
            continue  # "[Previous line repeated 996 more times]"
        elif (error := _ERROR.match(line)) and _is_type(error["type"]):
            end, message = _message(lines, number, prefix, error["message"] or "")
            failure = Failure(type=error["type"], message=message, frames=tuple(frames))
            return _Parsed(failure, prefix, group, end)
        else:
            foreign += 1
        if foreign > MAX_FOREIGN_LINES:
            return None
    return None


def _headless(lines: list[str], at: int) -> _Parsed | None:
    """Parse what ``python broken.py`` prints for wrong syntax: no header, no function."""
    match = _FRAME.match(lines[at])
    if match is None or match["name"]:
        return None
    frame = Frame(match["file"], int(match["line"]))
    for number in range(at + 1, min(at + 5, len(lines))):
        line = lines[number]
        error = _ERROR.match(line)
        if error and error["type"] in ("SyntaxError", "IndentationError", "TabError"):
            failure = Failure(type=error["type"], message=error["message"] or "", frames=(frame,))
            return _Parsed(failure, "", group=False, end=number + 1)
        if line.startswith("    ") and not frame.text and not _POINTERS.match(line):
            frame = replace(frame, text=line.strip())
    return None


def _body(lines: list[str], at: int, prefix: str) -> Iterator[tuple[int, str | None]]:
    """Yield the lines after a header without their prefix; None for lines of somebody else."""
    if not prefix:
        yield from enumerate(lines[at:], at)
        return
    # A launcher's prefix may count or carry the time; a logger's stands on the first line only.
    same = re.compile(re.escape(prefix))
    alike = re.compile(re.sub(r"\d+", r"\\d+", re.escape(prefix)))
    following = lines[at] if at < len(lines) else ""
    if not same.match(following) and _FRAME.match(following):
        same = re.compile("")
    elif not same.match(following):
        same = alike
    for number in range(at, len(lines)):
        match = same.match(lines[number])
        if match:
            yield number, lines[number][match.end() :]
        elif lines[number].startswith(prefix.rstrip()) and len(lines[number]) <= len(prefix):
            yield number, ""
        else:
            yield number, None


def _message(lines: list[str], number: int, prefix: str, message: str) -> tuple[int, str]:
    """Return the line after the error, and its message with the indented lines that follow."""
    parts = [message]
    end = number + 1
    for at, line in _body(lines, number + 1, prefix):
        if not line or not line[0].isspace() or len(parts) >= 20:
            break
        parts.append(line)
        end = at + 1
    return end, "\n".join(parts)


def _is_type(name: str) -> bool:
    """Whether a word before a colon can be an exception: ``loss: 0.3`` in between is none."""
    last = name.rpartition(".")[2]
    return "." in name or last[:1].isupper()


def _relation(lines: list[str], end: int, parsed: _Parsed) -> str:
    """Return how the traceback before led to this one, if the lines between say so."""
    start = next(at for at in range(parsed.end - 1, -1, -1) if _is_start(lines[at], parsed))
    for line in lines[end:start]:
        for text, relation in _RELATIONS.items():
            if line.endswith(text):
                return relation
    return ""


def _is_start(line: str, parsed: _Parsed) -> bool:
    return bool(_HEADER.match(line)) or (not parsed.prefix and bool(_FRAME.match(line)))


def _link(relation: str, failure: Failure) -> Link:
    last = failure.frames[-1] if failure.frames else Frame("", 0)
    return Link(relation, failure.type, failure.message[:500], last.file, last.line)
