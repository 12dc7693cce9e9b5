"""Ten thousand records, and an index that was damaged or lost."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from jupyter_ffdl.index import Index, machine_name
from jupyter_ffdl.trainer.records import FolderRecords
from jupyter_ffdl.trainer.service import Trainer
from jupyter_ffdl.training import ID_ALPHABET
from trainings import OWNER, state_directory, until

COUNT = 10_000


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """Return a state directory with one training that has ended."""
    place = tmp_path_factory.mktemp("template")
    with state_directory(place) as trainings:
        training_id = trainings.submit("print('hello')")
        trainings.ended(training_id)
    return place / "state"


def copied(template: Path, state: Path, count: int) -> list[str]:
    """Make a state directory with ``count`` trainings like the template's, and their index."""
    shutil.copytree(template, state, symlinks=True)
    (original,) = (state / "trainings").iterdir()
    index = state / "index" / f"{machine_name()}.jsonl"
    lines = index.read_text()
    record = (original / "training.json").read_text()
    status = (original / "status.jsonl").read_bytes()
    ids, appended = [original.name], [lines]
    for number in range(2, count + 1):
        training_id = "training-" + "".join(
            ID_ALPHABET[number // 32**place % 32] for place in range(11, -1, -1)
        )
        folder = state / "trainings" / training_id
        folder.mkdir()
        (folder / "training.json").write_text(
            record.replace(original.name, training_id).replace('"number": 1', f'"number": {number}')
        )
        (folder / "status.jsonl").write_bytes(status)
        appended.append(
            lines.replace(original.name, training_id).replace('"number": 1', f'"number": {number}')
        )
        ids.append(training_id)
    index.write_text("".join(appended))
    return ids


def trainer(state: Path) -> Trainer:
    """Return a trainer that has started."""
    found = Trainer(state_dir=str(state), max_running=0, min_free_bytes=0)
    found.start()
    return found


@pytest.mark.slow
@pytest.mark.alone
def test_ten_thousand_trainings_are_listed_at_once(template, tmp_path):
    copied(template, tmp_path / "state", COUNT)
    began = time.perf_counter()
    found = trainer(tmp_path / "state")
    started = time.perf_counter() - began
    page, token = found.rows(OWNER, limit=50)
    cold = time.perf_counter() - began
    assert len(page) == 50
    assert token
    warm = []
    for _ in range(5):
        began = time.perf_counter()
        page, _ = found.rows(OWNER, limit=50)
        warm.append(time.perf_counter() - began)
    print(f"start {started:.2f} s, first list {cold:.2f} s, later {min(warm) * 1000:.0f} ms")
    # Targets: 1 s and 50 ms; three times that here, because others use the machine meanwhile.
    assert cold < 3
    assert min(warm) < 0.15
    seen = [row["id"] for row in page]
    while token is not None:
        page, token = found.rows(OWNER, limit=3000, page_token=token)
        seen += [row["id"] for row in page]
    assert len(seen) == len(set(seen)) == COUNT


def test_a_lost_index_is_made_anew_from_the_folders(template, tmp_path):
    ids = copied(template, tmp_path / "state", 30)
    before = trainer(tmp_path / "state").models(OWNER)[0]
    shutil.rmtree(tmp_path / "state" / "index")
    found = trainer(tmp_path / "state")
    assert {row["id"] for row in found.rows(OWNER)[0]} == set(ids)
    by_id = {model["model_id"]: model for model in found.models(OWNER)[0]}
    assert by_id == {model["model_id"]: model for model in before}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="half of it is lost"),
        pytest.param(lambda text: text[:-30], id="its last line is torn"),
        pytest.param(lambda text: text.replace("COMPLETED", "C\0MPLETED"), id="no end is told"),
        pytest.param(
            lambda text: "".join(reversed(text.splitlines(keepends=True))), id="upside down"
        ),
        pytest.param(lambda text: text + '{"op": 7}\n[]\nnot json\n\0\0\0\n', id="rubbish"),
    ],
)
def test_a_damaged_index_is_repaired_from_the_folders(template, tmp_path, damage):
    ids = copied(template, tmp_path / "state", 10)
    path = tmp_path / "state" / "index" / f"{machine_name()}.jsonl"
    path.write_text(damage(path.read_text()))
    found = trainer(tmp_path / "state")
    rows = found.rows(OWNER)[0]
    assert {row["id"]: row["status"] for row in rows} == dict.fromkeys(ids, "COMPLETED")
    assert all(row["completed"] for row in rows)


def test_an_end_that_was_never_announced_reaches_the_list(template, tmp_path):
    """Its supervisor was killed between the status and the index, and no server ran."""
    (training_id,) = copied(template, tmp_path / "state", 1)
    path = tmp_path / "state" / "index" / f"{machine_name()}.jsonl"
    kept = [line for line in path.read_text().splitlines() if "COMPLETED" not in line]
    path.write_text("".join(f"{line}\n" for line in kept))
    from jupyter_ffdl import live
    from jupyter_ffdl.trainer import queue

    live.register(tmp_path / "state", training_id, {"submitted": 1})
    # Another training's end looks at the queue, and takes it for what it is.
    queue.start_waiting(tmp_path / "state")
    index = Index(tmp_path / "state")
    index.refresh()
    assert index.entries[training_id].status.value == "COMPLETED"


def test_records_of_a_folder_that_is_gone_are_not_listed(template, tmp_path):
    ids = copied(template, tmp_path / "state", 3)
    shutil.rmtree(tmp_path / "state" / "trainings" / ids[1])
    found = trainer(tmp_path / "state")
    assert {row["id"] for row in found.rows(OWNER)[0]} == {ids[0], ids[2]}


def test_another_servers_changes_are_seen_without_a_restart(tmp_path):
    with state_directory(tmp_path) as first:
        second = trainer(tmp_path / "state")
        training_id = first.submit("print('hello')")
        assert [row["id"] for row in second.rows(OWNER)[0]] == [training_id]
        first.ended(training_id)
        until(lambda: second.row(training_id, OWNER)["status"] == "COMPLETED")
        first.trainer.delete(training_id, OWNER)
        until(lambda: second.rows(OWNER)[0] == [])
        second.stop()


def test_compacting_the_index_changes_nothing_that_is_shown(template, tmp_path):
    copied(template, tmp_path / "state", 20)
    found = trainer(tmp_path / "state")
    path = tmp_path / "state" / "index" / f"{machine_name()}.jsonl"
    path.write_text(path.read_text() * 4)
    before, size = json.dumps(found.rows(OWNER)[0]), path.stat().st_size
    found.records.compact()
    assert path.stat().st_size < size / 2
    assert json.dumps(found.rows(OWNER)[0]) == before
    assert json.dumps(trainer(tmp_path / "state").rows(OWNER)[0]) == before


def test_a_state_directory_gets_its_uuid_back_from_a_killed_beginning(tmp_path):
    (tmp_path / "id").touch()
    home = FolderRecords(tmp_path).home
    assert len(home) == 36
    assert FolderRecords(tmp_path).home == home
