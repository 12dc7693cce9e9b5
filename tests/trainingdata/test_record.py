import json

import pytest

from jupyter_ffdl.trainingdata.record import (
    ROW,
    Record,
    SeriesTable,
    number,
    number_text,
    parse,
    step_of,
    typed,
    utc_text,
    wall_time_of,
)


def record(etimes=None, values=None, **more):
    made = Record(etimes or {}, "g", values or {}, "logs/g", **more)
    return made.to_json("training-1", 1_531_000_001_733, 5)


def test_a_line_is_written_as_the_contract_has_it():
    made = Record(
        etimes={
            "iteration": typed(2, "100"),
            "timestamp": typed(0, "2018-07-07T21:46:41.500000Z"),
            "wall_time": typed(3, "1531000001.5"),
        },
        grouplabel="test",
        values={"accuracy": typed(3, "0.93")},
        source="logs/test",
    )
    line = json.dumps(made.to_json("training-abc", 1531000001733, 1))
    assert line == (
        '{"meta": {"training_id": "training-abc", "time": 1531000001733, "rindex": 1}, '
        '"etimes": {"iteration": {"type": 2, "value": "100"}, '
        '"timestamp": {"value": "2018-07-07T21:46:41.500000Z"}, '
        '"wall_time": {"type": 3, "value": "1531000001.5"}}, '
        '"grouplabel": "test", "values": {"accuracy": {"type": 3, "value": "0.93"}}, '
        '"source": "logs/test"}'
    )


def test_the_sub_run_stands_last_in_meta():
    assert list(record(subid="7")["meta"]) == ["training_id", "time", "rindex", "subid"]


@pytest.mark.parametrize(
    ("etimes", "step"),
    [
        ({"iteration": typed(2, "10")}, 10),
        ({"iteration": typed(0, "10")}, 10),
        ({"epoch": typed(2, "3"), "iteration": typed(2, "10")}, 10),
        ({"epoch": typed(2, "3"), "step": typed(2, "4")}, 4),
        ({"round": typed(2, "9")}, 9),
        ({"iteration": typed(2, "0x10")}, 16),
        ({"iteration": typed(3, "2.0")}, 2),
        ({"iteration": typed(2, "NaN")}, 5),
        ({"iteration": typed(2, "9" * 30)}, 5),
        ({"when": typed(0, "7")}, 5),
        ({}, 5),
    ],
)
def test_where_the_step_comes_from(etimes, step):
    assert step_of(record(etimes)) == step


def test_where_the_wall_time_comes_from():
    assert wall_time_of(record({"wall_time": typed(3, "1.5")})) == 1.5
    assert wall_time_of(record()) == 1531000001.733


def test_rows_are_numbers_only_and_series_are_numbered_as_they_appear():
    table = SeriesTable()
    values = {"a": typed(3, "0.5"), "b": typed(0, "text"), "c": typed(2, "7"), "d": typed(3, "x")}
    rows = list(ROW.iter_unpack(table.rows(record({"iteration": typed(2, "1")}, values))))
    assert [(row[0], row[2], row[4]) for row in rows] == [(0, 1, 0.5), (1, 1, 7.0)]
    assert [line["tag"] for line in table.series] == ["a", "c"]
    table.rows(record({}, {"a": typed(3, "1")}, subid="2"))
    assert table.series[2] == {
        "id": 2,
        "source": "logs/g",
        "grouplabel": "g",
        "tag": "a",
        "subid": "2",
    }
    assert SeriesTable(table.series).series == table.series


@pytest.mark.parametrize(
    ("text", "value"), [("0.5", 0.5), ("0x1F", 31.0), ("1e3", 1000.0), ("x", None), (None, None)]
)
def test_numbers_in_text(text, value):
    assert number(text) == value


def test_numbers_that_json_lacks_have_names():
    assert [number_text(float(x)) for x in ("nan", "inf", "-inf", "0.1")] == [
        "NaN",
        "Infinity",
        "-Infinity",
        "0.1",
    ]


def test_times_are_utc_with_z_also_where_they_make_no_sense():
    assert utc_text(1531000001.5) == "2018-07-07T21:46:41.500000Z"
    assert utc_text(0) == "1970-01-01T00:00:00.000000Z"
    assert utc_text(1e300) == utc_text(float("nan")) == "1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"meta": {"time": "x"}}'])
def test_a_bad_line_is_no_record(line):
    assert parse(line) is None
