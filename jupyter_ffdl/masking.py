"""What must not be shown: names that look like secrets, and what stands in their place.

Pure and standard library only, because answers, logs and learners all mask (FfDL contract §10).
"""

from __future__ import annotations

import re

MASK = "****"

# Words of a name, so that TOKENIZERS_PARALLELISM, MAX_TOKENS and KEYBOARD stay readable.
_SECRET_WORDS = frozenset(
    {
        "authorization",
        "cookie",
        "credential",
        "credentials",
        "passphrase",
        "passwd",
        "password",
        "pat",
        "pw",
        "pwd",
        "secret",
        "secrets",
        "sas",
        "token",
    }
)
_SECRET_ENDINGS = ("apikey", "accesskey", "secretkey", "password", "passwd", "secret", "token")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_USER_INFO = re.compile(r"(?<=://)([^/?#@\s:]*):[^/?#\s]*(?=@)")


def looks_secret(name: str) -> bool:
    """Whether the value of a variable or key of this name should not be shown."""
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words):
        return True
    # WANDB_API_KEY and AWS_ACCESS_KEY_ID, but not KEY_DIM; BASIC_AUTH, but not auth_url.
    while words and (words[-1] == "id" or words[-1].isdigit()):
        words.pop()
    return bool(words) and words[-1] in {"auth", "key", "keys"}


def mask_url(text: str) -> str:
    """Return ``text`` with the password in every ``scheme://user:password@host`` masked."""
    return _USER_INFO.sub(rf"\1:{MASK}", text)
