r"""TensorBoard scalars with the standard library alone, for code that has nothing else.

Writes event files that TensorBoard and our collector read: records framed as in TFRecord, each an
``Event`` whose summary holds one ``simple_value``. The few protobuf fields are written by hand, so
that neither protobuf nor tensorboard is needed.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType

from .learner.extractors.crc32c import masked

_written = 0


class ScalarWriter:
    """Writes one event file; every point is in the file when ``add_scalar`` returns.

    ``log_dir``: the directory, by default ``tb`` in ``LOG_DIR`` (of the training), else in the
    working directory. A ``/`` in a tag groups curves: ``train/loss`` and ``validation/loss``.
    Usable from several threads.
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None = None) -> None:
        global _written  # noqa: PLW0603  (two writers in one second need two names)
        directory = Path(log_dir or os.path.join(os.environ.get("LOG_DIR", "."), "tb"))  # noqa: PTH118
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        _written += 1
        name = f"events.out.tfevents.{now:010.0f}.{socket.gethostname()}.{os.getpid()}.{_written}"
        self.path = directory / name
        self._file = self.path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._write(_event(now, 0, _bytes(3, b"brain.Event:2")))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Append one point; NaN and infinities are points too."""
        summary = _bytes(
            1, _bytes(1, tag.encode()) + _key(2, 5) + struct.pack("<f", _single(value))
        )
        self._write(_event(time.time(), int(step), _bytes(5, summary)))

    def flush(self) -> None:
        """Do nothing, since nothing waits; here for code written for other writers."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ScalarWriter:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        record = b"".join(
            (length, struct.pack("<I", masked(length)), event, struct.pack("<I", masked(event)))
        )
        with self._lock:
            self._file.write(record)


def _event(wall_time: float, step: int, content: bytes) -> bytes:
    """Return an ``Event``: wall_time = 1 (double), step = 2 (int64), then what it carries."""
    return _key(1, 1) + struct.pack("<d", wall_time) + _key(2, 0) + _varint(step) + content


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _bytes(field: int, data: bytes) -> bytes:
    return _key(field, 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _single(value: float) -> float:
    """Return what fits into a single float: larger numbers become infinite, as elsewhere."""
    number = float(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")
    return number
