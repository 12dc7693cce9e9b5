"""Directories of this machine as a data store: ``mount_volume`` with ``host_mount``.

Data are read in ``<path>/<data>``, results are written to ``<path>/<res>/<id>`` (FfDL contract
§1.4). Nothing is copied: the command works in these very directories.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest.stores import DataStore, Role

from .datastore import CHECK_SECONDS, no_bucket, no_connection, within


def data_dir(store: DataStore) -> Path | None:
    """Return the directory of the input bucket, None where the store has none."""
    return _bucket(store, store.data) if store.data else None


def results_base(store: DataStore) -> Path | None:
    """Return the directory of the results bucket, in which each training has one of its own.

    None where the manifest names no bucket: then results stay in the training's folder.
    """
    return _bucket(store, store.results) if store.results else None


def check(store: DataStore, role: Role, *, seconds: float = CHECK_SECONDS) -> None:
    """Refuse directories that are not there or cannot be used (FfDL contract §1.9, 19 and 20)."""

    def look() -> None:
        _check_root(store, role)
        bucket = store.data if role == "input" else store.results
        if bucket:
            _check_bucket(store, role, bucket)

    if not within(seconds, look):
        raise no_connection(
            store,
            role,
            field="connection.path",
            hint=f"{store.connection['path']} did not answer within {seconds:g} s: is its network"
            " share there?",
        )


def _bucket(store: DataStore, bucket: str) -> Path:
    return Path(store.connection["path"]) / bucket


def _check_root(store: DataStore, role: Role) -> None:
    path = Path(store.connection["path"])

    def refuse(hint: str) -> BadInput:
        return no_connection(store, role, field="connection.path", hint=hint)

    if not path.is_absolute():
        raise refuse(f"Give an absolute path, not {path}")
    try:
        is_directory = path.is_dir()
    except OSError as failure:
        raise refuse(f"{path} cannot be read: {failure.strerror}") from failure
    if not is_directory:
        raise refuse(f"There is no directory {path} on the machine that runs the server")
    if not os.access(path, os.R_OK | os.X_OK):
        raise refuse(f"Allow the server's user to read {path}")


def _check_bucket(store: DataStore, role: Role, bucket: str) -> None:
    path = _bucket(store, bucket)
    name = PurePosixPath(bucket)
    # A results bucket that is ".." would show, and later delete, what is nobody's results.
    if name.is_absolute() or ".." in name.parts or "\0" in bucket:
        raise no_bucket(store, role, bucket, hint="Name a directory below connection.path")
    if not path.is_dir():
        raise no_bucket(store, role, bucket, hint=f"Make the directory {path}")
    if role == "input":
        if not os.access(path, os.R_OK | os.X_OK):
            raise no_bucket(store, role, bucket, hint=f"Allow the server's user to read {path}")
    elif not os.access(path, os.W_OK | os.X_OK):
        raise no_bucket(store, role, bucket, hint=f"Allow the server's user to write to {path}")
