"""What is asked of every kind of data store (FfDL contract §1.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest.stores import DataStore, Role

CHECK_SECONDS = 5.0
"""How long all checks of a submission may take together: a person waits for them."""


class Storage(Protocol):
    """One kind of store. Buckets are named in the manifest, ``store`` says how to reach them."""

    def check(self, store: DataStore, role: Role) -> None:
        """Refuse a store that cannot be reached, or whose bucket cannot (``BadInput``, C103)."""
        ...

    def data_dir(self, store: DataStore) -> Path | None:
        """Return the directory of this machine that the input bucket is, None where it is none."""
        ...

    def results_base(self, store: DataStore) -> Path | None:
        """Return the directory of this machine that the results bucket is, None likewise."""
        ...


def no_connection(store: DataStore, role: Role, *, field: str, hint: str) -> BadInput:
    """Return the refusal of a store that cannot be reached (FfDL contract §1.9, rule 19)."""
    return BadInput(
        f"Data store authentication information for id '{store.reference(role)}' incorrect or "
        "there is a connection problem",
        code="C103",
        field=f"{store.path}.{field}" if store.path else field,
        line=store.line,
        hint=hint,
    )


def no_bucket(store: DataStore, role: Role, bucket: str, *, hint: str) -> BadInput:
    """Return the refusal of a bucket that is missing or denied (FfDL contract §1.9, rule 20)."""
    key = "training_data.container" if role == "input" else "training_results.container"
    return BadInput(
        f"Data store bucket '{bucket}' for data store id '{store.reference(role)}' incorrect, "
        "there may be a connection problem or credentials do not allow access to the bucket",
        code="C103",
        field=f"{store.path}.{key}" if store.path else key,
        line=store.line,
        hint=hint,
    )


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Run ``work`` and return whether it ended in time; its exception is raised here.

    A directory on a dead network share never answers and its caller cannot be interrupted, so the
    work runs in a thread that is left behind.
    """
    import threading  # noqa: PLC0415 (at submission only)

    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001 (raised again below)
            failed.append(failure)

    thread = threading.Thread(target=run, name="data store check", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    return not thread.is_alive()
