"""Tracebacks as logs really hold them: recorded from Python 3.11 and 3.13, launchers, bars."""

from __future__ import annotations

import pytest

from jupyter_ffdl.diagnosis.tracebacks import last_fault, last_lines, last_traceback

PLAIN = """\
Traceback (most recent call last):
  File "/w/train.py", line 7, in <module>
    load("data.csv")
    ~~~~^^^^^^^^^^^^
  File "/w/train.py", line 5, in load
    raise ValueError(path)
ValueError: data.csv
"""

CHAINED = """\
Traceback (most recent call last):
  File "/w/chained.py", line 3, in load
    return {}["data"]
           ~~^^^^^^^^
KeyError: 'data'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/w/chained.py", line 7, in <module>
    load("data.csv")
    ~~~~^^^^^^^^^^^^
  File "/w/chained.py", line 5, in load
    raise FileNotFoundError(2, "No such file or directory", path) from error
FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/w/chained.py", line 9, in <module>
    raise RuntimeError("cannot train")
RuntimeError: cannot train
"""

GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/w/group.py", line 8, in <module>
  |     asyncio.run(main())
  |     ~~~~~~~~~~~^^^^^^^^
  |   File "/w/group.py", line 6, in main
  |     async with asyncio.TaskGroup() as tg:
  |                ~~~~~~~~~~~~~~~~~^^
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/w/group.py", line 4, in work
    |     return [1][n]
    |            ~~~^^^
    | IndexError: list index out of range
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/w/group.py", line 4, in work
    |     return {}[n]
    |            ~~^^^
    | KeyError: 7
    +------------------------------------
"""

SYNTAX = """\
  File "/w/syntax.py", line 1
    def f(:
          ^
SyntaxError: invalid syntax
"""

SEVERAL_LINES = """\
Traceback (most recent call last):
  File "/w/multi.py", line 2, in <module>
    x = json.loads(
        '{"a": '
        '1'
    )
  File "/usr/lib/python3.13/json/decoder.py", line 360, in raw_decode
    obj, end = self.scan_once(s, idx)
               ~~~~~~~~~~~~~~^^^^^^^^
json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 8 (char 7)
"""

RECURSION = """\
Traceback (most recent call last):
  File "/w/rec.py", line 3, in <module>
    f(0)
    ~^^^
  File "/w/rec.py", line 2, in f
    return f(n+1)
  File "/w/rec.py", line 2, in f
    return f(n+1)
  [Previous line repeated 996 more times]
RecursionError: maximum recursion depth exceeded
"""

COLOURED = (
    "Traceback (most recent call last):\n"
    '  File \x1b[35m"/w/train.py"\x1b[0m, line \x1b[35m3\x1b[0m, in \x1b[35mload\x1b[0m\n'
    '    return \x1b[31m{}\x1b[0m\x1b[1;31m["data"]\x1b[0m\n'
    "           \x1b[31m~~\x1b[0m\x1b[1;31m^^^^^^^^\x1b[0m\n"
    "\x1b[1;35mKeyError\x1b[0m: \x1b[35m'data'\x1b[0m\n"
)

STATE_DICT = """\
Traceback (most recent call last):
  File "/w/train.py", line 9, in <module>
    net.load_state_dict(saved)
RuntimeError: Error(s) in loading state_dict for Net:
\tMissing key(s) in state_dict: "fc.bias".
\tsize mismatch for fc.weight: copying a param with shape torch.Size([10, 64]).
done
"""


def prefixed(text: str, prefix: str) -> str:
    return "".join(prefix + line for line in text.splitlines(keepends=True))


def interleaved(text: str, other: str) -> str:
    return other.join(prefixed(text, "[rank1]: ").splitlines(keepends=True))


@pytest.mark.parametrize(
    ("text", "type_", "message", "file", "line"),
    [
        pytest.param(PLAIN, "ValueError", "data.csv", "/w/train.py", 5, id="Python 3.13"),
        pytest.param(CHAINED, "RuntimeError", "cannot train", "/w/chained.py", 9, id="chained"),
        pytest.param(SYNTAX, "SyntaxError", "invalid syntax", "/w/syntax.py", 1, id="no header"),
        pytest.param(
            SEVERAL_LINES,
            "json.decoder.JSONDecodeError",
            "Expecting ',' delimiter: line 1 column 8 (char 7)",
            "/usr/lib/python3.13/json/decoder.py",
            360,
            id="a statement of several lines",
        ),
        pytest.param(
            RECURSION,
            "RecursionError",
            "maximum recursion depth exceeded",
            "/w/rec.py",
            2,
            id="repeated lines",
        ),
        pytest.param(COLOURED, "KeyError", "'data'", "/w/train.py", 3, id="colours"),
        pytest.param(
            prefixed(PLAIN, "[rank0]: "), "ValueError", "data.csv", "/w/train.py", 5, id="torchrun"
        ),
        pytest.param(
            prefixed(PLAIN, "[1,0]<stderr>:"),
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="mpirun",
        ),
        pytest.param(
            interleaved(PLAIN, "[rank0]: epoch 3: loss 0.1\n"),
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="another rank talks in between",
        ),
        pytest.param(
            "".join(
                f"2026-11-25T13:00:{number:02}Z {line}"
                for number, line in enumerate(PLAIN.splitlines(keepends=True))
            ),
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="times before every line",
        ),
        pytest.param(
            "ERROR 12:00:01 " + PLAIN,
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="a logger's prefix on the first line",
        ),
        pytest.param(
            "Original " + PLAIN, "ValueError", "data.csv", "/w/train.py", 5, id="quoted by torch"
        ),
        pytest.param(
            " 10%|#         | 1/10\r 20%|##        | 2/10\r" + PLAIN,
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="after a progress bar",
        ),
        pytest.param(
            PLAIN.replace("\n", "\r\n"), "ValueError", "data.csv", "/w/train.py", 5, id="CRLF"
        ),
        pytest.param(
            PLAIN.replace("    ~~~~", "loss: 0.3\nepoch 4 done\n    ~~~~"),
            "ValueError",
            "data.csv",
            "/w/train.py",
            5,
            id="prints in between",
        ),
    ],
)
def test_a_traceback_is_read_as_a_person_reads_it(text, type_, message, file, line):
    for before in ("", "epoch 1\n\n", "torn \xff\n"):
        found = last_traceback(before.encode("latin-1") + text.encode())
        assert found is not None
        failure = found.failure
        last = failure.frames[-1]
        assert (failure.type, failure.message) == (type_, message)
        assert (last.file, last.line) == (file, line)
        assert found.lines_after == 0


def test_causes_come_nearest_first():
    failure = last_traceback(CHAINED.encode()).failure
    assert [(link.relation, link.type, link.line) for link in failure.chain] == [
        ("context", "FileNotFoundError", 5),
        ("cause", "KeyError", 3),
    ]


def test_two_tracebacks_in_a_row_are_not_a_chain():
    found = last_traceback((PLAIN + "retrying\n" + CHAINED + PLAIN).encode())
    assert found.failure.chain == ()


def test_a_groups_members_belong_to_it():
    failure = last_traceback(GROUP.encode()).failure
    assert failure.type == "ExceptionGroup"
    assert [frame.line for frame in failure.frames] == [8, 6]
    assert [(link.relation, link.type, link.line) for link in failure.chain] == [
        ("group", "IndexError", 4),
        ("group", "KeyError", 4),
    ]


def test_indented_lines_belong_to_the_message():
    found = last_traceback(STATE_DICT.encode())
    assert found.failure.message.count("\n") == 2
    assert found.lines_after == 1


def test_source_lines_are_kept_without_pointers():
    frames = last_traceback(PLAIN.encode()).failure.frames
    assert [frame.text for frame in frames] == ['load("data.csv")', "raise ValueError(path)"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Traceback (most recent call last):\n", id="torn after the header"),
        pytest.param(PLAIN[:-21], id="torn before the error"),
        pytest.param(
            "Stacktrace:\n [1] f(x::Int64)\n   @ Main ./REPL[1]:1\n", id="Julia is not read"
        ),
        pytest.param("Error in f(1) : object 'x' not found\nCalls: f\n", id="R is not read"),
        pytest.param("loss: 0.3\nValueError: printed\n", id="an error without a traceback"),
    ],
)
def test_what_is_no_traceback_is_none(text):
    assert last_traceback(text.encode()) is None


def test_cutting_a_log_anywhere_fails_nowhere():
    data = (GROUP + CHAINED + SYNTAX + COLOURED + prefixed(PLAIN, "[rank0]: ")).encode()
    for cut in range(0, len(data), 7):
        last_traceback(data[cut:])
        last_traceback(data[:cut])
        last_lines(data[cut:])


def test_a_long_log_is_read_quickly():
    last_traceback(b"Traceback (most recent call last):\n" * 2000 + b"x" * 65536)
    last_traceback(prefixed(PLAIN, "[rank0]: ").encode() * 200)


def test_a_fatal_signals_stack_is_turned_round():
    text = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f4bfebfab80 [python] (most recent call first):
  File "/usr/lib/python3.13/ctypes/__init__.py", line 538 in string_at
  File "/w/fault.py", line 3 in crash
  File "/w/fault.py", line 4 in <module>

Extension modules: a (total: 1)
"""
    fault = last_fault("old\n" + text)
    assert fault.message == "Segmentation fault"
    assert [frame.line for frame in fault.frames] == [4, 3, 538]
    assert last_fault("nothing") is None


def test_last_lines_are_those_with_text():
    assert last_lines(b"a\n\n\x1b[31mb\x1b[0m\n1%\r2%\n\n", 2) == ["b", "2%"]
    assert last_lines(b"x" * 1000) == ["x" * 500]
