"""Files that survive ``kill -9``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jupyter_ffdl import files


def test_a_whole_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "record.json"
    files.write_json(path, {"a": 1})
    files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 2}
    assert os.listdir(tmp_path) == ["record.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    with pytest.raises(TypeError):
        files.write_whole(path, "text")
    assert files.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_reader_ignores_a_torn_last_line_and_reads_it_once_it_is_whole(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":2')
    values, offset = files.read_lines(path)
    assert values == [{"n": 1}]
    with path.open("ab") as file:
        file.write(b"}\n")
    assert files.read_lines(path, offset) == ([{"n": 2}], path.stat().st_size)


def test_a_torn_line_spoils_only_itself(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":')
    files.append_line(path, {"n": 3})
    assert files.read_lines(path)[0] == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("text", ["\ud800", "ä", "\u2028", "a\nb"])
def test_any_text_is_one_line(tmp_path, text):
    path = tmp_path / "lines.jsonl"
    files.append_line(path, {"t": text})
    assert files.read_lines(path)[0] == [{"t": text}]


def test_a_killed_writer_leaves_whole_lines_only(tmp_path):
    path = tmp_path / "lines.jsonl"
    code = (
        "import sys; from pathlib import Path; from jupyter_ffdl import files\n"
        "for n in range(10**9): files.append_line(Path(sys.argv[1]), {'n': n, 'x': 'y' * 500})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < 50_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    numbers = [value["n"] for value in files.read_lines(path)[0]]
    assert numbers == list(range(len(numbers)))
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
