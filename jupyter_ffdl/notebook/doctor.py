"""Whether everything that a training needs is there, and the command that fixes what is not."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..errors import FfdlError
from .connection import Address, Connection
from .service import Service


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and how to fix it if it is not right."""

    what: str
    good: bool
    found: str
    fix: str = ""

    def __str__(self) -> str:
        mark = "✓" if self.good else "✗"
        fix = f"\n    → {self.fix}" if self.fix and not self.good else ""
        return f"{mark} {self.what}: {self.found}{fix}"


class Report(list[Finding]):
    """The findings, one line each."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.good for finding in self)

    def __repr__(self) -> str:
        return "\n".join(str(finding) for finding in self)


def examine(service: Service) -> Report:
    """Look at everything; a check whose ground is missing is left out."""
    return Report(_findings(service))


def _findings(service: Service) -> Iterator[Finding]:
    yield Finding("kernel", True, f"Python {platform.python_version()}, jupyter_ffdl {__version__}")
    try:
        connection = service.connection
    except FfdlError as e:
        yield Finding("service", False, e.message, e.hint or "jupyter ffdl")
        return
    address = connection.address
    try:
        with connection.open("/health") as answer:
            answer.read()
    except FfdlError as e:
        yield Finding("service", False, e.message, _fix_unreachable(connection))
        return
    yield Finding("service", True, f"{address.url} ({address.found})")
    try:
        capabilities = connection.get("/v1/capabilities")
    except FfdlError as e:
        yield Finding("login", False, e.message, _fix_login(connection))
        return
    yield Finding("login", True, "accepted")
    yield from _versions(capabilities)
    yield from _backends(capabilities)
    if address.record:
        yield Finding("FfDL's command line", True, _export(address))


def _export(address: Address) -> str:
    """Return the line that lets the old command line in.

    The secret itself is not shown: a notebook's outputs are saved and shared.
    """
    read = f"import json; print(json.load(open('{address.record}'))['secret'])"
    return (
        f"export DLAAS_URL={address.url} DLAAS_USERNAME=$USER "
        f'DLAAS_PASSWORD="$(python3 -c "{read}")"'
    )


def _versions(capabilities: Mapping[str, Any]) -> Iterator[Finding]:
    version = str(capabilities.get("version") or "")
    if not version:
        return
    same = version.split(".")[:2] == __version__.split(".")[:2]
    yield Finding(
        "versions",
        same,
        f"service {version}, kernel {__version__}",
        f"pip install --upgrade jupyter-ffdl=={version}",
    )


def _backends(capabilities: Mapping[str, Any]) -> Iterator[Finding]:
    backends = capabilities.get("backends") or ()
    items = (
        backends.items()
        if isinstance(backends, Mapping)
        else ((str(backend.get("name")), backend) for backend in backends)
    )
    for name, backend in items:
        if not isinstance(backend, Mapping):
            continue
        missing = backend.get("missing") or ()
        available = backend.get("available", not missing)
        if available:
            yield Finding(f"backend {name}", True, _amounts(backend))
            continue
        for lack in missing or ({"what": "not available"},):
            lack = lack if isinstance(lack, Mapping) else {"what": str(lack)}  # noqa: PLW2901
            yield Finding(
                f"backend {name}",
                False,
                str(lack.get("what") or lack.get("message") or "not available"),
                str(lack.get("fix") or lack.get("command") or ""),
            )


def _amounts(backend: Mapping[str, Any]) -> str:
    said = ["ready"]
    gpus = backend.get("gpus")
    if gpus is not None:
        count = len(gpus) if isinstance(gpus, (list, tuple)) else gpus
        said.append(f"{count} GPUs")
    for key, text in (("cpus", "cores"), ("max_running", "trainings at once")):
        if backend.get(key):
            said.append(f"{backend[key]} {text}")
    note = backend.get("note") or backend.get("survives")
    if isinstance(note, str):
        said.append(note)
    return ", ".join(said)


def _fix_unreachable(connection: Connection) -> str:
    if connection.address.follow:
        return "jupyter ffdl"
    return f"Check {connection.address.found}: is the service running at {connection.address.url}?"


def _fix_login(connection: Connection) -> str:
    if connection.address.follow:
        return "Restart this kernel: its server was restarted"
    return "export FFDL_TOKEN=<the server's token; `jupyter server list` shows it>"
