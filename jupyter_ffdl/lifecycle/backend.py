"""What the trainer needs of a backend. Local processes are one, Kubernetes will be another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..folder import TrainingFolder


class Backend(Protocol):
    """Starts trainings that are in their folders, and knows which of them somebody looks after."""

    name: str

    def capabilities(self) -> dict[str, Any]:
        """Return what this backend can do here, and for what is missing the remedy."""
        ...

    def problems(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return why a training with this spec could never start, each with field and remedy."""
        ...

    def start(self, folder: TrainingFolder) -> None:
        """Start the training in ``folder``, or take it over where its owner is gone."""
        ...

    def owned(self, folder: TrainingFolder) -> bool:
        """Whether an owner looks after the training now."""
        ...

    def reap(self) -> None:
        """Collect what ended of the processes that ``start`` began."""
        ...
