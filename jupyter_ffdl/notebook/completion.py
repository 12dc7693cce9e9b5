"""What Tab offers after ``%ffdl`` and ``%ffdl_train``: verbs, options, values and ids."""

from __future__ import annotations

from ..errors import FfdlError
from . import client
from .options import TRAIN, complete
from .verbs import VERBS

_IDS = 100


def matches(line: str) -> list[str]:
    """Return what may stand at the end of ``line``, which begins with the magic."""
    magic, _, rest = line.lstrip().lstrip("%").partition(" ")
    if magic == "ffdl_train":
        return _training_line(rest)
    if magic != "ffdl":
        return []
    verb, space, arguments = rest.lstrip().partition(" ")
    if not space:
        return [name for name in VERBS if name.startswith(verb)]
    known = VERBS.get(verb)
    if known is None:
        return []
    found, option = complete(arguments, known.options)
    last = arguments.rpartition(" ")[2]
    if option is None and not last.startswith("-") and known.most_words:
        found += _ids(last)
    return found


def _training_line(rest: str) -> list[str]:
    found, option = complete(rest, TRAIN)
    if option is not None and option.flag == "--from":
        found += _ids(rest.rpartition(" ")[2])
    return found


def _ids(prefix: str) -> list[str]:
    """Return ids and names; a service that does not answer offers none."""
    try:
        known = client.trainings(limit=_IDS)
    except FfdlError:
        return []
    found = [one.id for one in known if one.id.startswith(prefix)]
    names = {one.name for one in known if one.name.startswith(prefix) and " " not in one.name}
    return [*found, *sorted(names)]
