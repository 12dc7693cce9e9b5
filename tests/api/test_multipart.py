"""Multipart bodies, however they are cut (pure)."""

from __future__ import annotations

import pytest

from jupyter_ffdl.api.multipart import MultipartReader, PartBegins, PartData, boundary_of
from jupyter_ffdl.errors import BadInput
from serving import Part, multipart

PARTS = [
    Part("manifest", b"name: x\r\n--not the boundary\r\n"),
    Part("model_definition", bytes(range(256)) + b"\r\n--bound"),
    Part("origin", b"", None),
]
BODY = multipart(PARTS, "boundary")


def read(*chunks: bytes) -> list[tuple[str, str | None, bytes]]:
    reader = MultipartReader(b"boundary")
    parts: list[tuple[str, str | None, bytes]] = []
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartBegins):
                parts.append((event.name, event.filename, b""))
            else:
                assert isinstance(event, PartData)
                name, filename, data = parts[-1]
                parts[-1] = (name, filename, data + event.data)
    assert reader.complete
    return parts


EXPECTED = [(part.name, part.filename, part.content) for part in PARTS]


def test_cutting_a_body_anywhere_changes_nothing():
    assert read(BODY) == EXPECTED
    assert read(*(BODY[at : at + 1] for at in range(len(BODY)))) == EXPECTED
    for cut in range(len(BODY)):
        assert read(BODY[:cut], BODY[cut:]) == EXPECTED


@pytest.mark.parametrize(
    ("head", "name", "filename"),
    [
        (b'Content-Disposition: form-data; name="a"; filename="b c.zip"', "a", "b c.zip"),
        (b"content-disposition: form-data; name=a; filename=b", "a", "b"),
        (b"Content-Disposition: form-data; name=a; filename*=utf-8''%C3%BC", "a", "ü"),
        (b'Content-Disposition: form-data; name="a"', "a", None),
        (b'Content-Disposition: form-data; name="a"; filename=""', "a", ""),
        (b"X: y", "", None),
        (b"", "", None),
    ],
)
def test_heads_of_parts(head, name, filename):
    lines = head + b"\r\n" if head else b""
    assert read(b"--boundary\r\n" + lines + b"\r\nx\r\n--boundary--") == [(name, filename, b"x")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"--boundary" + b"x" * 300, id="text behind a boundary"),
        pytest.param(b"--boundary\r\n" + b"x" * 20_000, id="a head without end"),
    ],
)
def test_what_is_no_form_is_refused_at_once(body):
    with pytest.raises(BadInput):
        list(MultipartReader(b"boundary").feed(body))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_boundaries(content_type, boundary):
    assert boundary_of(content_type) == boundary
