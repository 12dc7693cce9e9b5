"""Several learners, one training: when it is over, and as what (FfDL contract §5.5). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The command's end for the training: ``exit_code``, and the learner that decided it."""

    exit_code: int
    learner: int


def outcome(
    exits: Mapping[int, int],
    *,
    learners: int,
    workers: Collection[int],
    completion: str = "workers",
) -> Outcome | None:
    """Return how the training's command ended, or None while it goes on.

    ``exits`` has the exit codes of the learners that ended, in the order of their ends: the first
    that is not 0 ends the training for all. ``completion`` ``first`` is FfDL's way, the first end
    of any learner.
    """
    for learner, code in exits.items():
        if code != 0:
            return Outcome(code, learner)
    awaited = {
        "workers": set(workers),
        "all": set(range(1, learners + 1)),
        "master": {1},
    }.get(completion)
    if awaited is None:
        first = next(iter(exits), None)
        return None if first is None else Outcome(0, first)
    if awaited <= set(exits):
        return Outcome(0, next(reversed([n for n in exits if n in awaited])))
    return None
