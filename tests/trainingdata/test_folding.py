import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ffdl.trainingdata.folding import fold


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        pytest.param(b"10%\r20%\r30%\n", [b"30%"], id="a progress bar shows its last value"),
        pytest.param(b"dos\r\n", [b"dos"], id="a Windows line end is not a rewrite"),
        pytest.param(b"no end yet", [], id="a line without an end stays open"),
        pytest.param(b"\rbar\n", [b"bar"], id="a bar that begins with its rewrite"),
        pytest.param(b"\n\r\n", [b"", b""], id="empty lines stay"),
    ],
)
def test_a_reader_sees_each_line_as_last_written(written, seen):
    assert fold(written)[0] == seen


def test_an_open_bar_keeps_its_last_value_only():
    assert fold(b"10%\r20%\r") == ([], b"20%\r")


def test_cutting_the_stream_anywhere_changes_nothing():
    text = b"one\r\n10%\r20%\n\rtwo\r\r\nthree"
    for cut in range(len(text) + 1):
        head, still_open = fold(text[:cut])
        tail, rest = fold(text[cut:], still_open)
        assert (head + tail, rest) == fold(text)


@settings(deadline=None)
@given(st.lists(st.text("ab\r\n", max_size=6), max_size=8))
def test_any_pieces_give_the_same_lines(pieces):
    lines, still_open = [], b""
    for piece in pieces:
        new, still_open = fold(piece.encode(), still_open)
        lines += new
    assert (lines, still_open) == fold("".join(pieces).encode())
