"""Addresses and ports of learners on one machine."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_FIRST_PORT = 20_000
_TRIES = 100


def for_learners(learner_uuid: str, count: int) -> list[str]:
    """Return one loopback address per learner, the same for the same ``learner_uuid``.

    Each learner finds ports 22 and 2222 free on its own address. Where only 127.0.0.1 exists
    (macOS) all get that one, and ports have to differ.
    """
    if count == 1:
        return ["127.0.0.1"]
    # 127.16.0.0 up to 127.240.0.0: away from what systems themselves use (127.0.0.53, 127.0.1.1).
    start = int(learner_uuid.replace("-", ""), 16) % (224 << 16)
    addresses: list[str] = []
    while len(addresses) < count:
        number = (16 << 16) + start % (224 << 16)
        start += 1
        # Some programs take a last byte of 0 or 255 for a network or for all of it.
        if number & 0xFF not in {0, 0xFF}:
            addresses.append(f"127.{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}")
    return addresses if _exists(addresses[0]) else ["127.0.0.1"] * count


def _exists(address: str) -> bool:
    import socket  # noqa: PLC0415 (15 ms; most trainings have one learner)

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that is free on every address now: torch's TCPStore binds them all.

    Below the range from which the system serves outgoing connections, so that none of those takes
    it before the learner does.
    """
    import socket  # noqa: PLC0415

    end = _outgoing_ports_begin()
    for _ in range(_TRIES):
        port = _FIRST_PORT + int.from_bytes(os.urandom(4), "big") % (end - _FIRST_PORT)
        if _free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _outgoing_ports_begin() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        begin = int(text.split()[0])
        if begin > _FIRST_PORT + 1000:
            return begin
    return 32_768


def _free(port: int) -> bool:
    import socket  # noqa: PLC0415 (15 ms; most trainings have one learner)

    families = [socket.AF_INET6, socket.AF_INET] if socket.has_ipv6 else [socket.AF_INET]
    for family in families:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(("", port))
        except OSError as failure:
            # A machine without IPv6 has nobody on it there.
            if family == socket.AF_INET or failure.errno == errno.EADDRINUSE:
                return False
    return True
