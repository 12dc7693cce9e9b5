r"""Lines of a training's log as a person would have seen them.

Progress bars rewrite one line with ``\r`` thousands of times. Folding is for views only:
the file keeps every byte, because a download must equal what the learner wrote.
"""

from __future__ import annotations


def fold(chunk: bytes, still_open: bytes = b"") -> tuple[list[bytes], bytes]:
    r"""Return the lines ended in ``chunk``, and the one still open for the next call.

    However a text is cut into chunks, the lines are the same.
    """
    *ended, rest = (still_open + chunk).split(b"\n")
    # Rewritten text is dropped at once: a bar without "\n" would otherwise grow for hours.
    return [_last_write(line) for line in ended], rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :]


def _last_write(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]
