import os

import pytest
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboardX import SummaryWriter

from collecting import (
    collect,
    framed,
    log_path,
    made_folder,
    points,
    records,
    scalar_event,
    tensor_event,
    version_event,
)
from jupyter_ffdl.learner.eventdirs import EventTree, Root
from jupyter_ffdl.learner.extractors.tensorboard import TensorBoardExtractor

NAME = "events.out.tfevents.1500000000.host"


class Run:
    """One event directory and an extractor with a clock of our own."""

    def __init__(self, directory, **options):
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / NAME
        self.now = 100.0
        self.tree = EventTree([Root(directory.parent, "logs")], monotonic=lambda: self.now)
        self.reports = []
        self.extractor = TensorBoardExtractor(
            self.tree,
            report=lambda path, text: self.reports.append((path, text)),
            monotonic=lambda: self.now,
            **options,
        )

    def append(self, *events):
        with self.file.open("ab") as file:
            file.write(b"".join(events))

    def collect(self, *, final=False):
        self.tree.look(everything=True)
        found, more = self.extractor.collect(final=final)
        assert not more
        return [(int(r.etimes["iteration"]["value"]), values(r)) for r in found]


def values(record):
    return {tag: entry["value"] for tag, entry in record.values.items()}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "train")


def test_a_step_is_complete_when_the_next_begins(run):
    run.append(scalar_event(1, loss=0.5), scalar_event(1, accuracy=0.9))
    assert run.collect() == []
    run.append(scalar_event(2, loss=0.25))
    assert run.collect() == [(1, {"loss": "0.5", "accuracy": "0.9"})]


def test_a_step_is_complete_half_a_second_after_its_last_value(run):
    run.append(scalar_event(1, loss=0.5))
    assert run.collect() == []
    assert run.extractor.due_in() == 0.5
    run.now += 0.4
    run.append(scalar_event(1, accuracy=0.9))
    assert run.collect() == []
    run.now += 0.4
    assert run.collect() == []
    run.now += 0.1
    assert run.collect() == [(1, {"loss": "0.5", "accuracy": "0.9"})]
    assert run.extractor.due_in() is None


def test_a_tag_twice_in_a_step_is_two_records(run):
    run.append(scalar_event(1, loss=0.5), scalar_event(1, loss=0.5))
    assert run.collect(final=True) == [(1, {"loss": "0.5"}), (1, {"loss": "0.5"})]


def test_a_record_has_the_contracts_parts(tmp_path):
    folder, spec = made_folder(tmp_path)
    run = folder / "job" / "logs" / "tb" / "train"
    run.mkdir(parents=True)
    (run / NAME).write_bytes(
        version_event() + scalar_event(100, wall_time=1531000001.5, accuracy=0.93)
    )
    collect(folder, spec)
    (record,) = records(folder)
    time = record["meta"].pop("time")
    assert isinstance(time, int)
    assert record == {
        "meta": {"training_id": spec["training_id"], "rindex": 1},
        "etimes": {
            "iteration": {"type": 2, "value": "100"},
            "timestamp": {"value": "2018-07-07T21:46:41.500000Z"},
            "wall_time": {"type": 3, "value": "1531000001.5"},
        },
        "grouplabel": "train",
        "values": {"accuracy": {"type": 3, "value": "0.93"}},
        "source": "logs/tb/train",
    }
    line = log_path(folder).with_name("evaluation-metrics.txt").read_text()
    assert line.startswith('{"meta": {"training_id": "training-abcdefghijkl", "time": ')
    assert list(record) == ["meta", "etimes", "grouplabel", "values", "source"]


def test_all_writers_and_depths_are_found(tmp_path):
    folder, spec = made_folder(tmp_path)
    logs = folder / "job" / "logs"
    with SummaryWriter(str(logs / "tb")) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_text("note", "no scalar", 1)
        writer.add_histogram("weights", [1.0, 2.0], 1)
    writer = EventFileWriter(str(logs / "a" / "b" / "c" / "d"))
    event = event_pb2.Event(step=2, wall_time=1.0)
    event.summary.value.add(tag="deep", simple_value=0.25)
    writer.add_event(event)
    writer.close()
    (logs / NAME).write_bytes(version_event() + tensor_event(3, "top", 0.125))
    collect(folder, spec)
    assert points(folder) == [
        ("logs", "top", 3, 0.125),
        ("logs/a/b/c/d", "deep", 2, 0.25),
        ("logs/tb", "loss", 1, 0.5),
    ]
    assert {r["source"]: r["grouplabel"] for r in records(folder)} == {
        "logs": "logs",
        "logs/a/b/c/d": "d",
        "logs/tb": "tb",
    }


def test_groups_are_in_order_of_wall_time(tmp_path):
    folder, spec = made_folder(tmp_path)
    for name, first in (("train", 0), ("validation", 1)):
        run = folder / "job" / "logs" / name
        run.mkdir()
        events = [
            scalar_event(step, wall_time=1.5e9 + 2 * step + first, loss=1.0) for step in range(4)
        ]
        (run / NAME).write_bytes(b"".join(events))
    collect(folder, spec)
    assert [r["grouplabel"] for r in records(folder)] == ["train", "validation"] * 4


def test_sub_runs_are_numbered_on_their_own(tmp_path):
    folder, spec = made_folder(tmp_path, learners=2)
    logs = folder / "job" / "logs"
    for name in ("train", "7/train", "learner-2/train", "learner-9/train"):
        (logs / name).mkdir(parents=True)
        events = [scalar_event(step, loss=float(step)) for step in range(2)]
        (logs / name / NAME).write_bytes(b"".join(events))
    collect(folder, spec)

    def numbered(learner):
        metas = [record["meta"] for record in records(folder, learner)]
        return sorted((meta.get("subid", ""), meta["rindex"]) for meta in metas)

    assert numbered(1) == [("", 1), ("", 2), ("7", 1), ("7", 2), ("learner-9", 1), ("learner-9", 2)]
    assert numbered(2) == [("learner-2", 1), ("learner-2", 2)]
    assert list(records(folder, 2)[0]["meta"])[-1] == "subid"


def test_two_runs_of_one_name_never_merge(tmp_path):
    folder, spec = made_folder(tmp_path)
    for name in ("a/train", "b/train"):
        run = folder / "job" / "logs" / name
        run.mkdir(parents=True)
        (run / NAME).write_bytes(scalar_event(1, loss=0.5))
    collect(folder, spec)
    assert [p[0] for p in points(folder)] == ["logs/a/train", "logs/b/train"]


def test_a_notebooks_working_directory_and_results_count_but_not_what_it_links(tmp_path):
    folder, spec = made_folder(tmp_path, notebook=True)
    elsewhere = tmp_path / "beside-the-notebook" / "old-run"
    elsewhere.mkdir(parents=True)
    work = folder / "job" / "model-code"
    (work / "old").symlink_to(elsewhere.parent)
    places = (work / "runs", folder / "results" / "tb", folder / "results" / "workdir", elsewhere)
    for place in places:
        place.mkdir(exist_ok=True)
        (place / NAME).write_bytes(scalar_event(1, loss=0.5))
    collect(folder, spec)
    assert [p[0] for p in points(folder)] == ["results/tb", "runs"]


def test_a_submitted_manifest_reads_log_dir_and_in_alone(tmp_path):
    folder, spec = made_folder(tmp_path, **{"in": "$RESULT_DIR/summaries"})
    for place in ("job/model-code/runs", "results/tb", "results/summaries/x", "job/logs/tb"):
        (folder / place).mkdir(parents=True)
        (folder / place / NAME).write_bytes(scalar_event(1, loss=0.5))
    collect(folder, spec)
    assert [p[0] for p in points(folder)] == ["logs/tb", "results/summaries/x"]


def test_a_link_in_log_dir_is_followed_and_counts_once(tmp_path):
    folder, spec = made_folder(tmp_path)
    run = folder / "results" / "tb"
    run.mkdir()
    (run / NAME).write_bytes(scalar_event(1, loss=0.5))
    for name in ("tb", "again"):
        (folder / "job" / "logs" / name).symlink_to(run)
    (run / "loop").symlink_to(folder / "job" / "logs")
    collect(folder, spec)
    assert len(points(folder)) == 1


def test_copies_that_the_end_of_a_training_makes_do_not_count(tmp_path):
    folder, spec = made_folder(tmp_path, notebook=True)
    for place in ("job/logs/tb", "results/tb", "results/learner-1/tb"):
        (folder / place).mkdir(parents=True)
        (folder / place / NAME).write_bytes(scalar_event(1, loss=0.5))
    collect(folder, spec)
    assert [p[0] for p in points(folder)] == ["logs/tb"]


def test_rotated_files_are_read_in_order_of_their_names(run):
    run.append(scalar_event(1, loss=1.0))
    run.collect()
    run.file = run.file.with_name("events.out.tfevents.1500000009.host")
    run.append(scalar_event(2, loss=2.0))
    older = run.file.with_name(NAME)
    older.write_bytes(older.read_bytes() + scalar_event(1, accuracy=0.5))
    assert run.collect(final=True) == [
        (1, {"loss": "1.0", "accuracy": "0.5"}),
        (2, {"loss": "2.0"}),
    ]


def test_garbage_is_reported_once_and_others_are_read(run):
    notes = run.file.with_name("tfevents.notes.txt")
    notes.write_text("notes on tfevents, no events\n" * 5)
    run.append(scalar_event(1, loss=1.0))
    run.collect()
    notes.write_text("notes on tfevents, no events\n" * 6)
    assert run.collect(final=True) == [(1, {"loss": "1.0"})]
    ((path, text),) = run.reports
    assert path.endswith("tfevents.notes.txt")
    assert text.startswith("Not read further: no event record at byte 0")


def test_a_record_that_is_no_event_is_reported(run):
    run.append(framed(b"\xff\xff\xff\xff"), scalar_event(1, loss=1.0))
    assert run.collect(final=True) == [(1, {"loss": "1.0"})]
    assert run.reports == [(str(run.file), "Damaged event records were skipped")]


def test_wherever_a_file_is_cut_and_a_process_killed_points_stay_the_same(tmp_path):
    events = [version_event()]
    for step in range(3):
        events += [scalar_event(step, loss=step / 2), tensor_event(step, "accuracy", step / 4)]
    content = b"".join(events)
    expected = [(step, {"loss": repr(step / 2), "accuracy": repr(step / 4)}) for step in range(3)]
    for cut in range(len(content) + 1):
        first = Run(tmp_path / str(cut) / "train")
        first.append(content[:cut])
        head = first.collect()
        second = Run(tmp_path / str(cut) / "train", state=first.extractor.state())
        second.append(content[cut:])
        assert head + second.collect(final=True) == expected


def test_points_written_after_the_saved_state_are_left_out_once(tmp_path):
    first = Run(tmp_path / "train")
    first.append(scalar_event(1, loss=0.5))
    first.collect()
    saved = first.extractor.state()
    first.append(scalar_event(1, accuracy=0.9))
    first.append(scalar_event(2, loss=0.5), scalar_event(3, loss=0.5))
    first.tree.look(everything=True)
    found, _ = first.extractor.collect()
    written = [record.to_json("id", 1, 1) for record in found]
    second = Run(tmp_path / "train", state=saved, written=written)
    second.append(scalar_event(3, loss=0.5), scalar_event(4, loss=0.5))
    assert second.collect(final=True) == [(3, {"loss": "0.5"})] * 2 + [(4, {"loss": "0.5"})]


def test_a_hundred_thousand_files_beside_cost_one_listing(tmp_path, monkeypatch):
    run = Run(tmp_path / "train")
    for n in range(2000):
        (tmp_path / "train" / f"{n}.npy").touch()
    run.append(scalar_event(1, loss=1.0))
    run.collect()
    listings = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listings.append(path), scandir(path))[1])
    os.utime(tmp_path / "train", (1, 1))
    run.collect()
    del listings[:]
    for _ in range(50):
        run.now += 20
        run.tree.look()
    assert listings == []
