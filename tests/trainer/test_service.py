"""What the trainer promises: submitted once, numbered, kept, shown, run again, deleted for good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyter_ffdl import live
from jupyter_ffdl.errors import BadInput, Conflict, NotFound
from jupyter_ffdl.lifecycle.local.backend import owned
from jupyter_ffdl.training import Status
from trainings import OWNER, Trainings, processes_of, state_directory, until, zipped

MANIFEST = json.dumps(
    {
        "name": "test",
        "framework": {"name": "custom", "version": "python", "command": "python train.py"},
    }
).encode()
CONTEXT = {"environment": {"PATH": os.environ["PATH"]}}


@pytest.fixture
def trainings(tmp_path):
    with state_directory(tmp_path) as found:
        yield found


@pytest.fixture
def code(tmp_path) -> Path:
    return zipped(tmp_path / "code.zip", {"train.py": "print('hello')"})


def submit(trainings: Trainings, code: Path, key: str | None = None, owner: str = OWNER):
    return trainings.trainer.submit(
        MANIFEST,
        code,
        owner=owner,
        origin={"kind": "cell"},
        context=CONTEXT,
        idempotency_key=key,
    )


# Submitting


def test_a_repeated_key_gives_the_first_answer_and_creates_nothing(trainings, code):
    first = submit(trainings, code, "key")
    again = submit(trainings, code, "key")
    assert (again.training_id, again.created) == (first.training_id, False)
    assert first.created
    assert len(trainings.trainer.models(OWNER)[0]) == 1
    assert submit(trainings, code, "other").training_id != first.training_id


def test_a_key_belongs_to_its_owner(trainings, code):
    mine = submit(trainings, code, "key")
    theirs = submit(trainings, code, "key", owner="local:somebody")
    assert mine.training_id != theirs.training_id


def test_a_key_that_comes_many_times_at_once_creates_one_training(trainings, code):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(submit(trainings, code, "key")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.training_id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1


def test_numbers_go_up_per_name_whoever_submits_at_once(trainings, code):
    threads = [threading.Thread(target=submit, args=(trainings, code)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows, _ = trainings.trainer.rows(OWNER)
    assert sorted(row["number"] for row in rows) == list(range(1, 13))
    in_order = sorted(rows, key=lambda row: row["number"])
    assert [row["submitted"] for row in in_order] == sorted(row["submitted"] for row in rows)


def test_a_refused_submission_leaves_nothing(trainings, code):
    before = sorted(path.name for path in trainings.trainer.root.iterdir())
    with pytest.raises(BadInput):
        trainings.trainer.submit(b"name: [", code, owner=OWNER)
    with pytest.raises(BadInput):
        submit(trainings, code.with_name("missing.zip"))
    assert trainings.trainer.models(OWNER)[0] == []
    for place in ("trainings", "incoming", "live", "code", "keys"):
        assert list((trainings.trainer.root / place).iterdir()) == []
    assert sorted(path.name for path in trainings.trainer.root.iterdir()) == before


def test_equal_code_is_stored_once_and_goes_with_its_last_training(trainings, code):
    ids = [submit(trainings, code).training_id for _ in range(3)]
    kept = [trainings.folder(training_id).code.stat() for training_id in ids]
    assert {(s.st_ino, s.st_nlink) for s in kept} == {(kept[0].st_ino, kept[0].st_nlink)}
    assert len(list((trainings.trainer.root / "code").glob("*.zip"))) == 1


@pytest.mark.slow
def test_a_submission_killed_anywhere_is_whole_or_not_there(tmp_path):
    """A killed creation leaves no half training; a whole one is found, shown and run."""
    program = (
        "import sys; from pathlib import Path; import trainings\n"
        "found = trainings.Trainings(Path(sys.argv[1]))\n"
        "while True: print('ready', flush=True), found.submit('print(1)')\n"
    )
    state = tmp_path / "state"
    for delay, whole in ((0.02, 0), (0.05, 0), (0.03, 1), (0.01, 2)):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(state)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            for _ in range(1 + whole):
                child.stdout.readline()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
    with state_directory(tmp_path) as trainings:
        present = {path.name for path in (state / "trainings").iterdir()}
        listed = {row["id"] for row in trainings.trainer.rows(OWNER)[0]}
        assert listed == present
        assert present
        for training_id in present:
            assert trainings.ended(training_id, 60)["status"] == "COMPLETED"
            assert trainings.log(training_id) == "1\n"
        trainings.trainer.tend()
        left = {folder.training_id for folder, _ in live.trainings(state)}
        # Announced, never made: forgotten after ten minutes.
        assert left.isdisjoint(present)


def test_a_training_whose_announcement_was_cut_off_is_shown(trainings, code):
    training_id = submit(trainings, code).training_id
    for path in (trainings.trainer.root / "index").glob("*.jsonl"):
        path.write_bytes(b"")
    with another(trainings) as other:
        assert other.trainer.row(training_id, OWNER)["id"] == training_id


@contextmanager
def another(first: Trainings) -> Iterator[Trainings]:
    """Give another trainer on the same state directory."""
    second = Trainings(first.trainer.root)
    try:
        yield second
    finally:
        second.trainer.stop()


# Showing


def test_others_trainings_are_not_found(trainings, code):
    training_id = submit(trainings, code).training_id
    for look in (trainings.trainer.model, trainings.trainer.row, trainings.trainer.timeline):
        with pytest.raises(NotFound):
            look(training_id, "local:somebody")
    assert trainings.trainer.models("local:somebody")[0] == []


def test_archiving_hides_and_brings_back(trainings, code):
    training_id = submit(trainings, code).training_id
    trainings.ended(training_id)
    trainings.trainer.archive(training_id, OWNER, archived=True)
    assert trainings.trainer.rows(OWNER, archived=False)[0] == []
    assert [row["id"] for row in trainings.trainer.rows(OWNER, archived=True)[0]] == [training_id]
    with another(trainings) as other:
        assert other.trainer.row(training_id, OWNER)["archived"]
    trainings.trainer.archive(training_id, OWNER, archived=False)
    assert len(trainings.trainer.rows(OWNER, archived=False)[0]) == 1


def test_a_run_again_is_the_same_but_for_its_changes(trainings):
    first = trainings.submit(
        "import os; print(os.environ['COLOUR'], os.environ['CHECKPOINT_DIR'])",
        environment={"COLOUR": "red"},
    )
    assert trainings.ended(first)["status"] == "COMPLETED"
    same = trainings.trainer.rerun(first, OWNER, {}).training_id
    changed = trainings.trainer.rerun(first, OWNER, {"environment": {"COLOUR": "blue"}}).training_id
    for training_id in (same, changed):
        assert trainings.ended(training_id)["status"] == "COMPLETED"
        assert trainings.trainer.row(training_id, OWNER)["parent"] == first
    colour, checkpoints = trainings.log(first).split()
    assert colour == "red"
    # A run again finds its parent's checkpoints, never a stranger's.
    assert trainings.log(same).split() == ["red", checkpoints]
    assert trainings.log(changed).split() == ["blue", checkpoints]
    assert [trainings.trainer.row(i, OWNER)["number"] for i in (first, same, changed)] == [1, 2, 3]
    assert trainings.folder(same).code.read_bytes() == trainings.folder(first).code.read_bytes()
    with pytest.raises(BadInput):
        trainings.trainer.rerun(first, OWNER, {"framework": {}})


def test_halting_twice_is_harmless_and_after_the_end_a_conflict(trainings):
    training_id = trainings.submit("import time; time.sleep(100)")
    trainings.running(training_id)
    trainings.trainer.halt(training_id, OWNER, by="ada")
    trainings.trainer.halt(training_id, OWNER, by="bob")
    assert trainings.ended(training_id)["halted_by"] == "ada"
    with pytest.raises(Conflict):
        trainings.trainer.halt(training_id, OWNER, by="ada")
    assert trainings.status(training_id) is Status.HALTED


# Deleting


def test_a_deleted_training_is_gone_but_for_its_results_and_a_line(trainings):
    root = trainings.trainer.root
    training_id = trainings.submit(
        "import os; open(os.environ['RESULT_DIR'] + '/model', 'w').write('42')"
    )
    trainings.ended(training_id)
    folder = trainings.folder(training_id)
    trainings.trainer.delete(training_id, OWNER)
    with pytest.raises(NotFound):
        trainings.trainer.model(training_id, OWNER)
    assert trainings.trainer.models(OWNER)[0] == []
    until(lambda: trainings.trainer.tend() or not folder.root.exists(), what="it is gone")
    assert (root / "kept" / training_id / "model").read_text() == "42"
    (line,) = map(json.loads, (root / "analytics.jsonl").read_text().splitlines())
    assert line["status"] == "COMPLETED"
    assert line["framework"]["name"] == "custom"
    assert line["submitted"] <= line["ended"]
    for place in ("deleting", "trash", "live", "incoming"):
        assert list((root / place).iterdir()) == []
    with another(trainings) as other, pytest.raises(NotFound):
        other.trainer.model(training_id, OWNER)


def test_deleting_with_the_results_keeps_none(trainings):
    training_id = trainings.submit(
        "import os; open(os.environ['RESULT_DIR'] + '/model', 'w').write('42')"
    )
    trainings.ended(training_id)
    folder = trainings.folder(training_id)
    trainings.trainer.delete(training_id, OWNER, results=True)
    until(lambda: trainings.trainer.tend() or not folder.root.exists(), what="it is gone")
    assert not (trainings.trainer.root / "kept").exists()


def test_results_that_cannot_be_put_aside_now_are_kept_until_they_can(trainings, monkeypatch):
    root = trainings.trainer.root
    training_id = trainings.submit(
        "import os; open(os.environ['RESULT_DIR'] + '/model', 'w').write('42')"
    )
    trainings.ended(training_id)
    folder = trainings.folder(training_id)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jupyter_ffdl.trainer.records.os.rename", full)
        trainings.trainer.delete(training_id, OWNER)
        until(lambda: trainings.trainer.tend() or not owned(folder), what="nobody has it")
        trainings.trainer.tend()
    with pytest.raises(NotFound):
        trainings.trainer.model(training_id, OWNER)
    assert (folder.results / "model").read_text() == "42"
    until(lambda: trainings.trainer.tend() or not folder.root.exists(), what="it is gone")
    assert (root / "kept" / training_id / "model").read_text() == "42"
    assert len((root / "analytics.jsonl").read_text().splitlines()) == 1


def test_a_running_training_is_halted_before_it_is_deleted(trainings):
    training_id = trainings.submit("import time; print('up', flush=True); time.sleep(100)")
    until(lambda: trainings.log(training_id) == "up\n", what="it runs")
    folder = trainings.folder(training_id)
    trainings.trainer.delete(training_id, OWNER)
    with pytest.raises(NotFound):
        trainings.trainer.model(training_id, OWNER)
    until(lambda: trainings.trainer.tend() or not folder.root.exists(), 30, "it is gone")
    assert processes_of(training_id) == []
    kept = trainings.trainer.root / "kept" / training_id
    assert (kept / "learner-1" / "training-log.txt").read_text() == "up\n"


def test_a_deleted_parents_checkpoints_stay_while_a_run_goes_on_from_them(trainings):
    script = """\
import os, time
go, state = os.environ["GO"], os.environ["CHECKPOINT_DIR"] + "/state"
if not os.path.exists(state):
    open(state, "w").write("7")
else:
    print("up", flush=True)
    while not os.path.exists(go):
        time.sleep(0.02)
    print("resumed from", open(state).read())
"""
    go = trainings.scratch / "go"
    parent = trainings.submit(script, environment={"GO": str(go)})
    assert trainings.ended(parent)["status"] == "COMPLETED"
    folder = trainings.folder(parent)
    child = trainings.trainer.rerun(parent, OWNER, {}).training_id
    until(lambda: trainings.log(child) == "up\n", what="it runs")
    trainings.trainer.delete(parent, OWNER)
    until(lambda: trainings.trainer.tend() or not owned(folder), what="nobody has the parent")
    trainings.trainer.tend()
    go.touch()
    assert trainings.ended(child)["status"] == "COMPLETED"
    assert trainings.log(child) == "up\nresumed from 7\n"
    until(lambda: trainings.trainer.tend() or not folder.root.exists(), what="it is gone")


def test_two_trainers_that_delete_at_once_write_one_line(trainings, code):
    ids = [submit(trainings, code).training_id for _ in range(5)]
    for training_id in ids:
        trainings.ended(training_id)
    folders = [trainings.folder(training_id) for training_id in ids]
    for training_id in ids:
        trainings.trainer.delete(training_id, OWNER)
    with another(trainings) as other:
        threads = [threading.Thread(target=t.trainer.tend) for t in (trainings, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: other.trainer.tend() or not any(f.root.exists() for f in folders))
    assert len((trainings.trainer.root / "analytics.jsonl").read_text().splitlines()) == 5


def test_what_is_older_than_retention_days_is_deleted(trainings, code):
    old = submit(trainings, code).training_id
    trainings.ended(old)
    trainings.trainer.retention_days = 1e-7  # 9 ms
    time.sleep(0.05)
    trainings.trainer._next_housekeeping = 0.0
    until(lambda: trainings.trainer.tend() or trainings.trainer.models(OWNER)[0] == [])
    with pytest.raises(NotFound):
        trainings.trainer.model(old, OWNER)


def test_retention_leaves_what_lies_in_a_directory_of_the_users(trainings, tmp_path):
    script = "import os; open(os.environ['RESULT_DIR'] + '/model', 'w').write('42')"
    bucket = tmp_path / "mine"
    bucket.mkdir()
    outside = trainings.submit(script, results="mine", context={"cwd": str(tmp_path)})
    inside = trainings.submit(script)
    for training_id in (outside, inside):
        assert trainings.ended(training_id)["status"] == "COMPLETED"
    folders = [trainings.folder(training_id) for training_id in (outside, inside)]
    trainings.trainer.retention_days = 1e-7
    trainings.trainer._next_housekeeping = 0.0
    time.sleep(0.05)
    until(lambda: trainings.trainer.tend() or not any(f.root.exists() for f in folders))
    assert (bucket / outside / "model").read_text() == "42"
    assert not (trainings.trainer.root / "kept").exists()
