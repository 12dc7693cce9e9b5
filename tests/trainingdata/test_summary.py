import math

import pytest

from collecting import collect, log_path, made_folder, scalar_event
from jupyter_ffdl.trainingdata.record import ROW
from jupyter_ffdl.trainingdata.summary import main_series, row_summary

NAME = "events.out.tfevents.1500000000.host"


def trained(tmp_path, values, tag="loss"):
    folder, spec = made_folder(tmp_path)
    (folder / "job" / "logs" / NAME).write_bytes(
        b"".join(scalar_event(step, **{tag: value}) for step, value in enumerate(values))
    )
    collect(folder, spec)
    return folder


def test_a_row_shows_the_last_value_a_curve_and_how_far_it_is(tmp_path):
    folder = trained(tmp_path, [1.0, 0.5, 0.25])
    log_path(folder).write_bytes(b"Epoch 1/3\nEpoch 2/3\n")
    row = row_summary(folder)
    assert row["scalar"] == {"tag": "loss", "value": 0.25, "step": 2}
    assert row["sparkline"] == [1.0, 0.5, 0.25]
    assert (row["progress"]["done"], row["progress"]["total"]) == (2, 3)
    assert row["progress"]["updated"] > 1.5e12


def test_a_bar_that_is_being_rewritten_is_progress(tmp_path):
    folder, _ = made_folder(tmp_path)
    bar = " 45%|████▌     | 45/100 [00:12<00:15,  3.61it/s]"
    log_path(folder).write_text(f"\r  1%|▏         | 1/100 [00:00<?, ?it/s]\r{bar}", newline="")
    assert row_summary(folder)["progress"]["done"] == 45
    log_path(folder).write_text(f"{bar}\r", newline="")
    assert row_summary(folder)["progress"]["eta_seconds"] == 15


def test_a_training_without_anything_shows_nothing(tmp_path):
    expected = {"scalar": None, "sparkline": [], "progress": None}
    assert row_summary(tmp_path) == expected
    folder, _ = made_folder(tmp_path)
    assert row_summary(folder) == expected


def test_a_loss_that_became_nan_says_at_which_step(tmp_path):
    row = row_summary(trained(tmp_path, [1.0, 0.5, math.nan, math.nan]))
    assert row["scalar"] == {
        "tag": "loss",
        "value": None,
        "step": 3,
        "mark": "nan",
        "since_step": 2,
    }
    assert row["sparkline"] == [1.0, 0.5, None, None]


def test_a_long_curve_has_fifty_points_and_its_last(tmp_path):
    row = row_summary(trained(tmp_path, [float(n) for n in range(1000)]))
    assert len(row["sparkline"]) <= 50
    assert row["sparkline"][-1] == 999.0


@pytest.mark.parametrize("rows", [5_000, 300_000])
def test_however_much_is_recorded_few_bytes_are_read(tmp_path, rows):
    folder = trained(tmp_path, [0.0])
    path = log_path(folder).with_name("scalars.bin")
    packed = b"".join(ROW.pack(n % 3, 0, n, 1.5e9, float(n)) for n in range(rows))
    path.write_bytes(packed)
    series = "".join(
        f'{{"id": {n}, "source": "s", "grouplabel": "g", "tag": "{tag}"}}\n'
        for n, tag in enumerate(["lr", "loss", "rare"])
    )
    path.with_name("series.jsonl").write_text(series)
    row = row_summary(folder)
    last = max(n for n in range(rows - 3, rows) if n % 3 == 1)
    assert row["scalar"] == {"tag": "loss", "value": float(last), "step": last}
    assert 45 <= len(row["sparkline"]) <= 50
    assert row["sparkline"] == sorted(row["sparkline"])


@pytest.mark.parametrize(
    ("tags", "main"),
    [
        (["lr", "accuracy", "loss"], "loss"),
        (["val_loss", "train_loss"], "train_loss"),
        (["validation/loss", "train/loss"], "train/loss"),
        (["loss_scale", "loss"], "loss"),
        (["val_loss", "epoch"], "val_loss"),
        (["learning_rate", "reward"], "reward"),
        (["lr"], "lr"),
        (["reward", "accuracy"], "accuracy"),
    ],
)
def test_the_training_loss_comes_first(tags, main):
    series = [{"id": n, "grouplabel": "g", "tag": tag} for n, tag in enumerate(tags)]
    assert main_series(series)["tag"] == main


def test_of_two_runs_the_training_run_comes_first():
    series = [
        {"id": 0, "grouplabel": "validation", "tag": "loss"},
        {"id": 1, "grouplabel": "train", "tag": "loss"},
    ]
    assert main_series(series)["id"] == 1
    assert main_series([]) is None
