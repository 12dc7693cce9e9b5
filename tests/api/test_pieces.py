"""Where a log is cut (pure but for a file)."""

from __future__ import annotations

import pytest

from jupyter_ffdl.api.pieces import cut, line_start_near, read_piece, unfinished

EURO = "€".encode()
SMILE = "😀".encode()


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (b"", 0),
        (b"abc", 0),
        (EURO, 0),
        (EURO[:1], 1),
        (EURO[:2], 2),
        (b"a" + SMILE[:3], 3),
        (SMILE, 0),
        pytest.param(b"\xff", 0, id="no beginning of anything"),
        pytest.param(b"\x80\x80\x80\x80\x80", 0, id="continuations of nothing"),
        pytest.param(b"\xc3", 1, id="half an umlaut"),
    ],
)
def test_how_much_of_a_character_is_missing(data, missing):
    assert unfinished(data) == missing


@pytest.mark.parametrize(
    ("data", "at_end", "whole", "length"),
    [
        pytest.param(b"a\nb\nc", True, False, 4, id="an open line waits"),
        pytest.param(b"a\nb\nc", True, True, 5, id="unless it is the last one"),
        pytest.param(b"a\n\rb", True, False, 4, id="or rewrites itself"),
        pytest.param(b"a\r\nb", True, False, 3, id="a Windows line end is no rewrite"),
        pytest.param(b"a\nb", False, False, 2, id="lines first"),
        pytest.param(b"ab", False, False, 2, id="a long line is cut"),
        pytest.param(b"ab" + EURO[:2], False, False, 2, id="between characters"),
        pytest.param(b"\ra" + EURO[:2], True, False, 2, id="a bar, too"),
        pytest.param(b"", True, False, 0, id="nothing"),
    ],
)
def test_cuts(data, at_end, whole, length):
    assert cut(data, at_end=at_end, whole=whole) == length


def test_pieces_put_together_are_the_file(tmp_path):
    path = tmp_path / "log"
    data = ("\n".join("ä€😀" * n for n in range(40)) + "\r\rend").encode() + b"\xff\xfe"
    path.write_bytes(data)
    for limit in (8, 9, 10, 64, 1000):
        at, text = 0, b""
        while (piece := read_piece(path, at, whole=True, limit=limit)).data:
            assert piece.start == at
            assert len(piece.data) <= limit
            text += piece.data
            at = piece.end
        assert text == data


def test_a_file_that_became_shorter_goes_on_where_it_ends(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"short\n")
    piece = read_piece(path, 100, whole=False)
    assert (piece.start, piece.data) == (6, b"")


def test_the_first_line_behind_an_offset(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree")
    starts = [line_start_near(path, offset) for offset in range(10)]
    assert starts == [0, 4, 4, 4, 4, 8, 8, 8, 8, 9]
