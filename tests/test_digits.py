"""The data of the first training, and the notebook that trains on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jupyter_ffdl import digits

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebooks" / "quickstart.ipynb"


def test_the_digits_are_all_there():
    train_x, train_y, test_x, test_y = digits.load()
    assert (train_x.shape, test_x.shape) == ((1437, 64), (360, 64))
    assert (train_x.dtype, train_y.dtype) == (np.float32, np.int64)
    assert (train_x.min(), train_x.max()) == (0, 1)
    counts = np.bincount(np.concatenate([train_y, test_y]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_two_trainings_see_the_same_split():
    for one, two in zip(digits.load(), digits.load(), strict=True):
        assert (one == two).all()


def test_the_file_is_small():
    assert digits.PATH.stat().st_size < 100_000


def cells() -> list[str]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_saved_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_the_first_training_learns_at_a_pace_to_watch(tmp_path):
    [source] = [source for source in cells() if source.startswith("%%ffdl_train")]
    script = tmp_path / "cell.py"
    script.write_text(source.partition("\n")[2])
    environment = {**os.environ, "LOG_DIR": str(tmp_path), "RESULT_DIR": str(tmp_path)}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 5 < time.monotonic() - began < 15
    lines = ended.stdout.splitlines()
    assert len(lines) == 25
    assert float(re.search(r"accuracy ([\d.]+)%", lines[-1])[1]) > 95
    recorded = EventAccumulator(str(tmp_path / "tb"))
    recorded.Reload()
    assert recorded.Tags()["scalars"] == ["train/loss", "validation/loss", "validation/accuracy"]
    losses = [point.value for point in recorded.Scalars("train/loss")]
    assert losses[-1] < losses[0] / 5
    assert (tmp_path / "digits.npz").exists()
