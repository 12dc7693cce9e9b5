"""A manifest's own text with its secrets masked, all else untouched (FfDL contract §10)."""

from __future__ import annotations

from collections.abc import Iterator

from ..masking import MASK, looks_secret, mask_url
from . import source
from .source import Node, Pairs, Scalar, Sequence


def masked_text(text: bytes | str) -> str:
    """Return the text of a manifest with each secret replaced by ``"****"``.

    Masked is every value under a key that looks secret, wherever it stands: also in a repeated key
    that does not count, in an anchor that only a merge uses and in a second document. Raises
    ``BadInput`` for a text that is no YAML.
    """
    decoded = source.decode(text)
    spans: dict[int, tuple[int, str]] = {}
    for tree in source.trees(decoded):
        for scalar, secret in _scalars(tree):
            masked = MASK if secret else mask_url(scalar.text)
            if masked != scalar.text and (secret or scalar.start not in spans):
                spans[scalar.start] = (scalar.end, masked)
    pieces = []
    position = 0
    for start, (end, masked) in sorted(spans.items()):
        pieces += [decoded[position:start], _replacement(decoded[start:end], masked)]
        position = end
    return "".join([*pieces, decoded[position:]])


def _scalars(tree: Node) -> Iterator[tuple[Scalar, bool]]:
    """Yield every scalar value, and whether a key above it looks secret."""
    seen: set[tuple[int, bool]] = set()
    open_nodes: list[tuple[Node, bool]] = [(tree, False)]
    while open_nodes:
        node, secret = open_nodes.pop()
        if (id(node), secret) in seen:
            continue
        seen.add((id(node), secret))
        if isinstance(node, Scalar):
            if not node.null:
                yield node, secret
        elif isinstance(node, Sequence):
            open_nodes += [(item, secret) for item in node.items]
        elif isinstance(node, Pairs):
            for key, value in node.pairs:
                hidden = isinstance(key, Scalar) and _holds_secret(key.text, value)
                open_nodes.append((value, secret or hidden))


def _holds_secret(key: str, value: Node) -> bool:
    if not looks_secret(key):
        return False
    if isinstance(value, Sequence) and key == "secrets":
        # The manifest's own list: names, no values.
        return False
    # A parameter such as ``pad_token: 0`` must survive, a password of digits must not.
    number = isinstance(value, Scalar) and not isinstance(source.typed(value), str)
    return not number or "pass" in key.lower() or "secret" in key.lower()


def _replacement(written: str, masked: str) -> str:
    """Return ``masked`` as it must stand for ``written``: quoted, with its anchor and tag.

    ``****`` without quotes would be an alias. What follows a block, its line end, is kept.
    """
    properties = ""
    rest = written
    while rest[:1] in {"&", "!"}:
        word = rest.split(None, 1)[0]
        stripped = rest[len(word) :].lstrip()
        properties += rest[: len(rest) - len(stripped)]
        rest = stripped
    tail = rest[len(rest.rstrip()) :]
    escaped = masked.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{properties}"{escaped}"{tail}'
