"""The reference pages that are made from the code: options, settings, errors.

``generate.py`` writes them below ``docs/reference/`` and checks that they are up to date.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from traitlets import TraitType
from traitlets.config import Configurable

from jupyter_ffdl import errors, training
from jupyter_ffdl.api.app import FfdlApp
from jupyter_ffdl.api.standalone import FfdlStandalone
from jupyter_ffdl.diagnosis import endings
from jupyter_ffdl.notebook import options, verbs
from jupyter_ffdl.trainer.service import Trainer

NOTE = "<!-- Generated from the code by `make generate`: change it there. -->"
SHOWN_DEFAULTS = {
    "state_dir": "`ffdl` in Jupyter's data directory",
    "max_running": "number of cores",
    "gpu_limits": "`DLAAS_GPU_LIMITS`",
}
"""Defaults that depend on the machine: the page must not."""


def write(folder: Path) -> list[str]:
    """Write all pages below ``folder`` and return their paths, relative to it."""
    pages = {"options": _options(), "configuration": _configuration(), "errors": _errors()}
    made = []
    for name, lines in pages.items():
        path = Path("docs", "reference", f"{name}.md")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("\n".join([NOTE, "", *lines, ""]), encoding="utf-8")
        made.append(str(path))
    return made


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(" ".join(cell.split()) for cell in row) + " |" for row in lines]


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _options() -> list[str]:
    rows = []
    for option in options.TRAIN:
        notes = [option.help]
        if option.choices:
            notes.append("one of: " + ", ".join(_code(choice) for choice in option.choices))
        if option.repeated:
            notes.append("may be repeated")
        flag = f"{option.flag} {option.metavar}".strip()
        rows.append([_code(flag), _code(option.keyword), "; ".join(notes)])
    lines = [
        "# Options",
        "",
        "Of `%%ffdl_train` and `%ffdl_train`, and the keyword of `train()` where there is one.",
        "",
        *_table(["magic", "`train()`", "what it does"], rows),
    ]
    for verb in verbs.VERBS.values():
        lines += ["", f"## `%ffdl {verb.usage}`", "", f"{verb.help[0].upper()}{verb.help[1:]}."]
        if verb.options:
            found = [[_code(f"{o.flag} {o.metavar}".strip()), o.help] for o in verb.options]
            lines += ["", *_table(["option", "what it does"], found)]
    return lines


def _configuration() -> list[str]:
    lines = [
        "# Settings",
        "",
        "Traits of the Jupyter server: in `jupyter_server_config.py` as",
        "`c.Trainer.max_running = 4`, on the command line as `--Trainer.max_running=4`.",
    ]
    known: set[str] = set()
    for owner in (FfdlApp, Trainer, FfdlStandalone):
        rows = [
            [_code(f"{owner.__name__}.{name}"), _default(trait), trait.help]
            for name, trait in _own_traits(owner)
            if not (owner is Trainer and name in known)
        ]
        known |= {name for name, _ in _own_traits(owner)}
        lines += ["", f"## {owner.__name__}", "", *_table(["setting", "default", "what"], rows)]
    return lines


def _own_traits(owner: type[Configurable]) -> Iterator[tuple[str, TraitType[object, object]]]:
    for name, trait in sorted(owner.class_own_traits(config=True).items()):
        if trait.this_class is owner and inspect.cleandoc(trait.help):
            yield name, trait


def _default(trait: TraitType[object, object]) -> str:
    shown = SHOWN_DEFAULTS.get(str(trait.name))
    return shown if shown is not None else _code(trait.default_value_repr())


def _errors() -> list[str]:
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.FfdlError)
    ]
    answers = [
        [str(found.http_status), (found.__doc__ or "").splitlines()[0].strip()]
        for found in sorted(classes, key=lambda found: found.http_status)
        if found is not errors.FfdlError
    ]
    return [
        "# Codes",
        "",
        "## Of a training",
        "",
        "`error_code` in its status and in refusals: S codes are the service's side, C codes the",
        "caller's. Not every code can occur on one machine.",
        "",
        *_table(
            ["code", "meaning"], ([_code(code), text] for code, text in training.CODES.items())
        ),
        "",
        "## Causes",
        "",
        "`cause` in a verdict: one word for programs. The sentence beside it is for people.",
        "",
        *(f"- {_code(cause)}" for cause in _causes()),
        "",
        "## Of an answer",
        "",
        "Beside 401 (no login), 403 (not allowed) and 500 (a bug of ours).",
        "",
        *_table(["HTTP", "meaning"], answers),
    ]


def _causes() -> list[str]:
    """Return every cause that a rule can give: the word beside a code, or of a meaning."""
    word = re.compile(r"[a-z][a-z_]+")
    position = {"Verdict": 1, "Meaning": 0, "_fixed": 0}
    found: set[str] = set()
    for path in sorted(Path(inspect.getfile(endings)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            place = position.get(node.func.id)
            if place is None or len(node.args) <= place:
                continue
            value = node.args[place]
            if isinstance(value, ast.Constant) and word.fullmatch(str(value.value)):
                found.add(str(value.value))
    return sorted(found)
