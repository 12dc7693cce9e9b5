"""Who asks: the ``Authorization`` header, the per-server secret, and whose trainings these are.

Jupyter's own login stays the only login. Three things are added (FfDL contract §2.1): Basic with
the token as password, for the old command line; a secret that this server leaves in the runtime
directory, so that its kernels get in whatever the login is; and a strict rule, that a header which
is wrong refuses the request even where a cookie beside it is right.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hmac
import os
import re
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider, User

_SCHEME = re.compile(r"\s*(token|bearer|basic)\s+(.*?)\s*", re.IGNORECASE | re.DOTALL)

SINGLE_USER_PROVIDERS = (IdentityProvider, PasswordIdentityProvider)
"""Providers that tell no people apart: whoever has the token or password is the one user."""

ANYBODY = User("anybody")
"""Who reads without a login, where the trait ``allow_unauthenticated_logs`` lets them."""


def credential(header: str) -> str | None:
    """Return the secret part of an ``Authorization`` header; None where we know no such scheme.

    For Basic that is the password: the user part means nothing.
    """
    match = _SCHEME.fullmatch(header)
    if match is None:
        return None
    scheme, value = match.group(1).lower(), match.group(2)
    if scheme != "basic":
        return value or None
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return pair.partition(":")[2] or None


def same(given: str, expected: str) -> bool:
    """Whether the two are equal, in a time that tells nothing; an empty secret equals nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def tells_people_apart(provider: IdentityProvider) -> bool:
    """Whether the login knows more than one person (JupyterHub, OIDC, …)."""
    return type(provider) not in SINGLE_USER_PROVIDERS


def local_user() -> User:
    """Return the one user of a server that tells no people apart."""
    return User(f"local:{os_user()}", display_name=os_user())


def os_user() -> str:
    """Return the operating system's name for whom this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an arbitrary uid in a container has no entry
        return str(os.getuid())


def owner_of(provider: IdentityProvider, user: User) -> str:
    """Return whose trainings ``user`` sees.

    On a single-user server Jupyter invents a new user for every cookie-less token request, so
    its name cannot be the owner.
    """
    return user.username if tells_people_apart(provider) else local_user().username


def secret_user(provider: IdentityProvider) -> User:
    """Return who the holder of the per-server secret is: the person whose server this is."""
    hub_user = os.environ.get("JUPYTERHUB_USER", "")
    return User(hub_user) if hub_user and tells_people_apart(provider) else local_user()


def watson_user(header: str) -> str:
    """Return the user name in ``X-Watson-Userinfo``: for display, it grants nothing."""
    pairs = dict(pair.strip().partition("=")[::2] for pair in header.split(";"))
    return pairs.get("bluemix-instance-id", "").strip()[:128]


async def user_by_header(handler: Any, header: str, secret: str) -> User | None:
    """Return whom the ``Authorization`` header proves, or None.

    Where a provider of its own is in charge, it decides; Basic is handed to it as a token.
    """
    given = credential(header)
    if given is None:
        return None
    provider: IdentityProvider = handler.identity_provider
    if same(given, secret):
        return secret_user(provider)
    if not tells_people_apart(provider):
        return local_user() if same(given, str(provider.token or "")) else None
    return await _ask_provider(handler, provider, given)


async def _ask_provider(handler: Any, provider: IdentityProvider, given: str) -> User | None:
    handler.request.headers["Authorization"] = f"token {given}"
    # The header alone must prove who asks: not a token in the URL, nor a cookie beside it.
    for arguments in (handler.request.arguments, handler.request.query_arguments):
        arguments.pop("token", None)
    user: User | None = await user_by_jupyter(handler)
    handler.current_user = user  # providers look at it to say by what they knew the user
    return user if user is not None and provider.is_token_authenticated(handler) else None


async def user_by_jupyter(handler: Any) -> User | None:
    """Return whom Jupyter's own login knows: by cookie, or by ``?token=``."""
    found = handler.identity_provider.get_user(handler)
    user: User | None = await found if hasattr(found, "__await__") else found
    return user
