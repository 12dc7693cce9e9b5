"""What the small writer writes is what TensorBoard reads."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

from jupyter_ffdl.scalars import ScalarWriter


def events(path: Path) -> list[Any]:
    return [
        event_pb2.Event.FromString(data)
        for data in RawEventFileLoader(str(path)).Load()  # checks both checksums
    ]


def test_tensorboard_reads_every_point(tmp_path):
    with ScalarWriter(tmp_path / "a" / "tb") as scalars:
        for step in (0, 1, 127, 128, 2**40, -1):
            scalars.add_scalar("train/loss", step / 4, step)
        scalars.add_scalar("größe", 1, 7)
    first, *points = events(scalars.path)
    assert first.file_version == "brain.Event:2"
    assert [point.step for point in points] == [0, 1, 127, 128, 2**40, -1, 7]
    values = [value for point in points for value in point.summary.value]
    assert [value.tag for value in values] == ["train/loss"] * 6 + ["größe"]
    assert values[2].simple_value == 31.75
    assert all(abs(point.wall_time - first.wall_time) < 60 for point in points)


@pytest.mark.parametrize(
    ("value", "read"),
    [(math.inf, math.inf), (-math.inf, -math.inf), (1e300, math.inf), (-1e300, -math.inf), (3, 3)],
)
def test_values_that_a_float_cannot_hold_are_infinite(tmp_path, value, read):
    scalars = ScalarWriter(tmp_path)
    scalars.add_scalar("a", value, 1)
    scalars.add_scalar("a", math.nan, 2)
    _, first, second = events(scalars.path)
    scalars.close()
    assert first.summary.value[0].simple_value == read
    assert math.isnan(second.summary.value[0].simple_value)


def test_a_point_is_in_the_file_at_once(tmp_path):
    scalars = ScalarWriter(tmp_path)
    scalars.add_scalar("a", 1.0, 1)
    assert len(events(scalars.path)) == 2
    scalars.close()


def test_the_directory_is_the_trainings_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "logs"))
    with ScalarWriter() as one, ScalarWriter() as two:
        assert one.path.parent == tmp_path / "logs" / "tb"
        assert one.path != two.path


def test_numbers_of_numpy_are_numbers(tmp_path):
    import numpy as np

    with ScalarWriter(tmp_path) as scalars:
        scalars.add_scalar("a", np.float32(0.5), np.int64(3))
    assert events(scalars.path)[1].step == 3


def test_nothing_but_the_standard_library_is_loaded():
    code = (
        "import sys; before = set(sys.modules); import jupyter_ffdl.scalars; "
        "print({name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = eval(ended.stdout)
    assert loaded - set(sys.stdlib_module_names) == {"jupyter_ffdl"}
