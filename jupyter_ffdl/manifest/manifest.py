"""A manifest as a value, and its checks in FfDL's order (FfDL contract §1.2, §1.9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import framework as frameworks
from . import metrics, sizes, source, stores
from .framework import Framework
from .metrics import EvaluationMetrics
from .section import Note, Notes, Section, shown
from .sizes import Size
from .stores import CheckStore, DataStore

DEFAULT_CPUS = 5.0
DEFAULT_GPU_TYPE = "nvidia-TeslaK80"
COMPLETIONS = ("workers", "all", "master", "first")
CHECKPOINTS = ("shared", "job")

KEYS = (
    "name",
    "description",
    "version",
    "backend",
    "queue",
    "cpus",
    "gpus",
    "gpu_type",
    "learners",
    "memory",
    "storage",
    "max_runtime",
    "max_retries",
    "completion",
    "checkpoints",
    "data",
    "results",
    "data_stores",
    "framework",
    "environment",
    "parameters",
    "requirements",
    "secrets",
    "evaluation_metrics",
)
"""Every key of a manifest, in the order in which ``to_yaml`` writes them."""


@dataclass(frozen=True)
class Manifest:
    """What a training is to be. Amounts are per learner.

    ``given`` has the keys of the amounts that stand in the manifest: on one machine only these
    are reserved and enforced. ``evaluation_metrics`` and ``max_retries`` are None where the
    manifest leaves them to the backend; ``max_runtime`` is in seconds, None: no limit.
    """

    name: str
    framework: Framework
    description: str = ""
    version: str = ""
    cpus: float = DEFAULT_CPUS
    gpus: int = 0
    gpu_type: str = ""
    learners: int = 1
    memory: Size = sizes.DEFAULT_MEMORY
    storage: Size = sizes.DEFAULT_STORAGE
    given: frozenset[str] = frozenset()
    data_stores: tuple[DataStore, ...] = ()
    evaluation_metrics: EvaluationMetrics | None = None
    max_runtime: float | None = None
    max_retries: int | None = None
    backend: str = ""
    queue: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    data: str = ""
    results: str = ""
    completion: str = "workers"
    checkpoints: str = "job"
    warnings: tuple[Note, ...] = ()

    @property
    def queue_gpu_type(self) -> str:
        """The type of GPU that quotas count, also where the manifest names none (§1.2)."""
        return self.gpu_type or DEFAULT_GPU_TYPE

    @property
    def inputs(self) -> tuple[DataStore, ...]:
        """The stores with data; the first is ``DATA_DIR``."""
        return tuple(store for store in self.data_stores if store.data is not None)

    @property
    def output(self) -> DataStore | None:
        """The store that takes the results; None: the internal one."""
        return next((store for store in self.data_stores if store.results), None)


def parse(
    text: bytes | str,
    *,
    check_code: Callable[[str], None] | None = None,
    check_store: CheckStore | None = None,
) -> Manifest:
    """Return the manifest, or raise ``BadInput`` for the first rule of §1.9 that it breaks.

    Two checks that need more than the text have their place among the others: ``check_code``
    (rules 8 and 9) is called with the command, empty where there is none, and ``check_store``
    (rules 19 and 20) with each store and its role.
    """
    notes = Notes()
    document = source.read(source.decode(text))
    if not isinstance(document.root, source.Pairs):
        raise source.refuse(
            "The manifest must be a map of keys and values",
            line=1,
            hint="It begins like this: name: my-training",
        )
    if document.second_line is not None:
        notes.warn("Only the first YAML document counts", line=document.second_line)
    top = Section(document.root, "", notes)
    top.expect(KEYS)
    # Everything is read before anything is checked: a wrong shape is rule 2.
    read = frameworks.read(top)
    found_stores = stores.read(top)
    top.section("evaluation_metrics")
    plain = _plain(top)

    if not plain["name"].strip():
        raise top.refuse("name", "Model definition name is not set", hint="Add a name")
    framework = frameworks.check(top, read)
    if check_code is not None:
        check_code(framework.command)
    frameworks.check_command(top, framework)
    amounts = _amounts(top)
    _check_words(top, plain)
    return Manifest(
        **plain,
        **amounts,
        framework=framework,
        data_stores=stores.check(top, found_stores, check_store),
        evaluation_metrics=metrics.read(top),
        completion=_choice(top, "completion", COMPLETIONS) or "workers",
        checkpoints=_choice(top, "checkpoints", CHECKPOINTS)
        or ("shared" if found_stores else "job"),
        warnings=notes.all(),
    )


def _plain(top: Section) -> dict[str, Any]:
    """Return the fields that need no more than their shape."""
    texts = ("name", "description", "version", "gpu_type", "backend", "queue", "data", "results")
    found: dict[str, Any] = {key: top.text(key) for key in texts}
    for key in ("completion", "checkpoints", "max_runtime"):
        top.scalar(key)
    environment = top.section("environment")
    found["environment"] = (
        {} if environment is None else {name: environment.text(name) for name in environment}
    )
    found["parameters"] = top.values("parameters")
    found["requirements"] = top.texts("requirements") or ()
    found["secrets"] = top.texts("secrets") or ()
    return found


def _amounts(top: Section) -> dict[str, Any]:
    """Return cpus, gpus, learners, sizes and limits (FfDL contract §1.9, rule 11)."""
    cpus = top.number("cpus")
    gpus = top.integer("gpus", hint="A GPU cannot be shared: write 0, 1, 2 …")
    learners = top.integer("learners")
    given = {key for key, amount in (("cpus", cpus), ("learners", learners)) if amount}
    if gpus is not None:
        given.add("gpus")
    amounts: dict[str, Any] = {
        "cpus": float(cpus or DEFAULT_CPUS),
        "gpus": gpus or 0,
        "learners": learners or 1,
    }
    for key, default in (("memory", sizes.DEFAULT_MEMORY), ("storage", sizes.DEFAULT_STORAGE)):
        size = top.size(key)
        if size is not None and size.bytes == 0:
            top.warn(key, f"{key} 0 means the default, {default.value} {default.unit}")
            size = None
        if size is not None:
            given.add(key)
        amounts[key] = size or default
    amounts["max_runtime"] = _duration(top, "max_runtime")
    amounts["max_retries"] = top.integer("max_retries")
    amounts["given"] = frozenset(given)
    return amounts


_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(top: Section, key: str) -> float | None:
    scalar = top.scalar(key)
    if scalar is None:
        return None
    match = _DURATION.fullmatch(scalar.text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise top.refuse(
            key,
            f"{key} must be a duration, not '{shown(scalar.text)}'",
            code="C104",
            hint="Write it like 90m, 12h, 2d or in seconds; leave it out for no limit",
        )
    return seconds


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _check_words(top: Section, plain: Mapping[str, Any]) -> None:
    """Refuse what no environment can hold, and requirements without text."""
    environment = top.section("environment")
    for name in plain["environment"]:
        if environment is not None and not _VARIABLE.fullmatch(name):
            raise environment.refuse(
                name,
                f"environment has a name that no variable can have: '{shown(name)}'",
                hint="Use letters, digits and _, no digit first",
            )
    for number, name in enumerate(plain["secrets"]):
        if not _VARIABLE.fullmatch(name):
            raise top.refuse(
                "secrets",
                f"secrets[{number}] must be the name of a variable, not '{shown(name)}'",
                hint="List names only; values come from your environment at submission",
            )
    for number, requirement in enumerate(plain["requirements"]):
        if not requirement.strip():
            raise top.refuse("requirements", f"requirements[{number}] is empty")


def _choice(top: Section, key: str, choices: tuple[str, ...]) -> str:
    word = top.text(key)
    if word and word not in choices:
        raise top.refuse(
            key,
            f"{key} must be one of {', '.join(choices)}, not '{shown(word)}'",
            hint=f"The default is {choices[0]}" if key == "completion" else "",
        )
    return word
