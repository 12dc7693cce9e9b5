from __future__ import annotations

import os
import time

import pytest

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest.stores import DataStore
from jupyter_ffdl.storage import directory
from jupyter_ffdl.storage.datastore import within


def store(path, data="in", results="out"):
    return DataStore(
        id="mine",
        type="host_mount",
        connection={"type": "host_mount", "path": str(path)},
        data=data,
        results=results,
        line=7,
        path="data_stores[0]",
    )


CONNECTION = (
    "Data store authentication information for id 'mine-input' incorrect or there is a connection"
    " problem"
)


def bucket(name, role="input"):
    return (
        f"Data store bucket '{name}' for data store id 'mine-{role}' incorrect, there may be a"
        " connection problem or credentials do not allow access to the bucket"
    )


@pytest.fixture
def root(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def test_directories_are_the_buckets(root):
    found = store(root)
    directory.check(found, "input")
    directory.check(found, "output")
    assert directory.data_dir(found) == root / "in"
    assert directory.results_base(found) == root / "out"


def test_results_without_a_bucket_stay_with_the_training(root):
    found = store(root, results="")
    directory.check(found, "output")
    assert directory.results_base(found) is None


@pytest.mark.parametrize(
    ("path", "changes", "role", "message", "field"),
    [
        pytest.param("relative", {}, "input", CONNECTION, "connection.path", id="relative path"),
        pytest.param("/no/such", {}, "input", CONNECTION, "connection.path", id="no directory"),
        pytest.param("file", {}, "input", CONNECTION, "connection.path", id="a file"),
        pytest.param(
            "",
            {"data": "gone"},
            "input",
            bucket("gone"),
            "training_data.container",
            id="no such data bucket",
        ),
        pytest.param(
            "",
            {"results": "gone"},
            "output",
            bucket("gone", "output"),
            "training_results.container",
            id="no such results bucket",
        ),
        pytest.param(
            "",
            {"data": "../in"},
            "input",
            bucket("../in"),
            "training_data.container",
            id="a bucket above its store",
        ),
        pytest.param(
            "",
            {"results": "/tmp"},
            "output",
            bucket("/tmp", "output"),
            "training_results.container",
            id="an absolute bucket",
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_refused(root, path, changes, role, message, field):
    place = path if path in {"relative", "/no/such"} else root / path
    with pytest.raises(BadInput) as refused:
        directory.check(store(place, **changes), role)
    assert refused.value.message == message
    assert refused.value.code == "C103"
    assert refused.value.field == f"data_stores[0].{field}"
    assert refused.value.line == 7
    assert refused.value.hint


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_results_that_cannot_be_written_are_refused(root):
    (root / "out").chmod(0o500)
    with pytest.raises(BadInput, match="bucket 'out'"):
        directory.check(store(root), "output")


def test_a_share_that_never_answers_is_given_up():
    assert within(5, lambda: None)
    assert not within(0.05, lambda: time.sleep(1))
    with pytest.raises(OSError, match="gone"):
        within(5, lambda: (_ for _ in ()).throw(OSError("gone")))
