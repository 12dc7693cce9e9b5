import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collecting import collect, log_path, made_folder, scalar_event
from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.trainingdata.emetrics import (
    FRAME_BYTES,
    RecordTail,
    emetrics,
    frame_text,
    metrics_form,
    rest_form,
)

NAME = "events.out.tfevents.1500000000.host"
RECORD = {
    "meta": {"training_id": "training-abc", "time": 1531000001733, "rindex": 1},
    "etimes": {
        "iteration": {"type": 2, "value": "10"},
        "timestamp": {"value": "2018-07-07T21:46:41.500000Z"},
        "wall_time": {"type": 3, "value": "1531000001.5"},
    },
    "grouplabel": "test",
    "values": {"accuracy": {"type": 3, "value": "0.9"}},
    "source": "logs/test",
}
REST = {
    "etimes": {
        "iteration": {"type": "INT", "value": "10"},
        "timestamp": {"type": "STRING", "value": "2018-07-07T21:46:41.500000Z"},
        "wall_time": {"type": "FLOAT", "value": "1531000001.5"},
    },
    "grouplabel": "test",
    "meta": {"rindex": 1, "time": 1531000001733, "training_id": "training-abc"},
    "values": {"accuracy": {"type": "FLOAT", "value": "0.9"}},
}


def test_rest_has_names_of_types_and_the_contracts_keys():
    assert rest_form(RECORD) == REST
    assert list(rest_form(RECORD)) == ["etimes", "grouplabel", "meta", "values"]
    with_sub_run = {**RECORD, "meta": {**RECORD["meta"], "subid": "7"}}
    assert rest_form(with_sub_run)["meta"]["subid"] == "7"


def test_the_stream_ends_with_the_keys_that_the_old_command_line_reads():
    (frame,) = metrics_form(RECORD)
    assert frame == {
        **REST,
        "type": "test",
        "timestamp": "2018-07-07T21:46:41.500000Z",
        "iteration": 10,
        "Values": {"accuracy": 0.9},
    }
    assert list(frame)[-4:] == ["type", "timestamp", "iteration", "Values"]
    assert json.loads(frame_text(frame)) == frame


def test_numbers_that_json_lacks_are_left_out_of_the_stream():
    values = {"a": {"type": 3, "value": "NaN"}, "b": {"type": 2, "value": "7"}, "c": {"value": "t"}}
    (frame,) = metrics_form({**RECORD, "values": values})
    assert frame["Values"] == {"b": 7}
    assert "NaN" not in json.dumps(frame["Values"])


def test_a_record_without_times_has_them_from_its_collection():
    (frame,) = metrics_form({**RECORD, "etimes": {}})
    assert frame["timestamp"] == "2018-07-07T21:46:41.733000Z"
    assert frame["iteration"] == 1


def test_frames_stay_below_8192_bytes():
    values = {f"tag number {n}": {"type": 3, "value": str(n)} for n in range(500)}
    frames = metrics_form({**RECORD, "values": values})
    assert all(len(frame_text(frame)) < FRAME_BYTES for frame in frames)
    together = {}
    for frame in frames:
        together |= frame["Values"]
    assert together == {name: float(entry["value"]) for name, entry in values.items()}


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """60 records of three runs in two learners."""
    folder, spec = made_folder(tmp_path_factory.mktemp("emetrics"), learners=2)
    for n, run in enumerate(("train", "7/train", "learner-2/train")):
        directory = folder / "job" / "logs" / run
        directory.mkdir(parents=True)
        events = [scalar_event(s, wall_time=1.5e9 + 3 * s + n, loss=s / 2) for s in range(20)]
        (directory / NAME).write_bytes(b"".join(events))
    collect(folder, spec)
    return folder


def everything(folder):
    return emetrics(folder, pagesize=10_000)


def test_records_are_in_order_of_time(training):
    times = [record["meta"]["time"] for record in everything(training)]
    assert len(times) == 60
    assert times == sorted(set(times))


def test_the_first_page_and_the_last(training):
    records = everything(training)
    assert emetrics(training) == records[:10]
    assert emetrics(training, pos=-1, pagesize=7) == records[-7:]
    assert emetrics(training, pos=-4, pagesize=7) == records[-10:-3]
    assert emetrics(training, pos=-100) == []


def test_a_position_counts_in_each_sub_run(training):
    page = emetrics(training, pos=5, pagesize=2)
    assert sorted((r["meta"].get("subid", ""), r["meta"]["rindex"]) for r in page) == [
        ("", 5),
        ("", 6),
        ("7", 5),
        ("7", 6),
        ("learner-2", 5),
        ("learner-2", 6),
    ]
    page = emetrics(training, subid="7", pagesize=100)
    assert [r["meta"]["rindex"] for r in page] == list(range(1, 21))
    assert emetrics(training, subid="7", pos=-1, pagesize=2) == page[-2:]


@settings(deadline=None)
@given(st.integers(-70, 70), st.integers(1, 70), st.integers(0, 62))
def test_pages_since_a_time_follow_the_rule(training, pos, pagesize, place):
    records = everything(training)
    first = records[0]["meta"]["time"]
    kept = [record for record in records if record["meta"]["time"] >= first + place]
    if pos < 0:
        end = max(0, len(kept) + pos + 1)
        expected = kept[max(0, end - pagesize) : end]
    else:
        expected = kept[pos : pos + pagesize]
    assert emetrics(training, pos=pos, pagesize=pagesize, since=first + place) == expected


def test_page_sizes_have_bounds(training):
    with pytest.raises(BadInput):
        emetrics(training, pagesize=-1)


def test_numbers_go_on_over_attempts(tmp_path):
    folder, spec = made_folder(tmp_path)
    run = folder / "job" / "logs" / "train" / NAME
    run.parent.mkdir()
    run.write_bytes(scalar_event(1, loss=1.0) + scalar_event(2, loss=1.0))
    collect(folder, spec)
    made_folder(tmp_path, attempt=2)
    with run.open("ab") as file:
        file.write(scalar_event(3, loss=1.0))
    collect(folder, spec, attempt=2)
    assert [record["meta"]["rindex"] for record in emetrics(folder)] == [1, 2, 3]
    (folder / "attempts" / "1" / "collector.json").unlink()
    assert [record["meta"]["rindex"] for record in emetrics(folder)] == [1, 2, 3]


def test_records_are_read_on_as_they_come(tmp_path):
    folder, spec = made_folder(tmp_path)
    tail = RecordTail(folder, 1)
    assert tail.read() == []
    run = folder / "job" / "logs" / "train" / NAME
    run.parent.mkdir()
    for step in range(3):
        with run.open("ab") as file:
            file.write(scalar_event(step, loss=1.0))
        collect(folder, spec)
        assert [record["meta"]["rindex"] for record in tail.read()] == [step + 1]
    assert tail.read() == []
    tail = RecordTail(folder, 1)
    assert len(tail.read(limit=10)) == 1, "a record longer than the limit comes whole"


def test_a_page_far_into_many_records_reads_only_its_end(tmp_path):
    folder, spec = made_folder(tmp_path)
    collect(folder, spec)
    lines = []
    for n in range(5000):
        meta = {"training_id": "id", "time": 10 * n + 1, "rindex": n + 1}
        lines.append(json.dumps({**RECORD, "meta": meta}) + "\n")
    log_path(folder).with_name("evaluation-metrics.txt").write_text("".join(lines))
    for since, first in ((0, 1), (5, 2), (25_000, 2501), (25_001, 2501), (49_991, 5000)):
        assert emetrics(folder, since=since)[0]["meta"]["rindex"] == first
    assert emetrics(folder, since=49_992) == []
