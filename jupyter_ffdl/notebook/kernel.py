"""What this kernel knows of its notebook."""

from __future__ import annotations

import os
from typing import Any

from .submission import Cell, Notebook


def shell() -> Any:
    """Return the running IPython shell, None outside of one."""
    try:
        from IPython.core.getipython import get_ipython  # noqa: PLC0415
    except ImportError:
        return None
    return get_ipython()


def notebook(source: str | None = None) -> Notebook:
    """Return the notebook, with the running cell if its ``source`` is given."""
    running = shell()
    path = _path(running)
    if source is None:
        return Notebook(path)
    cell = Cell(
        source,
        cell_id=_cell_id(running),
        execution_count=getattr(running, "execution_count", None),
    )
    return Notebook(path, cell)


def _path(running: Any) -> str | None:
    """Return the notebook's path: Jupyter servers and VS Code tell it to their kernels."""
    names = getattr(running, "user_ns", {})
    told = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return str(told) if told else None


def _cell_id(running: Any) -> str | None:
    parent = running.get_parent() if hasattr(running, "get_parent") else None
    metadata = (parent or {}).get("metadata") or {}
    told = metadata.get("cellId") or metadata.get("cell_id")
    return str(told) if told else None
