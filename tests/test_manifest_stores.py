"""Data stores of a manifest and their refusals (FfDL contract §1.4, §1.9 rules 12 to 20)."""

from __future__ import annotations

import pytest

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest import Manifest, parse

HEAD = "name: n\nframework: {name: custom, version: v, command: c}\ndata_stores:\n"
LOGIN = "connection: {auth_url: http://s3, user_name: u, password: p}"
TYPES = (
    "mount_cos, s3_datastore, mount_volume, swift_datastore, softlayer_objectstore, "
    "bluemix_objectstore"
)
PROBLEM = "incorrect or there is a connection problem"


def store(**keys: str) -> str:
    """Return one store, keys with the text that follows them; an empty text leaves one out."""
    given = {
        "id": "id: os",
        "type": "type: mount_cos",
        "data": "training_data: {container: in}",
        "results": "training_results: {container: out}",
        "connection": LOGIN,
        **keys,
    }
    lines = [line for line in given.values() if line]
    return "  - " + "\n    ".join(lines) + "\n"


def stores(*entries: str) -> Manifest:
    return parse(HEAD + "".join(entries))


@pytest.mark.parametrize(
    ("entries", "error", "code", "field", "line"),
    [
        pytest.param(
            [store(data="")],
            "Training input data is not set",
            "C101",
            "data_stores",
            3,
            id="rule 13: no training_data",
        ),
        pytest.param(
            [store(), store(data="")],
            "Training output data can only contain one id",
            "C101",
            "data_stores[1].training_results",
            11,
            id="rule 14: two training_results",
        ),
        pytest.param(
            [store(id="")], "Data store id is not set", "C101", "data_stores[0].id", 4, id="rule 15"
        ),
        pytest.param(
            [store(type="type: ftp")],
            f"Invalid data store name: ftp. Must be one of: {TYPES}",
            "C101",
            "data_stores[0].type",
            5,
            id="rule 16: an unknown type",
        ),
        pytest.param(
            [store(type="type: inmem_datastore")],
            f"Invalid data store name: inmem_datastore. Must be one of: {TYPES}",
            "C101",
            "data_stores[0].type",
            5,
            id="rule 16: a type for tests",
        ),
        pytest.param(
            [store(connection="")],
            "Data store connection info not set",
            "C101",
            "data_stores[0].connection",
            4,
            id="rule 17: no connection",
        ),
        pytest.param(
            [store(connection="connection: {}")],
            "Data store connection info not set",
            "C101",
            "data_stores[0].connection",
            8,
            id="rule 17: an empty connection",
        ),
        pytest.param(
            [store(data="training_data: {container: }")],
            "Data store bucket is not set",
            "C101",
            "data_stores[0].training_data.container",
            6,
            id="rule 18: no bucket",
        ),
        pytest.param(
            [store(connection="connection: {auth_url: u, user_name: u}")],
            f"Data store authentication information for id 'os-input' {PROBLEM}",
            "C103",
            "data_stores[0].connection.password",
            8,
            id="rule 19: no password",
        ),
        pytest.param(
            [store(results=""), store(data="", connection="connection: {auth_url: u}")],
            f"Data store authentication information for id 'os-output' {PROBLEM}",
            "C103",
            "data_stores[1].connection.user_name",
            11,
            id="rule 19: no user name for the results",
        ),
        pytest.param(
            [store(type="type: mount_volume", connection="connection: {path: /d}")],
            f"Data store authentication information for id 'os-input' {PROBLEM}",
            "C103",
            "data_stores[0].connection.type",
            8,
            id="a volume without its kind",
        ),
        pytest.param(
            [store(type="type: mount_volume", connection="connection: {type: host_mount}")],
            f"Data store authentication information for id 'os-input' {PROBLEM}",
            "C103",
            "data_stores[0].connection.path",
            8,
            id="a directory without its path",
        ),
    ],
)
def test_a_store_that_cannot_work_is_refused(entries, error, code, field, line):
    with pytest.raises(BadInput) as caught:
        stores(*entries)
    assert (caught.value.message, caught.value.code) == (error, code)
    assert (caught.value.field, caught.value.line) == (field, line)
    assert caught.value.hint


@pytest.mark.parametrize(
    "kind",
    [
        "mount_cos",
        "s3_datastore",
        "swift_datastore",
        "softlayer_objectstore",
        "bluemix_objectstore",
    ],
)
def test_every_type_of_ffdl_is_read(kind):
    (found,) = stores(store(type=f"type: {kind}")).data_stores
    assert (found.type, found.region) == (kind, "us-standard")
    assert found.mounted == (kind != "s3_datastore")


def test_the_type_of_the_connection_overrides_the_stores():
    connection = "connection: {type: host_mount, path: /data, name: host-mount}"
    (found,) = stores(store(type="type: mount_volume", connection=connection)).data_stores
    assert (found.type, found.connection["path"]) == ("host_mount", "/data")


def test_several_stores_may_hold_data_and_one_takes_results():
    first = store(results="")
    manifest = stores(first, store(id="id: two"), first)
    assert [found.reference("input") for found in manifest.inputs] == [
        "os-input",
        "two-input",
        "os-input",
    ]
    assert manifest.output is not None
    assert manifest.output.reference("output") == "two-output"


@pytest.mark.parametrize("results", ["", "training_results: {}", "training_results: {container: }"])
def test_results_without_a_bucket_go_to_the_internal_store(results):
    assert stores(store(results=results)).output is None


def test_no_secret_stands_in_what_python_prints():
    manifest = stores(store(connection=LOGIN.replace("p}", "hunter2}")))
    assert "hunter2" not in repr(manifest)


def test_no_thousands_of_stores():
    with pytest.raises(BadInput, match="at most 100 entries"):
        stores(*[store(results="")] * 101)
