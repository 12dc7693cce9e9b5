"""``%ffdl``'s verbs: THE table of them, with their options and what they do."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, NotFound
from ..training import Status
from . import client, words
from .client import Training
from .options import Option, Parsed, a_choice, a_text, a_truth, a_whole, help_text, parse


@dataclass(frozen=True)
class Verb:
    """One verb: its usage, what it does in a few words, its options, and the function."""

    name: str
    usage: str
    help: str
    run: Callable[[Parsed], Any]
    options: tuple[Option, ...] = ()
    most_words: int = 1


def run(line: str) -> Any:
    """Do what a line says."""
    name, _, rest = line.strip().partition(" ")
    if not name or name in {"help", "-h", "--help"}:
        print(usage())  # noqa: T201
        return None
    verb = VERBS.get(name)
    if verb is None:
        close = difflib.get_close_matches(name, VERBS, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Verbs: {', '.join(VERBS)}"
        raise BadInput(f"There is no verb {name}", hint=hint)
    given = parse(rest, verb.options)
    if len(given.words) > verb.most_words:
        raise BadInput(
            f"{given.words[verb.most_words]}: too many words", hint=f"%ffdl {verb.usage}"
        )
    return verb.run(given)


def usage() -> str:
    """Return all verbs, one a line."""
    width = max(len(verb.usage) for verb in VERBS.values())
    return "\n".join(f"%ffdl {verb.usage:<{width}}  {verb.help}" for verb in VERBS.values())


def find(text: str | None) -> Training:
    """Return the training that an id, a unique prefix or a name means; none: the latest here.

    Of several with one name the latest is meant, and that is said aloud.
    """
    if text is None:
        return _latest()
    if text.startswith("training-") or len(text) >= 9:
        try:
            training = Training(text)
            training.refresh()
            _ = training.status
            return training
        except (NotFound, BadInput):
            pass
    known = client.trainings()
    bare = text if text.startswith("training-") else f"training-{text}"
    by_prefix = [one for one in known if one.id.startswith(bare)] if len(text) >= 4 else []
    if len(by_prefix) == 1:
        return by_prefix[0]
    name, separator, number = text.rpartition("#")
    named = [one for one in known if one.name == (name.strip() if separator else text)]
    if separator and number.isdigit():
        named = [one for one in named if one.number == int(number)]
    if named:
        if len(named) > 1:
            _say(f"{len(named)} trainings are named {text}; the latest is {named[0].id}")
        return named[0]
    if by_prefix:
        some = ", ".join(one.id for one in by_prefix[:5])
        raise BadInput(f"{text} begins several ids: {some}", hint="Write more of the id")
    raise NotFound(f"There is no training {text}", hint="%ffdl list shows them")


def _latest() -> Training:
    """Return the latest training of this kernel, else of this notebook."""
    training = client.latest()
    if training is not None:
        return training
    from .kernel import notebook  # noqa: PLC0415

    path = notebook().path
    name = Path(path).name if path else None
    for training in client.trainings(limit=50):
        if name is None or Path(training.notebook or "").name == name:
            _say(f"The latest is {training.id} ({training.name})")
            return training
    raise NotFound(
        "No training was submitted from this notebook", hint="%ffdl list shows all of them"
    )


def _one(given: Parsed) -> Training:
    return find(given.words[0] if given.words else None)


def _named(given: Parsed, verb: str) -> Training:
    """Return the training of a verb that changes something: it must be named."""
    if not given.words:
        raise BadInput(f"%ffdl {verb} needs an ID", hint="%ffdl list shows them")
    return find(given.words[0])


class Trainings(list[Training]):
    """Trainings as a table."""

    def __repr__(self) -> str:
        if not self:
            return "No trainings"
        rows = [(one.id, one.name, _where(one), words.duration(_elapsed(one))) for one in self]
        heads = ("ID", "Name", "Status", "Elapsed")
        widths = [
            max(len(head), *(len(row[index]) for row in rows)) for index, head in enumerate(heads)
        ]
        return "\n".join(
            "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
            for row in [heads, *rows]
        )


def _where(training: Training) -> str:
    status = training.info["training"]["training_status"]
    reason = words.describe(status)
    return reason[:60] if status.get("status") == "FAILED" else words.label(status)


def _elapsed(training: Training) -> float:
    from .state import State  # noqa: PLC0415

    state = State(training.id)
    state.learn(training.info)
    return state.elapsed()


def _list(given: Parsed) -> Trainings:
    return Trainings(
        client.trainings(
            status=given.get("status"), name=given.get("name"), limit=given.get("n", 20)
        )
    )


def _show(given: Parsed) -> Training:
    return _one(given)


def _logs(given: Parsed) -> None:
    training = _one(given)
    tail = given.get("tail", 200)
    query = {"learner": given.get("learner"), "attempt": given.get("attempt")}
    if given.get("follow"):
        try:
            for line in training.logs(follow=True, **query):
                print(line)  # noqa: T201
        except KeyboardInterrupt:
            _say(f"Detached: {training.id} goes on")
        return
    from collections import deque  # noqa: PLC0415

    count = 0
    kept: deque[str] = deque(maxlen=tail)
    for line in training.logs(**query):
        count += 1
        kept.append(line)
    if count > len(kept):
        left = words.plural(count - len(kept), "earlier line")
        _say(f"… {left} left out (--tail {count} shows all)")
    for line in kept:
        print(line)  # noqa: T201
    if not count:
        _say(f"No output yet: {words.label(training.info['training']['training_status'])}")


def _scalars(given: Parsed) -> Any:
    return _one(given).scalars(given.get("tag"), max_points=2000)


def _stacks(given: Parsed) -> None:
    training = _one(given)
    stacks = training.stacks()
    if not stacks:
        _say(f"{training.id} has no interpreter that can answer now ({training.status})")
    groups: dict[str, list[str]] = {}
    for stack in stacks:
        who = f"learner {stack['learner']}, pid {stack['pid']}"
        groups.setdefault(stack["text"], []).append(who)
    for text, several in groups.items():
        print(f"{'; '.join(several)}\n{text}")  # noqa: T201


def _halt(given: Parsed) -> Training:
    training = _named(given, "halt")
    if training.done:
        _say(f"{training.id} has ended already")
    else:
        training.halt()
        _say(f"Halting {training.id}; its logs and results stay")
    return training


def _delete(given: Parsed) -> None:
    training = _named(given, "delete")
    live = not training.done
    training.delete(results=bool(given.get("results")))
    what = "its results too" if given.get("results") else "its results are kept"
    _say(f"Deleted {training.id}{' (halted first)' if live else ''}; {what}")


def _results(given: Parsed) -> Any:
    if len(given.words) < 2:
        return _one(given).results
    training = find(given.words[0])
    paths = training.results.download(given.words[1])
    _say(f"Wrote {words.plural(len(paths), 'file')} to {Path(given.words[1]).resolve()}")
    return training.results


def _doctor(_: Parsed) -> Any:
    from .doctor import examine  # noqa: PLC0415

    return examine(client.default_service())


def _say(text: str) -> None:
    print(text, file=sys.stdout)  # noqa: T201


def _strings(option: Option, value: Any) -> list[str]:
    return [a_text(option, value)]


_LEARNER = (
    Option("--learner", "one learner, from 1", a_whole(1), "N", example="1"),
    Option("--attempt", "one attempt, from 1", a_whole(1), "N", example="1"),
)
VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "list",
            "list [--status S] [--name N] [-n 20]",
            "trainings, newest first",
            _list,
            (
                Option(
                    "--status",
                    "only those with this status",
                    a_choice,
                    "S",
                    choices=tuple(Status.__members__),
                ),
                Option("--name", "only those with this in their name", a_text, "N"),
                Option("-n", "at most so many", a_whole(1), "N", keyword="n", example="20"),
            ),
            most_words=0,
        ),
        Verb("show", "show [ID]", "the view that its cell shows", _show),
        Verb(
            "logs",
            "logs [ID] [--follow] [--tail 200] [--learner N] [--attempt N]",
            "its output",
            _logs,
            (
                Option("--follow", "go on until it ends; Ctrl-C detaches", a_truth),
                Option("--tail", "the last lines only", a_whole(0), "N", example="200"),
                *_LEARNER,
            ),
        ),
        Verb(
            "scalars",
            "scalars [ID] [--tag T]…",
            "curves and last values",
            _scalars,
            (Option("--tag", "only this curve", _strings, "T", repeated=True),),
        ),
        Verb("stacks", "stacks [ID]", "what its threads do now", _stacks),
        Verb("halt", "halt ID", "stop it; logs and results stay", _halt),
        Verb(
            "delete",
            "delete ID [--results]",
            "remove it and its records",
            _delete,
            (Option("--results", "remove its results, too", a_truth),),
        ),
        Verb("results", "results [ID] [DEST]", "list its results, or fetch them", _results, (), 2),
        Verb("doctor", "doctor", "check everything, and say how to fix it", _doctor, (), 0),
    )
}

__all__ = ["VERBS", "Trainings", "find", "help_text", "run", "usage"]
