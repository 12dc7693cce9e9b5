"""Which of the kernel's environment variables go with a training (FfDL contract §5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

LEFT_OUT_PREFIXES = (
    "JUPYTER",
    "JPY_",
    "ALERTMANAGER",
    "DLAAS",
    "ETCD",
    "FFDL",
    "GRAFANA",
    "HOSTNAME",
    "KUBERNETES",
    "MONGO",
    "PUSHGATEWAY",
)

_SECRET_WORDS = re.compile(
    r"(^|_)(TOKEN|TOKENS|SECRET|SECRETS|PASSWORD|PASSWORDS|PASSWD|PASSPHRASE|PASS|PWD|KEY|KEYS|APIKEY"
    r"|CREDENTIAL|CREDENTIALS|AUTH|COOKIE|SIGNATURE|DSN)($|_)|(TOKEN|SECRET|PASSWORD|APIKEY)$",
    re.IGNORECASE,
)
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})
"""Named like a password, but the shell's working directories."""

_OF_THIS_KERNEL = frozenset(
    {
        "OLDPWD",
        "PWD",
        "SHLVL",
        "_",
        "IPY_INTERRUPT_EVENT",
        "KERNEL_ID",
        "MPLBACKEND",
        "PYDEVD_USE_FRAME_EVAL",
    }
)
"""True of the kernel's process only: its directories, and the drawing into its notebook."""

_MOST_BYTES = 100_000
"""A value longer than what one argument of a process may be cannot be handed over (Linux)."""


def secret_looking(name: str) -> bool:
    """Whether a variable's name says that its value is nobody's business."""
    return name not in _NOT_SECRET and _SECRET_WORDS.search(name) is not None


def for_training(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that go with a training, and the names of those left out for safety.

    Variables that only concern this kernel's process are left out without mention.
    """
    kept: dict[str, str] = {}
    omitted: list[str] = []
    for name, value in sorted(environ.items()):
        if name in _OF_THIS_KERNEL or name.startswith(LEFT_OUT_PREFIXES):
            continue
        if secret_looking(name) or len(value) > _MOST_BYTES:
            omitted.append(name)
        else:
            kept[name] = value
    return kept, omitted
