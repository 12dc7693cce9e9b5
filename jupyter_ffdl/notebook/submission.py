"""From options to a training: what is submitted, planned, or run again."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import BadInput, FfdlError
from .authoring import bundle, cell, environment, git, manifest
from .client import Training
from .connection import Part, new_key
from .options import keywords, line_of, parse
from .service import Service

if TYPE_CHECKING:
    from .plan import Plan

SCRIPT = "train.py"
_AS_IN_MANIFEST = (
    "backend",
    "learners",
    "gpus",
    "gpu_type",
    "cpus",
    "memory",
    "max_runtime",
    "max_retries",
)
RERUN = frozenset({"name", *_AS_IN_MANIFEST} - {"backend"})
_NOT_SETTINGS = frozenset({"from", "as", "wait", "timeout", "dry_run", "cells"})
_MANIFEST_SUFFIXES = frozenset({".yml", ".yaml", ".json"})


@dataclass(frozen=True)
class Cell:
    """A cell that is to be trained: its text, and where it stands."""

    source: str
    cell_id: str | None = None
    execution_count: int | None = None

    @property
    def place(self) -> str:
        """What people call it."""
        return f"Cell [{self.execution_count}]" if self.execution_count else "Cell"


@dataclass(frozen=True)
class Notebook:
    """The notebook of this kernel, as far as the kernel knows it."""

    path: str | None = None
    cell: Cell | None = None

    @property
    def stem(self) -> str:
        """Its name without folder and suffix."""
        return Path(self.path).stem if self.path else ""


@dataclass(frozen=True)
class Submission:
    """Everything that is sent. ``notes`` are for the plan."""

    manifest: str
    files: bundle.Files
    archive: Path | None
    origin: Mapping[str, Any]
    context: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def parts(self) -> Iterator[list[Part]]:
        """Give the parts of the multipart body; the zip lies on disk meanwhile."""
        import json  # noqa: PLC0415  (loaded by whatever talks HTTP)

        with tempfile.TemporaryDirectory(prefix="ffdl-") as directory:
            archive = self.archive
            if archive is None:
                archive = Path(directory, "model.zip")
                bundle.write_zip(self.files, archive)
            yield [
                Part("manifest", self.manifest.encode(), "manifest.yml"),
                Part("model_definition", archive, "model.zip"),
                *(
                    Part(name, json.dumps(value).encode(), content_type="application/json")
                    for name, value in (("origin", self.origin), ("context", self.context))
                    if value
                ),
            ]


def from_cell(options: Mapping[str, Any], notebook: Notebook) -> Submission:
    """Return the submission of a cell."""
    assert notebook.cell is not None
    typed = notebook.cell
    if not typed.source.strip():
        raise BadInput("The cell is empty", hint="Write the training below the %%ffdl_train line")
    script = cell.script(typed.source, options.get("param"), where=typed.place)
    files: bundle.Files = {SCRIPT: script.text.encode()}
    _ship(files, options)
    position = {
        "cell_id": typed.cell_id,
        "execution_count": typed.execution_count,
        "notebook": notebook.path,
    }
    origin = {
        "kind": "cell",
        "source_map": {SCRIPT: {**position, "first_line": script.first_line}},
        "cells": [
            {
                "cell_id": typed.cell_id,
                "execution_count": typed.execution_count,
                "source": typed.source,
            }
        ],
    }
    notes = [
        f"Line {number} is for IPython only and does nothing in the training: {text}"
        for number, text in script.commented
    ]
    return _notebooks(options, notebook, files, f"{_python()} {SCRIPT}", origin, notes)


def from_file(path: Path, options: Mapping[str, Any], notebook: Notebook) -> Submission:
    """Return the submission of a ``.py`` file; parameters become its arguments."""
    files: bundle.Files = {path.name: path}
    _ship(files, options)
    words = [_python(), path.name]
    for name, value in (options.get("param") or {}).items():
        words += [f"--{name}", value if isinstance(value, str) else cell.source(value)]
    origin = {"kind": "file", "source_map": {}}
    return _notebooks(
        options, notebook, files, shlex.join(words), origin, [], default_name=path.stem
    )


def from_manifest(
    path: Path, directory: Path | None, options: Mapping[str, Any], notebook: Notebook
) -> Submission:
    """Return the submission of an FfDL manifest with its model folder or zip."""
    for key, flag in (("param", "--param"), ("framework", "--framework"), ("files", "--with")):
        if options.get(key):
            raise BadInput(
                f"{flag} does not go with a manifest",
                field=key,
                hint=f"Write it into {path.name}, or train a cell or a .py file",
            )
    text = _read(path)
    fields = _fields(options)
    if fields:
        text = manifest.override(text, fields, where=path.name)
    source = directory or path.parent
    archive = source if source.is_file() else None
    files = {} if archive else bundle.directory_files(source)
    origin = {"kind": "manifest", **_place(notebook)}
    return Submission(text, files, archive, origin, _context(options), [])


def of_source(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
    notebook: Notebook,
) -> Submission:
    """Return the submission of a file, by what kind of file it is."""
    path = Path(source).expanduser()
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "there is no such file"
        raise BadInput(
            f"{source}: {what}", field="source", hint="Name a .py file or an FfDL manifest (.yml)"
        )
    folder = None
    if directory is not None:
        folder = Path(directory).expanduser()
        if not folder.exists():
            raise BadInput(f"{directory}: there is no such folder or zip", field="source")
    if path.suffix == ".py":
        if folder is not None:
            raise BadInput(
                f"A folder does not go with {path.name}",
                field="source",
                hint=f"Ship it with --with {directory}",
            )
        return from_file(path, options, notebook)
    if path.suffix in _MANIFEST_SUFFIXES:
        return from_manifest(path, folder, options, notebook)
    raise BadInput(
        f"{path.name} is neither a .py file nor an FfDL manifest (.yml)",
        field="source",
        hint="Train a notebook's cell with %%ffdl_train in its first line"
        if path.suffix == ".ipynb"
        else "",
    )


def submit(service: Service, submission: Submission) -> Training:
    """Submit, and return the training; a lost answer is asked for again, not made again."""
    with submission.parts() as parts:
        answer = service.call("POST", "/v1/models", parts=parts, key=new_key())
    warnings = [str(warning.get("message", "")) for warning in answer.get("warnings") or ()]
    return Training(
        answer["model_id"], service=service, warnings=[*submission.notes, *filter(None, warnings)]
    )


def plan(service: Service, submission: Submission) -> Plan:
    """Return what a submission would check and create; nothing is created."""
    from .plan import Plan  # noqa: PLC0415

    with submission.parts() as parts:
        answer = service.call("POST", "/v1/plans", parts=parts, key=new_key())
    return Plan(answer, manifest=submission.manifest, notes=submission.notes)


def rerun(training: Training, wanted: Mapping[str, Any], service: Service) -> Training:
    """Submit a training's snapshot again; ``wanted`` are keywords of ``train()``."""
    for name in wanted:
        if name not in RERUN:
            valid = ", ".join(sorted(RERUN))
            raise TypeError(f"rerun() has no keyword {name!r}; valid are: {valid}")
    checked = keywords(wanted, function="rerun")
    answer = service.call(
        "POST",
        f"/v1/models/{training.id}/rerun",
        body={"changes": _fields(checked)},
        key=new_key(),
    )
    warnings = [str(warning.get("message", "")) for warning in answer.get("warnings") or ()]
    return Training(answer["model_id"], service=service, warnings=list(filter(None, warnings)))


def unchanged(parent: Training, source: str, options: Mapping[str, Any]) -> bool:
    """Whether a cell's text is the one that ``parent`` was made of, and its snapshot fits."""
    told = parent.source().get("origin") or {}
    cells = told.get("cells") or [{}]
    return (
        len(cells) == 1
        and str(cells[0].get("source", "")).rstrip() == source.rstrip()
        and set(options) <= RERUN | _NOT_SETTINGS
    )


def changes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a re-run of a snapshot can take."""
    return {key: value for key, value in options.items() if key in RERUN}


def inherit(parent: Training, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options laid over the settings of another training."""
    told = parent.source().get("origin") or {}
    if told.get("kind") == "manifest" or not told:
        return {**options, "parent": parent.id, "manifest_text": parent.manifest}
    settings = parse(str(told.get("options") or "")).values
    kept = {key: value for key, value in settings.items() if key not in _NOT_SETTINGS}
    for key in ("param", "env"):
        if key in kept and key in options:
            kept[key] = {**kept[key], **options[key]}
    own = {key: value for key, value in options.items() if key not in {"param", "env"} & set(kept)}
    return {**kept, **own, "parent": parent.id}


def refuse_inside_a_learner(*, nested: bool) -> None:
    """Refuse to submit from within a training: shipped code would start itself for ever."""
    training_id = os.environ.get("TRAINING_ID")
    if training_id and not nested:
        raise BadInput(
            f"train() was called inside the training {training_id}",
            hint="If it is meant to start further trainings, write train(…, nested=True)",
        )


def _notebooks(
    options: Mapping[str, Any],
    notebook: Notebook,
    files: bundle.Files,
    command: str,
    origin: Mapping[str, Any],
    notes: Sequence[str],
    *,
    default_name: str = "",
) -> Submission:
    """Return a training from a notebook (FfDL contract §5.1): of a cell or a file."""
    framework = options.get("framework") or {
        "name": "custom",
        "version": f"python-{platform.python_version().rpartition('.')[0]}",
    }
    fields = _fields(options)
    base = options.get("manifest")
    inherited = options.get("manifest_text")
    if base or inherited:
        path = Path(base or "the manifest").expanduser()
        text = _read(path) if base else str(inherited)
        kept = manifest.framework_of(text) if "framework" not in options else {}
        fields["framework"] = {**framework, **kept, "command": command}
        text = manifest.override(text, fields, where=path.name)
    else:
        name = fields.pop("name", None) or default_name or notebook.stem or "training"
        text = manifest.dump(
            {"name": name, "framework": {**framework, "command": command}, **fields}
        )
    full_origin = {
        **origin,
        **_place(notebook),
        "git": git.facts(Path.cwd()),
        "options": line_of(options),
        "parent": options.get("parent"),
        "versions": _versions(),
    }
    return Submission(text, files, None, full_origin, _context(options), list(notes))


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's keys that options set, named as there."""
    fields: dict[str, Any] = {}
    if options.get("name"):
        fields["name"] = options["name"]
    fields.update({key: options[key] for key in _AS_IN_MANIFEST if key in options})
    for key in ("data", "results"):
        if key in options:
            fields[key] = str(_directory(key, options[key]))
    if options.get("param"):
        fields["parameters"] = options["param"]
    shown = {name: value for name, value in (options.get("env") or {}).items() if value is not None}
    for name in shown:
        if environment.secret_looking(name):
            raise BadInput(
                f"--env {name}=…: its name says that it is a secret, and the manifest is shown",
                field="env",
                hint=f'Write os.environ["{name}"] = … in another cell, and --secret {name}',
            )
    if shown:
        fields["environment"] = shown
    if options.get("secret"):
        fields["secrets"] = list(dict.fromkeys(options["secret"]))
    return fields


def _context(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is true of this kernel; it is kept private by the service."""
    kept, omitted = environment.for_training(os.environ)
    for name, value in (options.get("env") or {}).items():
        if value is not None:
            continue
        if name not in os.environ:
            raise BadInput(
                f"--env {name}: the kernel has no such variable",
                field="env",
                hint=f"Write --env {name}=VALUE",
            )
        kept[name] = os.environ[name]
        omitted = [one for one in omitted if one != name]
    secrets: dict[str, str] = {}
    for name in options.get("secret") or ():
        if not os.environ.get(name):
            raise BadInput(
                f"--secret {name}: the kernel has no such variable",
                field="secrets",
                hint=f'Set it in another cell: os.environ["{name}"] = getpass.getpass()',
            )
        secrets[name] = os.environ[name]
        kept.pop(name, None)
        omitted = [one for one in omitted if one != name]
    return {
        "interpreter": sys.executable,
        "python_version": platform.python_version(),
        "cwd": str(Path.cwd()),
        "environment": kept,
        "omitted": omitted,
        "secrets": secrets,
    }


def _ship(files: bundle.Files, options: Mapping[str, Any]) -> None:
    for name, content in bundle.with_paths(options.get("files") or (), Path.cwd()).items():
        if name in files:
            raise BadInput(
                f"--with {name}: the training's own script has this name",
                field="files",
                hint="Rename the file",
            )
        files[name] = content


def _directory(key: str, value: str) -> Path:
    path = Path(os.path.abspath(Path(value).expanduser()))  # noqa: PTH100 (links stay as named)
    if key == "data" and not path.is_dir():
        raise BadInput(
            f"--data {value}: there is no such directory",
            field="data",
            hint=f"Paths are relative to {Path.cwd()}; a single file goes with --with",
        )
    if key == "results" and (path.exists() and not path.is_dir()):
        raise BadInput(f"--results {value}: not a directory", field="results")
    return path


def _place(notebook: Notebook) -> dict[str, Any]:
    typed = notebook.cell
    return {
        "notebook": notebook.path,
        "notebook_name": Path(notebook.path).name if notebook.path else None,
        "cell_id": typed.cell_id if typed else None,
        "execution_count": typed.execution_count if typed else None,
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "jupyter_ffdl": __version__,
    }


def _python() -> str:
    """Return the interpreter's name; its directory comes first in the training's PATH."""
    executable = Path(sys.executable)
    python3 = executable.with_name("python3")
    if python3.exists() and python3.resolve() == executable.resolve():
        return "python3"
    return executable.name or "python3"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise BadInput(f"{path}: cannot be read ({e.strerror})", field="manifest") from e
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: not a text in UTF-8", field="manifest") from e


__all__ = [
    "Cell",
    "FfdlError",
    "Notebook",
    "Submission",
    "from_cell",
    "of_source",
    "plan",
    "refuse_inside_a_learner",
    "rerun",
    "submit",
]
