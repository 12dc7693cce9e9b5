import json
from pathlib import Path

import pytest

from collecting import collect, log_path, made_folder, points, records
from jupyter_ffdl.learner.extractors.emetrics import BadLineError, EmetricsExtractor, record_of
from jupyter_ffdl.learner.logdir import Input

HERE = Input(Path("evaluation-metrics.txt"), "", 1)


def line(values, etimes=None, **more):
    record = {"etimes": etimes or {}, "grouplabel": "g", "values": values, **more}
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ({"type": 3, "value": "0.5"}, {"type": 3, "value": "0.5"}),
        ({"type": "FLOAT", "value": 0.5}, {"type": 3, "value": "0.5"}),
        ({"type": "float", "value": "nan"}, {"type": 3, "value": "NaN"}),
        ({"type": "INT", "value": 7}, {"type": 2, "value": "7"}),
        ({"type": 0, "value": "text"}, {"value": "text"}),
        ({"value": "text"}, {"value": "text"}),
        ({"value": 7}, {"type": 2, "value": "7"}),
        ({"value": 0.5}, {"type": 3, "value": "0.5"}),
        ({"value": float("-inf")}, {"type": 3, "value": "-Infinity"}),
        (float("nan"), {"type": 3, "value": "NaN"}),
        (0.25, {"type": 3, "value": "0.25"}),
        ({"type": "JSONSTRING", "value": {"a": 1}}, {"type": 1, "value": '{"a": 1}'}),
        ({"value": True}, {"type": 1, "value": "true"}),
    ],
)
def test_values_and_types_in_every_spelling(entry, kept):
    assert record_of(line({"x": entry}), HERE).values == {"x": kept}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"not json", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[1]", "it is no JSON object"),
        (b'{"etimes": {}, "values": {}}', "grouplabel is missing or no string"),
        (b'{"grouplabel": "g", "values": {}}', "etimes is missing or no object"),
        (b'{"grouplabel": "g", "etimes": {}, "values": []}', "values is missing or no object"),
        (line({"x": {"type": 3}}), "values.x has no value"),
        (line({"x": {"type": 9, "value": "1"}}), "values.x has an unknown type"),
        (line({"x": {"type": True, "value": "1"}}), "values.x has an unknown type"),
        (line({"x": {"type": "FLOAT", "value": "many"}}), "values.x is no number"),
        (line({}, {"step": {"type": "INT", "value": None}}), "etimes.step is no number"),
    ],
)
def test_a_bad_line_says_why(text, why):
    with pytest.raises(BadLineError) as caught:
        record_of(text, HERE)
    assert str(caught.value) == why


def test_what_the_line_lacks_is_filled_in(tmp_path):
    folder, spec = made_folder(tmp_path, kind="emetrics", learners=2)
    logs = folder / "job" / "logs"
    (logs / "evaluation-metrics.txt").write_bytes(
        line({"x": 1}, {"iteration": {"type": "INT", "value": 4}}) + b"\n"
        b"bad\n\n" + line({"x": 2}, meta={"subid": "mine", "time": 5, "rindex": 99})
    )
    (logs / "fold-1").mkdir()
    (logs / "fold-1" / "evaluation-metrics.txt").write_bytes(line({"x": 3}) + b"\n")
    (logs / "learner-2" / "evaluation-metrics.txt").write_bytes(line({"x": 4}) + b"\n")
    collect(folder, spec)
    metas = [record["meta"] for record in records(folder)]
    assert sorted(meta.get("subid", "") for meta in metas) == ["", "fold-1", "mine"]
    assert [meta["rindex"] for meta in metas] == [1, 1, 1]
    assert all(meta["time"] > 5 for meta in metas)
    assert all(meta["training_id"] == spec["training_id"] for meta in metas)
    assert records(folder, 2)[0]["meta"]["subid"] == "learner-2"
    assert ("g", "x", 4, 1.0) in points(folder, learner=1)
    (report,) = (folder / "attempts" / "1" / "reports.jsonl").read_text().splitlines()
    assert json.loads(report)["text"] == "Line 2 is not used: it is no JSON"


def test_our_own_records_are_not_read_as_the_users(tmp_path):
    folder, spec = made_folder(tmp_path, kind="emetrics")
    ours = log_path(folder).with_name("evaluation-metrics.txt")
    ours.write_bytes(b"")
    (folder / "job" / "logs" / "evaluation-metrics.txt").symlink_to(ours)
    collect(folder, spec)
    assert records(folder) == []


def test_in_names_a_further_file(tmp_path):
    folder, spec = made_folder(tmp_path, kind="emetrics", **{"in": "${RESULT_DIR}/own.txt"})
    (folder / "results" / "own.txt").write_bytes(line({"x": 1}) + b"\n")
    collect(folder, spec)
    assert len(records(folder)) == 1


@pytest.mark.parametrize(
    "path", ["/job/logs/deep/own.txt", "$LOG_DIR/deep/own.txt", "../logs/deep/own.txt"]
)
def test_in_may_be_written_as_user_code_would(tmp_path, path):
    folder, spec = made_folder(tmp_path, kind="emetrics", **{"in": path})
    (folder / "job" / "logs" / "deep").mkdir()
    (folder / "job" / "logs" / "deep" / "own.txt").write_bytes(line({"x": 1}) + b"\n")
    collect(folder, spec)
    assert len(records(folder)) == 1


def test_cutting_the_file_anywhere_changes_nothing(tmp_path):
    path = tmp_path / "evaluation-metrics.txt"
    text = b"\n".join([line({"x": 1}), b"bad", line({"x": 2}), b"worse", line({"x": 3})])
    for cut in range(len(text) + 1):
        found, reports, state = [], [], None
        path.unlink(missing_ok=True)
        for end in (cut, len(text)):
            with path.open("ab") as file:
                file.write(text[path.stat().st_size : end])
            extractor = EmetricsExtractor(
                lambda: [Input(path, "", 1)],
                state=state,
                report=lambda _, told, into=reports: into.append(told),
            )
            found += extractor.collect(final=end == len(text))[0]
            state = extractor.state()
            if cut == len(text):
                break
        assert [record.values["x"]["value"] for record in found] == ["1", "2", "3"]
        assert [told.partition(" is")[0] for told in reports] == ["Line 2", "Line 4"]


def test_a_line_that_is_too_long_is_reported_and_the_next_is_read(tmp_path):
    path = tmp_path / "evaluation-metrics.txt"
    path.write_bytes(line({"x": "y" * (2 << 20)}) + b"\n" + line({"x": 2}) + b"\n")
    reports = []
    extractor = EmetricsExtractor(
        lambda: [Input(path, "", 1)], report=lambda _, text: reports.append(text)
    )
    found, more = [], True
    while more:
        new, more = extractor.collect()
        found += new
    assert [record.values for record in found] == [{"x": {"type": 2, "value": "2"}}]
    assert reports == ["Line 1 is not used: it is longer than 1048576 bytes"]
