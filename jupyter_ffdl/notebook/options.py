"""THE table of options: of the magics and of ``train()``, their help and their completion.

An option is named like its keyword (``--max-runtime`` is ``max_runtime=``), except for Python's
reserved words. Pure: what a value means for a submission is decided in ``submission``.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput

Check = Callable[["Option", Any], Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"(\d+)\s*([smhd]?)")
_SIZE = re.compile(r"\d+(\.\d+)?\s*(k|M|G|T|Ki|Mi|Gi|Ti|[mMgGtT][iI]?[bB])")
_FRAMEWORKS = (
    "tensorflow",
    "pytorch",
    "caffe",
    "caffe2",
    "h2o3",
    "horovod",
    "pytorchmpi",
    "custom",
)


@dataclass(frozen=True)
class Option:
    """One option. ``check`` turns what was given, text or Python value, into the value used."""

    flag: str
    help: str
    check: Check
    metavar: str = ""
    keyword: str = ""
    """The keyword of ``train()``; empty where only the magic has it."""
    repeated: bool = False
    choices: tuple[str, ...] = ()
    paths: bool = False
    example: str = ""

    @property
    def key(self) -> str:
        """The name under which the value is kept."""
        return self.keyword or self.flag[2:].replace("-", "_")

    @property
    def switch(self) -> bool:
        """Whether it takes no value."""
        return not self.metavar


def _wrong(option: Option, value: Any, what: str) -> BadInput:
    shown = value if isinstance(value, str) else repr(value)
    hint = f"Write {option.flag} {option.example}" if option.example else ""
    return BadInput(f"{option.flag} {shown}: {what}", field=option.key, hint=hint)


def a_text(option: Option, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise _wrong(option, value, "not a text of one line")
    return value.strip()


def a_choice(option: Option, value: Any) -> str:
    text = a_text(option, value)
    if text not in option.choices:
        raise _wrong(option, value, f"must be one of: {', '.join(option.choices)}")
    return text


def a_whole(at_least: int) -> Check:
    def check(option: Option, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d+", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise _wrong(option, value, f"not a whole number from {at_least}")
        return value

    return check


def _amount(option: Option, value: Any) -> float | int:
    if isinstance(value, str):
        try:
            value = int(value) if re.fullmatch(r"\d+", value) else float(value)
        except ValueError:
            raise _wrong(option, value, "not a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(option, value, "not a number")
    if not math.isfinite(value) or value <= 0:
        raise _wrong(option, value, "not a number above 0")
    return value


def _size(option: Option, value: Any) -> str:
    text = a_text(option, value)
    if not _SIZE.fullmatch(text):
        raise _wrong(option, value, "not a size with its unit")
    return text


def _duration(option: Option, value: Any) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    text = a_text(option, value)
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise _wrong(option, value, "not a duration like 90m, 12h, 2d or seconds")
    return int(match[1]) if match[2] in {"", "s"} else f"{match[1]}{match[2]}"


def _seconds(option: Option, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not value > 0:
            raise _wrong(option, value, "not a duration like 90m, 12h, 2d or seconds")
        return float(value)
    checked = str(_duration(option, value))
    unit = {"m": 60, "h": 3600, "d": 86400}.get(checked[-1])
    return float(checked) if unit is None else float(checked[:-1]) * unit


def _framework(option: Option, value: Any) -> dict[str, str]:
    name, _, version = a_text(option, value).partition(":")
    if name.lower() not in _FRAMEWORKS:
        close = difflib.get_close_matches(name.lower(), _FRAMEWORKS, 1)
        known = f"did you mean {close[0]}?" if close else f"known: {', '.join(_FRAMEWORKS)}"
        raise _wrong(option, value, f"not a framework ({known})")
    return {"name": name, "version": version or "latest"}


def _parameter(option: Option, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        for name, given in value.items():
            _parameter_name(option, name)
            if not _writable(given):
                raise _wrong(option, f"{name}={given!r}", "not a number, text, list or dict")
        return dict(value)
    name, separator, text = a_text(option, value).partition("=")
    if not separator:
        raise _wrong(option, value, "not of the form K=V")
    _parameter_name(option, name)
    return {name: literal(text)}


def _parameter_name(option: Option, name: Any) -> None:
    import keyword  # noqa: PLC0415  (rarely needed)

    if not isinstance(name, str) or not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise _wrong(option, name, "not a Python name")


def _writable(value: Any) -> bool:
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if isinstance(value, (list, tuple)):
        return all(_writable(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _writable(item) for key, item in value.items())
    return False


def literal(text: str) -> Any:
    """Return what ``text`` says as a Python literal or float, else the text itself."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            return float(text)
        except ValueError:
            return text
    return value if _writable(value) else text


def _environment(option: Option, value: Any) -> dict[str, str | None]:
    """Return names with values; None: the kernel's own value is meant."""
    if isinstance(value, Mapping):
        pairs = {str(name): None if given is None else str(given) for name, given in value.items()}
    elif isinstance(value, (list, tuple)):
        pairs = {}
        for item in value:
            pairs.update(_environment(option, item))
    else:
        name, separator, text = a_text(option, value).partition("=")
        pairs = {name: text if separator else None}
    for name in pairs:
        if not _NAME.fullmatch(name):
            raise _wrong(option, name, "not the name of a variable")
    return pairs


def _secret(option: Option, value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(
                option, "…", "not the name of a variable (the value itself is never written down)"
            )
    return names


def _paths(option: Option, value: Any) -> list[str]:
    values = list(value) if isinstance(value, (list, tuple, set)) else [value]
    return [_path(option, item) for item in values]


def _path(option: Option, value: Any) -> str:
    text = str(value) if hasattr(value, "__fspath__") else value
    return a_text(option, text)


def _identifier(option: Option, value: Any) -> str:
    text = a_text(option, value)
    if not _NAME.fullmatch(text):
        raise _wrong(option, value, "not a Python name")
    return text


def a_truth(option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(option, value, "must be True or False")
    return value


def _option(flag: str, help: str, check: Check, metavar: str = "", **more: Any) -> Option:  # noqa: A002
    keyword = more.pop("keyword", flag[2:].replace("-", "_"))
    return Option(flag, help, check, metavar, keyword, **more)


TRAIN: tuple[Option, ...] = (
    _option("--name", "name of the training (default: the notebook's)", a_text, "NAME"),
    _option("--backend", "where it runs", a_choice, "NAME", choices=("local",)),
    _option(
        "--framework",
        "framework as FfDL names it",
        _framework,
        "NAME[:VERSION]",
        choices=_FRAMEWORKS,
    ),
    _option("--learners", "equal processes that train together", a_whole(1), "N", example="2"),
    _option("--gpus", "GPUs of each learner; 0 hides them", a_whole(0), "N", example="1"),
    _option("--gpu-type", "the queue whose limit counts", a_text, "TYPE"),
    _option("--cpus", "cores of each learner", _amount, "N", example="2"),
    _option("--memory", "memory limit of each learner", _size, "SIZE", example="4Gb"),
    _option("--max-runtime", "ends the training after", _duration, "D", example="90m"),
    _option("--max-retries", "repetitions after a lost learner", a_whole(0), "N", example="1"),
    _option("--data", "directory that becomes DATA_DIR", _path, "PATH", paths=True),
    _option(
        "--results",
        "directory for the results, in a folder named by the id",
        _path,
        "PATH",
        paths=True,
    ),
    _option(
        "--param",
        "assignment before the cell's code; argument --K V of a .py file",
        _parameter,
        "K=V",
        repeated=True,
        example="lr=0.1",
    ),
    _option(
        "--env",
        "environment variable; NAME alone passes the kernel's",
        _environment,
        "K=V|NAME",
        repeated=True,
        example="DEBUG=1",
    ),
    _option(
        "--secret",
        "variable of the kernel whose value is passed and never shown",
        _secret,
        "NAME",
        repeated=True,
        example="HF_TOKEN",
    ),
    _option(
        "--with",
        "file or directory to ship beside the code",
        _paths,
        "PATH",
        keyword="files",
        repeated=True,
        paths=True,
        example="data.csv",
    ),
    _option("--cells", "which cells to ship", a_choice, "WHICH", choices=("this",)),
    _option("--manifest", "FfDL manifest that the options override", _path, "FILE", paths=True),
    _option("--from", "training whose settings to take", a_text, "ID", keyword=""),
    _option("--dry-run", "show what would be submitted, create nothing", a_truth),
    _option("--wait", "wait for the end; Ctrl-C detaches", a_truth),
    _option("--timeout", "with --wait: wait at most", _seconds, "D", example="10m"),
    _option("--as", "variable that gets the Training", _identifier, "NAME", keyword=""),
)
BY_FLAG: Mapping[str, Option] = {option.flag: option for option in TRAIN}
BY_KEYWORD: Mapping[str, Option] = {option.keyword: option for option in TRAIN if option.keyword}


@dataclass
class Parsed:
    """A line's options by key, checked, and the words that belong to none."""

    values: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of an option, or the default."""
        return self.values.get(key, default)


def parse(line: str, options: Sequence[Option] = TRAIN) -> Parsed:
    """Return what a magic's line says; ``BadInput`` names option, value and remedy."""
    try:
        words = shlex.split(line)
    except ValueError as e:
        raise BadInput(
            f"The line cannot be read ({str(e).lower()})", hint="Close the quotes"
        ) from e
    by_flag = {option.flag: option for option in options}
    parsed = Parsed()
    while words:
        word = words.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            parsed.words.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        if option is None:
            raise unknown_option(flag, options)
        if option.switch:
            if equals:
                raise BadInput(f"{flag} takes no value", hint=f"Write {flag} alone")
            given: Any = True
        elif equals:
            given = value
        elif words:
            given = words.pop(0)
        else:
            example = option.example or option.metavar
            raise BadInput(f"{flag} needs a value", hint=f"Write {flag} {example}")
        keep(parsed.values, option, given)
    return parsed


def keep(values: dict[str, Any], option: Option, given: Any) -> None:
    """Check a value and add it to the others: repeated options collect, else the last counts."""
    checked = option.check(option, given)
    before = values.get(option.key)
    if option.repeated and isinstance(before, dict):
        values[option.key] = {**before, **checked}
    elif option.repeated and isinstance(before, list):
        values[option.key] = [*before, *checked]
    else:
        values[option.key] = checked


def keywords(given: Mapping[str, Any], *, function: str = "train") -> dict[str, Any]:
    """Return checked keywords; an unknown one is a ``TypeError`` that names the valid ones."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        option = BY_KEYWORD.get(name)
        if option is None:
            valid = ", ".join(sorted(BY_KEYWORD))
            raise TypeError(f"{function}() has no keyword {name!r}; valid are: {valid}")
        if value is not None:
            keep(values, option, value)
    return values


def unknown_option(flag: str, options: Sequence[Option]) -> BadInput:
    """Return the error for an option that does not exist, with the nearest that does."""
    known = [option.flag for option in options]
    close = difflib.get_close_matches(flag, known, 1)
    hint = f"Did you mean {close[0]}?" if close else f"Options: {' '.join(known)}"
    return BadInput(f"There is no option {flag}", hint=hint)


def line_of(values: Mapping[str, Any]) -> str:
    """Return checked values as a magic's line, from which ``parse`` gives them back."""
    words: list[str] = []
    for option in TRAIN:
        value = values.get(option.key)
        if value is None or value is False:
            continue
        if option.switch:
            words.append(option.flag)
        elif option.key == "framework":
            words += [option.flag, f"{value['name']}:{value['version']}"]
        elif isinstance(value, Mapping):
            for name, item in value.items():
                text = name if item is None and option.key == "env" else f"{name}={_shown(item)}"
                words += [option.flag, text]
        else:
            for item in value if isinstance(value, list) else [value]:
                words += [option.flag, str(item)]
    return shlex.join(words)


def _shown(value: Any) -> str:
    """Return a parameter's value so that ``literal`` gives it back."""
    return value if isinstance(value, str) and literal(value) == value else repr(value)


def help_text(options: Sequence[Option] = TRAIN) -> str:
    """Return the options as an aligned list, one a line."""
    rows = []
    for option in options:
        left = f"{option.flag} {option.metavar}".strip()
        more = " (repeatable)" if option.repeated else ""
        choices = f": {', '.join(option.choices)}" if 0 < len(option.choices) < 4 else ""
        rows.append((left, f"{option.help}{choices}{more}"))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def complete(line: str, options: Sequence[Option] = TRAIN) -> tuple[list[str], Option | None]:
    """Return what may stand at the end of ``line``, and the option whose value stands there.

    The matches replace the last word, which may be empty. Paths are the front end's to complete.
    """
    words = line.split(" ")
    last, before = words[-1], [word for word in words[:-1] if word]
    by_flag = {option.flag: option for option in options}
    if before and (option := by_flag.get(before[-1])) and not option.switch:
        return [choice for choice in option.choices if choice.startswith(last)], option
    if last.startswith("-"):
        used = {word.partition("=")[0] for word in before}
        return [
            option.flag
            for option in options
            if option.flag.startswith(last) and (option.repeated or option.flag not in used)
        ], None
    return [], None
