"""How a learner ended, in one sentence: the rules from the surest to the last resort."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import places, sizes, tracebacks
from .exceptions import meaning
from .observation import Failure, Frame, Link, Observation
from .verdict import Remedy, Verdict

MAX_MESSAGE = 200
"""Characters of an exception's message in a sentence that must fit one row."""
MAX_LINES_AFTER = 20
"""Lines after a traceback in the log beyond which the program has plainly gone on."""

_CARRIERS = frozenset(
    {
        "BrokenProcessPool",
        "CalledProcessError",
        "ChildFailedError",
        "ProcessExitedException",
        "ProcessRaisedException",
        "RayTaskError",
        "TerminatedWorkerError",
    }
)
"""Exceptions that say no more than that another process failed."""

_SHELLS = r"(?:/\S*/)?(?:bash|sh|dash|env|nohup|timeout)"
_SAID = rf"^{_SHELLS}: (?:line )?(?:\d+: )?(?:exec: )?(?P<name>[^:]+): "
_NOT_FOUND = re.compile(
    rf"{_SAID}"
    r"(?:command not found|not found|No such file or directory)$"
)
_NOT_EXECUTABLE = re.compile(
    rf"{_SAID}"
    r"(?P<why>Permission denied|Is a directory|cannot execute.*|.*[Ee]xec format error|"
    r".*bad interpreter.*|required file not found)$"
)
_NO_SCRIPT = re.compile(r"can't open file '(?P<file>[^']+)': \[Errno 2\]")
_NO_MODULE = re.compile(r"(?:^|: )No module named '?(?P<name>[\w.]+)'?(?:$|\)$|; )")
_WHAT = re.compile(r"^\s*what\(\):\s+(?P<text>.+)$")
_ABORTS = re.compile(
    r"terminate called|what\(\)|Check failed|Assertion .* failed|malloc\(\)|free\(\)|double free|"
    r"corrupted|munmap_chunk|stack smashing|libc\+\+abi|buffer overflow detected|FATAL|Fatal"
)

_SIGNALS: dict[str, tuple[str, str]] = {
    "SIGSEGV": ("segmentation fault", "A library in C or C++ failed; see the stack below"),
    "SIGBUS": ("bus error", "Often shared memory or the disk was full while a file was mapped"),
    "SIGFPE": ("arithmetic error in compiled code", "Often an integer division by zero"),
    "SIGILL": ("illegal instruction", "A package was built for another processor"),
    "SIGABRT": ("aborted", "A library gave up; its last words stand in the log"),
    "SIGKILL": (
        "killed from outside",
        "Often the kernel's out-of-memory killer: ask for less, or for a machine with more memory",
    ),
    "SIGTERM": ("asked to end from outside", ""),
    "SIGINT": ("interrupted from outside", ""),
    "SIGHUP": ("its terminal or session ended", ""),
    "SIGXCPU": ("the limit on processor time was reached", "Raise it (ulimit -t)"),
    "SIGXFSZ": ("the limit on a file's size was reached", "Raise it (ulimit -f)"),
    "SIGPIPE": ("wrote to a pipe that nobody reads", ""),
    "SIGUSR1": ("a user signal that nobody handled", ""),
    "SIGUSR2": ("a user signal that nobody handled", ""),
    "SIGSYS": ("a system call that is not allowed here", ""),
    "SIGTRAP": ("a debugger's trap in compiled code", ""),
}

_STEPS = {
    "load-model": ("S301", "The code could not be unpacked"),
    "load-data": ("S302", "The data could not be loaded"),
    "store-results": ("S303", "The results could not be stored"),
    "store-logs": ("S303", "The logs could not be stored"),
}

Rule = Callable[[Observation], "Verdict | None"]


def diagnose(seen: Observation) -> Verdict:
    """Return the verdict on one learner; always one, if need be *Cause not identified*."""
    verdict = next(found for rule in _RULES if (found := rule(seen)) is not None)
    if seen.learners > 1 and verdict.cause not in _OF_ALL:
        verdict = replace(verdict, sentence=f"Learner {seen.learner}: {verdict.sentence}")
    if seen.nan is not None and verdict.cause in ("exception", "nan", "exit", "assertion"):
        tag, step = seen.nan
        verdict = replace(
            verdict,
            remedy=Remedy(
                f"{tag} became NaN at step {step}: lower the learning rate or clip the gradients"
            ),
        )
    return replace(verdict, evidence=_evidence(seen), final=seen.final)


def first_to_fail(observations: Sequence[Observation]) -> Observation | None:
    """Return the learner that failed first: the others ended because of it.

    Those that we ended count only if nobody failed on its own.
    """
    failed = [seen for seen in observations if seen.lost or seen.exit_code or _signal(seen)]
    alone = [seen for seen in failed if seen.killed_by != "gang"]
    ordered = sorted(alone or failed, key=lambda seen: (seen.ended or float("inf"), seen.learner))
    return ordered[0] if ordered else None


# Rules: None where the rule does not apply


def _halted(seen: Observation) -> Verdict | None:
    if seen.killed_by != "halt":
        return None
    by = f" by {seen.halted_by}" if seen.halted_by else ""
    return Verdict("000", "halted", f"Halted{by}", places.where(None, seen))


def _step_failed(seen: Observation) -> Verdict | None:
    if seen.step not in _STEPS:
        return None
    code, sentence = _STEPS[seen.step]
    place = places.where(None, seen)
    if seen.disk_full:
        return Verdict(code, "disk_full", f"{sentence}: the disk is full", place, remedy=_ROOM)
    last = tracebacks.last_lines(seen.log_tail, 1)
    detail = f": {last[0][:MAX_MESSAGE]}" if last else f" (exit code {seen.exit_code})"
    return Verdict(code, "step", sentence + detail, place)


def _ran_too_long(seen: Observation) -> Verdict | None:
    if seen.killed_by != "max_runtime":
        return None
    limit = seen.max_runtime_seconds
    after = f" of {_duration(limit)}" if limit else ""
    return Verdict(
        "C104",
        "max_runtime",
        f"Stopped after its longest run time{after}",
        places.where(None, seen),
        remedy=Remedy(
            "Raise --max-runtime; training goes on from CHECKPOINT_DIR if the code saves there",
            "--max-runtime",
            _duration(2 * limit) if limit else "",
        ),
    )


def _too_much_memory(seen: Observation) -> Verdict | None:
    limit, peak = seen.memory_limit_bytes, seen.peak_memory_bytes
    # The kernel may have been faster than whoever watches the limit.
    at_the_limit = limit and peak and peak >= 0.95 * limit and _signal(seen) == "SIGKILL"
    if seen.killed_by != "memory" and not (seen.killed_by is None and at_the_limit):
        return None
    used = ""
    if limit:
        used = f": used {sizes.shown(max(peak or 0, limit))} of {sizes.shown(limit)}"
    return Verdict(
        "C201",
        "out_of_memory",
        f"Out of memory{used}. Ask for more",
        places.where(None, seen),
        remedy=sizes.ask_for_more(limit),
    )


def _gone(seen: Observation) -> Verdict | None:
    if seen.lost is None:
        return None
    return Verdict(
        "S104",
        "lost",
        f"Lost: {seen.lost}",
        places.where(None, seen),
        remedy=Remedy("Run it again; the log ends with the last lines that were written"),
    )


def _because_of_another(seen: Observation) -> Verdict | None:
    if seen.killed_by != "gang":
        return None
    who = f"learner {seen.failed_learner}" if seen.failed_learner else "another learner"
    return Verdict("C201", "gang", f"Ended because {who} failed", places.where(None, seen))


def _succeeded(seen: Observation) -> Verdict | None:
    if seen.exit_code != 0 or _signal(seen):
        return None
    return Verdict("000", "completed", "Completed", places.where(None, seen))


def _crashed(seen: Observation) -> Verdict | None:
    """Return what a fatal signal means; an exception before it (Ctrl-C) is told as such."""
    name = _signal(seen)
    if not name:
        return None
    if name in ("SIGINT", "SIGTERM", "SIGHUP") and _recorded(seen) is not None:
        return None
    words, advice = _SIGNALS.get(name, ("ended by a signal", ""))
    fault = tracebacks.last_fault(seen.faults) or tracebacks.last_fault(
        "\n".join(tracebacks.lines_of(seen.log_tail))
    )
    frame = places.failing_frame(fault, seen) if fault else None
    place = places.where(frame, seen)
    at = f" in {place}" if place.file else ""
    if name == "SIGABRT":
        last = _last_words(seen)
        if "bad_alloc" in last:
            remedy = sizes.ask_for_more(seen.memory_limit_bytes)
            sentence = f"Out of memory{at}: {last}"
            return Verdict("C201", "memory_error", sentence, place, remedy=remedy)
        words = f"{words}: {last}" if last else words
    if name == "SIGBUS" and seen.disk_full:
        words, advice = "the disk is full", _ROOM.text
    return Verdict(
        "C201",
        "signal",
        f"Ended by {name}{at}: {words}",
        place,
        source=places.source(frame, seen),
        remedy=Remedy(advice) if advice else None,
        traceback=places.traceback(fault, seen) if fault else (),
    )


def _raised(seen: Observation) -> Verdict | None:
    """Return the exception that the hook saw, or the log's last traceback."""
    failure = _recorded(seen) or _logged(seen)
    return None if failure is None else _of_failure(failure, seen)


def _shell_failed(seen: Observation) -> Verdict | None:
    """Return what the shell said about a command that it could not run."""
    lines = tracebacks.last_lines(seen.log_tail)
    place = places.where(None, seen)
    for line in reversed(lines):
        found = _NOT_FOUND.match(line)
        if found and seen.exit_code in (127, 126):
            return Verdict(
                "C201",
                "command_not_found",
                f"Command not found: {found['name']}",
                place,
                remedy=Remedy("Correct the command, or install the program where it runs"),
            )
        found = _NOT_EXECUTABLE.match(line)
        if found and seen.exit_code in (126, 127):
            return Verdict(
                "C201",
                "not_executable",
                f"Cannot execute {found['name']}: {found['why']}",
                place,
                remedy=Remedy(f"Make it executable (chmod +x {found['name']}), or name its shell"),
            )
        found = _NO_SCRIPT.search(line)
        if found:
            name = places.relative(found["file"], seen)
            remedy = Remedy(f"Ship it with --with {name}", "--with", name)
            sentence = f"There is no {name} to run"
            return Verdict("C201", "missing_file", sentence, place, remedy=remedy)
        found = _NO_MODULE.search(line)
        if found:
            failure = Failure("ModuleNotFoundError", f"No module named '{found['name']}'")
            return _of_failure(failure, seen)
    return None


def _disk_was_full(seen: Observation) -> Verdict | None:
    if not seen.disk_full:
        return None
    return Verdict("C201", "disk_full", "The disk is full", places.where(None, seen), remedy=_ROOM)


def _exited(seen: Observation) -> Verdict | None:
    """Return the exit code with the last line: programs say there why they stop."""
    last = tracebacks.last_lines(seen.log_tail, 1)
    if not seen.exit_code or not last:
        return None
    return Verdict(
        "C201",
        "exit",
        f"Exited with code {seen.exit_code}: {last[0][:MAX_MESSAGE]}",
        places.where(None, seen),
    )


def _unknown(seen: Observation) -> Verdict:
    code = "none" if seen.exit_code is None else seen.exit_code
    sentence = f"Cause not identified (exit code {code})"
    return Verdict("C201", "unknown", sentence, places.where(None, seen))


_ROOM = Remedy("Free some room on the disk, then run it again")
_OF_ALL = frozenset({"halted", "max_runtime", "completed", "step"})
_RULES: tuple[Rule, ...] = (
    _halted,
    _step_failed,
    _ran_too_long,
    _too_much_memory,
    _gone,
    _because_of_another,
    _succeeded,
    _crashed,
    _raised,
    _shell_failed,
    _disk_was_full,
    _exited,
    _unknown,
)


# What they share


def _of_failure(failure: Failure, seen: Observation) -> Verdict:
    failure = _innermost(failure)
    means = meaning(failure, seen)
    frame = places.failing_frame(failure, seen)
    place = places.where(frame, seen)
    at = f" in {place}" if place.file else ""
    words = failure.message if means.message is None else means.message
    return Verdict(
        "C201",
        means.cause,
        f"{means.title or failure.short_type}{at}{_said(words)}{_of_group(failure)}",
        place,
        source=places.source(frame, seen),
        shapes=failure.shapes,
        remedy=means.remedy,
        traceback=places.traceback(failure, seen),
    )


def _said(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    text = lines[0] if len(lines[0]) > 1 else " ".join(lines)
    return ": " + (text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…")


def _innermost(failure: Failure) -> Failure:
    """Return the failure that ``failure`` only passes on: quoted text, or a group's first."""
    quoted = tracebacks.traceback_in(failure.message)
    if quoted is not None and quoted.frames:
        chain = (Link("context", failure.type, failure.message[:500]), *failure.chain)
        return replace(quoted, chain=chain, kind=failure.kind)
    for link in failure.chain:
        # A pool's worker: the type and message are its own, the frames are those of the waiting.
        if link.relation == "cause" and link.type.endswith("RemoteTraceback"):
            quoted = tracebacks.traceback_in(link.message)
            if quoted is not None and quoted.frames:
                return replace(failure, frames=quoted.frames, shapes=())
    members = [link for link in failure.chain if link.relation == "group"]
    leaves = [link for link in members if not link.type.endswith("ExceptionGroup")] or members
    if failure.short_type.endswith("ExceptionGroup") and leaves:
        first = leaves[0]
        frame = Frame(first.file, first.line) if first.file else None
        return replace(
            failure,
            type=first.type,
            message=first.message,
            frames=(*failure.frames, *((frame,) if frame else ())),
            shapes=(),
        )
    return failure


def _of_group(failure: Failure) -> str:
    others = sum(1 for link in failure.chain if link.relation == "group") - 1
    return f" (and {others} more)" if others > 0 else ""


def _recorded(seen: Observation) -> Failure | None:
    """Return the hook's record that ended the learner.

    The last of a main program counts, since its process ended by it. Where that only passes on
    what another process said, that one's record is better; threads and children count alone.
    """
    failures = [found for each in seen.exceptions if (found := Failure.from_record(each))]
    failures.sort(key=lambda failure: failure.time)
    mains = [failure for failure in failures if failure.kind == "main"]
    if not mains:
        return failures[0] if failures else None
    last = mains[-1]
    if last.short_type in _CARRIERS:
        others = [failure for failure in failures if failure.pid != last.pid]
        return others[0] if others else last
    return last


def _logged(seen: Observation) -> Failure | None:
    found = tracebacks.last_traceback(seen.log_tail)
    if found is None or (seen.hooked and found.lines_after > MAX_LINES_AFTER):
        return None
    return found.failure


def _signal(seen: Observation) -> str:
    """Return the name of the signal that ended the command, or nothing."""
    number = seen.signal or 0
    code = seen.exit_code or 0
    if not number and code < 0:
        number = -code
    if not number and code > 128:
        number = code - 128
    try:
        return signals.Signals(number).name
    except ValueError:
        return ""


def _last_words(seen: Observation) -> str:
    lines = tracebacks.last_lines(seen.log_tail)
    for line in reversed(lines):
        what = _WHAT.match(line)
        if what:
            return what["text"]
    said = [line.strip() for line in lines if _ABORTS.search(line)]
    said = [line for line in said if "Fatal Python error" not in line]
    return said[-1][:MAX_MESSAGE] if said else ""


def _evidence(seen: Observation) -> dict[str, object]:
    return {
        "exit_code": seen.exit_code,
        "signal": _signal(seen) or None,
        "last_lines": tracebacks.last_lines(seen.log_tail),
        "peak_memory_bytes": seen.peak_memory_bytes,
        "memory_limit_bytes": seen.memory_limit_bytes,
    }


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:.0f}"
