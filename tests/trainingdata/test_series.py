import json
import math
import os

import numpy as np
import pytest

from collecting import (
    collect,
    log_path,
    made_folder,
    points,
    scalar_event,
)
from jupyter_ffdl.trainingdata.record import ROW, Record, typed
from jupyter_ffdl.trainingdata.series import Columns, read_scalars

NAME = "events.out.tfevents.1500000000.host"


def trained(tmp_path, steps=10, learners=1, **values):
    folder, spec = made_folder(tmp_path, learners=learners)
    run = folder / "job" / "logs" / "train"
    run.mkdir(exist_ok=True)
    tags = values or {"loss": 0.5, "accuracy": 0.25}
    events = [
        scalar_event(step, wall_time=1.5e9 + step, **{t: v * step for t, v in tags.items()})
        for step in range(steps)
    ]
    (run / NAME).write_bytes(b"".join(events))
    collect(folder, spec)
    return folder


def test_columns_have_step_time_and_value(tmp_path):
    loss, accuracy = read_scalars(trained(tmp_path, 3)).series
    assert (loss.tag, accuracy.tag) == ("loss", "accuracy")
    assert loss.step.tolist() == [0, 1, 2]
    assert loss.wall_time.tolist() == [1.5e9, 1.5e9 + 1, 1.5e9 + 2]
    assert loss.value.tolist() == [0.0, 0.5, 1.0]


def test_the_answer_is_json(tmp_path):
    answer = read_scalars(trained(tmp_path, 2, loss=0.5)).to_json()
    assert json.loads(json.dumps(answer)) == {
        "attempt": 1,
        "series": [
            {
                "learner": 1,
                "source": "logs/train",
                "grouplabel": "train",
                "tag": "loss",
                "step": [0, 1],
                "wall_time": [1.5e9, 1.5e9 + 1],
                "value": [0.0, 0.5],
                "marks": [],
                "points": 2,
            }
        ],
        "cursors": [{"attempt": 1, "learner": 1, "row": 2}],
    }


def test_what_json_lacks_is_null_with_a_mark(tmp_path):
    folder, spec = made_folder(tmp_path)
    values = [1.0, math.nan, math.inf, -math.inf, 2.0]
    (folder / "job" / "logs" / NAME).write_bytes(
        b"".join(scalar_event(step, loss=value) for step, value in enumerate(values))
    )
    collect(folder, spec)
    (series,) = read_scalars(folder).to_json()["series"]
    assert series["value"] == [1.0, None, None, None, 2.0]
    assert series["marks"] == [[1, "nan"], [2, "inf"], [3, "-inf"]]


def test_a_cursor_gives_what_came_after_it(tmp_path):
    folder = trained(tmp_path, 10)
    first = read_scalars(folder)
    assert read_scalars(folder, since=first.cursors).series == []
    later = read_scalars(folder, since=[{"attempt": 1, "learner": 1, "row": 14}])
    assert [series.step.tolist() for series in later.series] == [[7, 8, 9], [7, 8, 9]]
    other = read_scalars(folder, since=[{"attempt": 7, "learner": 1, "row": 14}])
    assert sum(series.points for series in other.series) == 20


def test_tags_learners_and_steps_are_chosen(tmp_path):
    folder = trained(tmp_path, 10, learners=2)
    assert [s.tag for s in read_scalars(folder, tags=["accuracy"]).series] == ["accuracy"]
    assert read_scalars(folder, learner=2).series == []
    zoomed = read_scalars(folder, steps=(3, 5)).series
    assert [series.step.tolist() for series in zoomed] == [[3, 4, 5]] * 2


def test_fewer_points_keep_the_ends(tmp_path):
    (series,) = read_scalars(trained(tmp_path, 500, loss=1.0), max_points=20).series
    assert len(series.value) <= 20
    assert series.points == 500
    assert series.step[0] == 0
    assert series.step[-1] == 499


@pytest.mark.parametrize("damage", ["missing", "no series", "bad series", "bad row", "short"])
def test_damaged_columns_are_rebuilt_the_same(tmp_path, damage):
    folder = trained(tmp_path)
    before = read_scalars(folder).to_json()
    directory = log_path(folder).parent
    rows, series = directory / "scalars.bin", directory / "series.jsonl"
    right = rows.read_bytes(), series.read_bytes()
    if damage == "missing":
        rows.unlink()
    elif damage == "no series":
        series.unlink()
    elif damage == "bad series":
        series.write_text('{"id": 0}\n{"id": 7}\n')
    elif damage == "bad row":
        rows.write_bytes(right[0][: -ROW.size] + b"\xff" * ROW.size)
    else:
        rows.write_bytes(right[0][: -ROW.size * 3])
    assert read_scalars(folder).to_json() == before
    assert (rows.read_bytes(), series.read_bytes()) == right, "and stored for the next reader"


def test_a_reader_never_writes_beside_a_living_collector(tmp_path):
    folder = trained(tmp_path)
    directory = log_path(folder).parent
    (directory.parent / "collector.json").unlink()
    (directory / "scalars.bin").unlink()
    assert len(points(folder)) == 20
    assert not (directory / "scalars.bin").exists()


def test_a_torn_row_is_not_shown(tmp_path):
    folder = trained(tmp_path)
    (log_path(folder).parent.parent / "collector.json").unlink()
    with (log_path(folder).with_name("scalars.bin")).open("ab") as file:
        file.write(b"\0" * 20)
    assert len(points(folder)) == 20


def test_a_row_written_while_series_are_read_waits_for_the_next_look(tmp_path):
    folder = trained(tmp_path)
    columns = Columns(log_path(folder).parent)
    with (log_path(folder).with_name("scalars.bin")).open("ab") as file:
        file.write(ROW.pack(7, 0, 1, 1.0, 1.0))
    found, row = columns.read()
    assert (sum(series.points for series in found), row) == (20, 20)


def test_a_training_without_anything_has_no_series(tmp_path):
    assert read_scalars(tmp_path).to_json() == {"attempt": 1, "series": [], "cursors": []}
    folder, _ = made_folder(tmp_path)
    assert read_scalars(folder).series == []


def test_attempts_are_told_apart(tmp_path):
    folder = trained(tmp_path, 3, loss=1.0)
    _, spec = made_folder(tmp_path, attempt=2)
    collect(folder, spec, attempt=2)
    assert read_scalars(folder).attempt == 2
    assert points(folder) == []
    assert len(points(folder, attempt=1)) == 3


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A learner's files of 1 000 000 scalars of 10 tags, as the collector writes them."""
    folder, spec = made_folder(tmp_path_factory.mktemp("million"))
    collect(folder, spec)
    directory = log_path(folder).parent
    with (directory / "evaluation-metrics.txt").open("wb") as file:
        for step in range(100_000):
            record = Record(
                etimes={
                    "iteration": typed(2, str(step)),
                    "timestamp": {"value": "2018-07-07T21:46:41.500000Z"},
                    "wall_time": typed(3, repr(1.5e9 + step)),
                },
                grouplabel="train",
                values={f"tag{n}": typed(3, repr(step / (n + 1))) for n in range(10)},
                source="logs/train",
            )
            file.write(json.dumps(record.to_json("id", step + 1, step + 1)).encode() + b"\n")
    (directory.parent / "collector.json").unlink()
    (directory / "scalars.bin").unlink()
    return directory


@pytest.mark.slow
@pytest.mark.alone
def test_a_million_scalars_are_rebuilt_and_read_in_time(million):
    started = os.times().user
    columns = Columns(million)
    assert columns.rows == 1_000_000
    assert os.times().user - started < 3
    columns._save(columns._rebuilt)
    started = os.times().user
    found, row = Columns(million).read(max_points=1000)
    assert os.times().user - started < 0.3
    assert row == 1_000_000
    assert [len(series.value) <= 1000 for series in found] == [True] * 10
    assert np.array_equal(found[0].step[[0, -1]], [0, 99_999])
