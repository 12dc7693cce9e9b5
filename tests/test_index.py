"""The index of a state directory."""

from __future__ import annotations

import json

import pytest

from jupyter_ffdl import index as indexes
from jupyter_ffdl.index import Change, Index, IndexWriter, compact
from jupyter_ffdl.training import Status, StatusLine

HEAD = {"name": "digits", "number": 1, "owner": "local:ada", "submitted": 5, "model": {}}


@pytest.fixture
def writer(tmp_path):
    return IndexWriter(tmp_path)


def test_a_reader_learns_what_is_new_and_nothing_twice(tmp_path, writer):
    index = Index(tmp_path)
    assert index.refresh() == []
    writer.submitted("training-a", HEAD)
    writer.status("training-a", StatusLine(Status.PENDING, 6))
    assert index.refresh() == [Change("training-a", "new"), Change("training-a", "status")]
    assert index.refresh() == []
    entry = index.entries["training-a"]
    assert (entry.name, entry.status, json.loads(entry.head)) == ("digits", Status.PENDING, HEAD)


def test_a_status_may_be_read_before_its_training(tmp_path, monkeypatch):
    first, second = "a-machine", "z-machine"
    monkeypatch.setattr(indexes, "machine_name", lambda: first)
    IndexWriter(tmp_path).status("training-a", StatusLine(Status.COMPLETED, 7))
    monkeypatch.setattr(indexes, "machine_name", lambda: second)
    IndexWriter(tmp_path).submitted("training-a", HEAD)
    index = Index(tmp_path)
    index.refresh()
    assert index.entries["training-a"].status is Status.COMPLETED


def test_what_was_deleted_never_comes_back(tmp_path, writer):
    writer.submitted("training-a", HEAD)
    writer.deleted("training-a")
    writer.submitted("training-a", HEAD)
    writer.status("training-a", StatusLine(Status.COMPLETED, 7))
    index = Index(tmp_path)
    assert [change.kind for change in index.refresh()] == ["new", "deleted"]
    assert index.entries == {}


def test_lines_that_make_no_sense_are_skipped(tmp_path, writer):
    writer.path.parent.mkdir()
    writer.path.write_text('[]\n{"op":"new","id":"x"}\n{"op":"status","id":3,"line":{}}\nno\n')
    writer.submitted("training-a", HEAD)
    index = Index(tmp_path)
    index.refresh()
    assert list(index.entries) == ["training-a"]


def test_compacting_keeps_what_a_list_shows_and_readers_follow(tmp_path, writer):
    reader = Index(tmp_path)
    for n in range(50):
        training_id = f"training-{n}"
        writer.submitted(training_id, HEAD)
        for status in (Status.PENDING, Status.DOWNLOADING, Status.PROCESSING, Status.STORING):
            writer.status(training_id, StatusLine(status, 10, detail={"reason": "x" * 200}))
        writer.status(training_id, StatusLine(Status.COMPLETED, 20))
        if n % 2:
            writer.deleted(training_id)
    writer.flag("training-0", {"archived": True})
    reader.refresh()
    before = dict(reader.entries)
    index = Index(tmp_path)
    assert compact(index, writer, index.refresh)
    fresh = Index(tmp_path)
    fresh.refresh()
    assert fresh.entries == before
    assert reader.refresh() == []
    assert reader.entries == before
    writer.submitted("training-new", HEAD)
    assert reader.refresh() == [Change("training-new", "new")]


def test_two_machines_never_write_one_file(tmp_path, monkeypatch):
    paths = set()
    for host in ("hub-pod-1", "hub-pod-2"):
        monkeypatch.setattr(indexes.platform, "node", lambda host=host: host)
        paths.add(IndexWriter(tmp_path).path)
    assert len(paths) == 2
