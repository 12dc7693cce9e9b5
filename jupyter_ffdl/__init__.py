"""Write a training in a notebook cell, run it on its own, watch it live.

Importing this package loads nothing heavy: neither tornado nor any backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .notebook.client import Training, as_completed, train, trainings, wait

__all__ = ["Training", "__version__", "as_completed", "train", "trainings", "wait"]

_CLIENT_NAMES = frozenset({"Training", "as_completed", "train", "trainings", "wait"})


def __getattr__(name: str) -> Any:
    if name in _CLIENT_NAMES:
        from .notebook import client  # noqa: PLC0415  (a kernel pays for the client on first use)

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics (``%load_ext jupyter_ffdl``)."""
    from .notebook.magics import load  # noqa: PLC0415

    load(ipython)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "../labextension", "dest": "jupyter-ffdl"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .api.app import FfdlApp  # noqa: PLC0415

    return [{"module": "jupyter_ffdl", "app": FfdlApp}]
