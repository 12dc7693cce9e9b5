"""What the trainer needs of a backend. Local processes are one, Kubernetes will be another."""

from __future__ import annotations

from typing import Protocol

from ..folder import TrainingFolder


class Backend(Protocol):
    """Starts trainings that are in their folders, and knows which of them somebody looks after."""

    def start(self, folder: TrainingFolder) -> None:
        """Start the training in ``folder``, or take it over where its owner is gone."""
        ...

    def owned(self, folder: TrainingFolder) -> bool:
        """Whether an owner looks after the training now."""
        ...

    def reap(self) -> None:
        """Collect what ended of the processes that ``start`` began."""
        ...
