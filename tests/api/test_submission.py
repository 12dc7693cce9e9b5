"""Submitting as the original command line does, and everything that can be wrong with it."""

from __future__ import annotations

import json
import random
import re
import socket
import zipfile

import pytest

from serving import (
    BOUNDARY,
    MANIFEST,
    Part,
    multipart,
    serving,
    submission,
    until,
    zip_of,
)

CODE = zip_of({"train.py": "print('hello')"})
SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def raw_old_cli(server, parts: list[Part], *, pause: bool = False) -> bytes:
    """Send what Go's client sends: chunked multipart without a length, Basic, its headers."""
    import base64

    credentials = base64.b64encode(f"me:{server.token}".encode()).decode()
    body = multipart(parts)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(
            (
                f"POST {server.path('v1/models')}?version=2017-02-13 HTTP/1.1\r\n"
                f"Host: 127.0.0.1:{server.port}\r\n"
                "User-Agent: Go-http-client/1.1\r\n"
                "Transfer-Encoding: chunked\r\n"
                "Accept: application/json\r\n"
                f"Authorization: Basic {credentials}\r\n"
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
                "X-Watson-Userinfo: bluemix-instance-id=me\r\n"
                "Accept-Encoding: gzip\r\n\r\n"
            ).encode()
        )
        at = 0
        while at < len(body):
            piece = body[at : at + random.randint(1, 700)]
            at += len(piece)
            sock.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < 20:
            piece = sock.recv(65536)
            if not piece:
                break
            answer += piece
    return answer


@pytest.mark.parametrize("order", ["manifest first", "code first"])
def test_the_old_command_line_submits(server, order):
    parts = submission(MANIFEST, CODE)
    if order == "code first":
        parts.reverse()
    answer = raw_old_cli(server, parts)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201"), answer
    accepted = json.loads(body)
    # Exactly this, whatever the base path is: the id is what follows "/v1/models/".
    assert f"Location: /v1/models/{accepted['model_id']}".encode() in head
    assert accepted["location"] == f"/v1/models/{accepted['model_id']}"
    assert server.wait(accepted["model_id"]) == "COMPLETED"


def test_the_answer_does_not_wait_for_the_start(server):
    training_id = server.submit(SLEEP)
    assert server.status(training_id)["status"] in {"QUEUED", "PENDING", "DOWNLOADING"} or True
    answer = server.request("PATCH", f"v1/models/{training_id}", b'{"status":"halt"}\n')
    assert (answer.status, answer.json) == (202, {"model_id": training_id})
    assert server.wait(training_id) == "HALTED"
    again = server.request("PATCH", f"v1/models/{training_id}", {"status": "halt"})
    assert again.status == 409
    assert again.json["error"] == "Conflict"
    assert "HALTED" in again.json["description"]


def test_a_deleted_training_is_gone_at_once(server):
    training_id = server.submit(SLEEP)
    server.wait_for(training_id, "PROCESSING")
    answer = server.request(
        "DELETE", f"v1/models/{training_id}", headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.json) == (200, {"model_id": training_id})
    for method in ("GET", "DELETE"):
        assert server.request(method, f"v1/models/{training_id}").status == 404
    folder = server.state_dir / "trainings" / training_id
    until(lambda: not folder.exists(), seconds=30)


def test_a_repeated_key_gets_the_first_answer_and_creates_nothing(server):
    parts = submission(MANIFEST.replace("demo", "once"), CODE)
    first = server.post(parts, headers={"Idempotency-Key": "key-1"})
    again = server.post(parts, headers={"Idempotency-Key": "key-1"})
    other = server.post(parts, headers={"Idempotency-Key": "key-2"})
    assert [first.status, again.status, other.status] == [201, 201, 201]
    assert first.json == again.json
    assert first.headers["Location"] == again.headers["Location"]
    assert other.json["model_id"] != first.json["model_id"]
    named = server.get("v1/models?name=once").json["models"]
    assert len(named) == 2
    for model in named:
        server.wait(model["model_id"])


def test_a_key_counts_also_when_the_first_answer_was_lost(server):
    body = multipart(submission(MANIFEST.replace("demo", "lost"), CODE))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(
            (
                f"POST {server.path('v1/models')} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: token {server.token}\r\nIdempotency-Key: lost\r\n"
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        )
    until(lambda: server.get("v1/models?name=lost").json["models"])
    again = server.post(
        submission(MANIFEST.replace("demo", "lost"), CODE), headers={"Idempotency-Key": "lost"}
    )
    assert again.status == 201
    (model,) = server.get("v1/models?name=lost").json["models"]
    assert again.json["model_id"] == model["model_id"]


def trainings(server) -> set[str]:
    return {path.name for path in (server.state_dir / "trainings").iterdir()}


def leftovers(server) -> list:
    uploads = server.state_dir / "uploads"
    return list(uploads.iterdir()) if uploads.exists() else []


def encrypted() -> bytes:
    data = bytearray(CODE)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def escaping(name: str) -> bytes:
    return zip_of({name: "x", "train.py": ""})


def linking() -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "../../../etc/passwd")
    return buffer.getvalue()


FRAMEWORK = "framework:\n  name: custom\n  version: python\n  command: python train.py\n"


def manifest(**lines: str) -> str:
    return "".join(f"{key}: {value}\n" for key, value in lines.items()) + FRAMEWORK


BAD = [
    pytest.param([Part("model_definition", CODE)], 400, "C101", 'reading file "manifest" failed',
                 id="no manifest"),
    pytest.param([Part("manifest", MANIFEST.encode(), None), Part("model_definition", CODE)],
                 400, "C101", 'reading file "manifest" failed', id="manifest as a form field"),
    pytest.param(submission("", CODE), 400, "C101", "Incorrect manifest", id="empty manifest"),
    pytest.param(submission("[1, 2]", CODE), 400, "C101", "Incorrect manifest", id="a list"),
    pytest.param(submission("a: [", CODE), 400, "C101", "Incorrect manifest", id="no YAML"),
    pytest.param(submission("\x00\x01", CODE), 400, "C101", "Incorrect manifest", id="binary"),
    pytest.param(submission("name: x\n" + "#" * 1_100_000, CODE), 400, "C101",
                 "Incorrect manifest", id="over 1 MiB"),
    pytest.param(submission(FRAMEWORK, CODE), 400, "C101", "Model definition name is not set",
                 id="no name"),
    pytest.param(submission("name: x", CODE), 400, "C101", "Framework is not set",
                 id="no framework"),
    pytest.param(submission("name: x\nframework: {name: nope, version: 1, command: ls}", CODE),
                 400, "C101", "Framework 'nope' is not supported", id="unknown framework"),
    pytest.param([Part("manifest", MANIFEST.encode())], 400, "C101",
                 "Model definition content is not set", id="no code"),
    pytest.param(submission(MANIFEST, b""), 400, "C101", "Model definition content is not set",
                 id="empty code"),
    pytest.param(submission(MANIFEST, b"no zip"), 400, "C102",
                 "Model definition content is not a valid ZIP file", id="no zip"),
    pytest.param(submission(MANIFEST, encrypted()), 400, "C102", "", id="encrypted"),
    pytest.param(submission(MANIFEST, escaping("../evil")), 400, "C102", "", id="zip with .."),
    pytest.param(submission(MANIFEST, escaping("/etc/evil")), 400, "C102", "", id="absolute"),
    pytest.param(submission(MANIFEST, linking()), 400, "C102", "", id="a link that leaves"),
    pytest.param(submission("name: x\nframework: {name: custom, version: v}", CODE), 400, "C101",
                 "Training command is not set", id="no command"),
    pytest.param(submission(manifest(name="x", cpus='"0.5"'), CODE), 400, "C104", "cpus",
                 id="quoted number"),
    pytest.param(submission(manifest(name="x", gpus="0.5"), CODE), 400, "C104", "gpus",
                 id="half a GPU"),
    pytest.param(submission(manifest(name="x", gpus="100000"), CODE), 400, "C104", "GPU",
                 id="more GPUs than there are"),
    pytest.param(submission(manifest(name="x", memory="lots"), CODE), 400, "C104", "lots",
                 id="no size"),
    pytest.param(submission(manifest(name="x", learners="-1"), CODE), 400, "C104", "learners",
                 id="negative learners"),
    pytest.param(submission(manifest(name="x", data_stores="[]"), CODE), 400, "C101",
                 "Data stores is empty", id="no stores"),
    pytest.param(submission(manifest(name="x", data_stores="[{id: a, type: nope, "
                 "training_data: {container: b}}]"), CODE), 400, "C101", "", id="unknown store"),
    pytest.param(submission(manifest(name="x", evaluation_metrics="{type: nope}"), CODE), 400,
                 "C101", "", id="unknown extractor"),
    pytest.param(submission(MANIFEST, CODE, origin={"kind": "nope"}), 400, "", "origin.kind",
                 id="unknown origin"),
    pytest.param(submission(MANIFEST, CODE, origin=[1]), 400, "", "origin", id="origin no object"),
    pytest.param([*submission(MANIFEST, CODE), Part("origin", b"{", None)], 400, "", "origin",
                 id="origin no JSON"),
    pytest.param(submission(MANIFEST, CODE, context={"environment": {"A": 1}}), 400, "",
                 "context.environment.A", id="environment with a number"),
    pytest.param([*submission(MANIFEST, CODE), Part("context", b"[" * 100_000, None)], 400, "",
                 "context", id="nested without end"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "status", "code", "text"), BAD)
def test_what_is_refused_says_why_and_leaves_nothing(server, parts, status, code, text):
    before = trainings(server)
    answer = server.post(parts)
    assert answer.status == status, answer.text
    error = answer.json
    assert error["code"] == status
    assert error.get("error_code", "") == code, error
    assert text in error["error"] + error.get("description", ""), error
    assert not re.search(r"\w\.$", error["error"]), error
    assert "Traceback" not in answer.text
    assert trainings(server) == before
    until(lambda: not leftovers(server))
    # A plan says the same, or that it cannot start, and creates nothing either.
    plan = server.post(parts, "v1/plans")
    assert plan.status == status or not plan.json["can_start"], plan.text
    assert trainings(server) == before


@pytest.mark.parametrize("key", ["", "x" * 201, "a b"])
def test_a_key_that_is_none(server, key):
    answer = server.post(submission(MANIFEST, CODE), headers={"Idempotency-Key": key})
    assert answer.status == 400
    assert answer.json["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        pytest.param("application/json", b"{}", 415, id="JSON"),
        pytest.param("multipart/form-data", b"", 415, id="no boundary"),
        pytest.param("", b"", 415, id="nothing"),
        pytest.param("multipart/form-data; boundary=x", b"no boundary here", 400, id="no parts"),
        pytest.param("multipart/form-data; boundary=x", b"--x\r\n\r\ncut", 400, id="cut"),
        pytest.param("multipart/form-data; boundary=x", b"--xjunk" * 100, 400, id="junk"),
        pytest.param("multipart/form-data; boundary=x", b"--x--\r\n", 400, id="empty form"),
    ],
)
def test_what_is_no_form(server, content_type, body, status):
    answer = server.request("POST", "v1/models", body, {"Content-Type": content_type})
    assert answer.status == status, answer.text
    assert answer.json["error"]
    if status == 415:
        assert answer.json["message"]


def test_a_client_that_goes_away_leaves_nothing(server):
    before = trainings(server)
    body = multipart(submission(MANIFEST, b"x" * 5_000_000))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(
            (
                f"POST {server.path('v1/models')} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: token {server.token}\r\n"
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body[:3_000_000]
        )
        until(lambda: leftovers(server), seconds=30)
    until(lambda: not leftovers(server), seconds=30)
    assert trainings(server) == before


def test_too_large_a_zip_is_413_however_it_is_sent(tmp_path):
    arguments = ["--Trainer.max_definition_bytes=100000", "--ServerApp.max_body_size=50000"]
    with serving(tmp_path, *arguments, standalone=True) as server:
        large = submission(MANIFEST, b"x" * 3_000_000)
        for chunked in (False, True):
            answer = server.request(
                "POST",
                "v1/models",
                iter([multipart(large)]) if chunked else multipart(large),
                {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
                chunked=chunked,
            )
            assert answer.status == 413, answer.text
            assert "100000" in answer.json["error"]
            assert answer.json["message"]
        # Larger than the server's own limit for bodies, smaller than ours.
        noise = bytes(random.randbytes(70_000))
        training_id = server.submit({"train.py": "print(1)", "noise": noise})
        assert server.wait(training_id) == "COMPLETED"
        until(lambda: not leftovers(server))


def test_bodies_that_are_not_what_they_must_be(server, finished):
    path = f"v1/models/{finished}"
    for body in (b"", b"{}", b'{"status": "run"}', b'{"status": 5}', b'{"status": null}'):
        answer = server.request("PATCH", path, body)
        assert answer.status == 400
        assert answer.json["error"] == "Bad request"
        assert answer.json["description"] == "status parameter has incorrect value"
    for body in (b"[", b"[]", b"5", b"[" * 200_000, b"\xff"):
        answer = server.request("PATCH", path, body)
        assert answer.status == 400, body[:10]
        assert "JSON" in answer.json["error"]
    for path, body, field in (
        ("", {"archived": "yes"}, "archived"),
        ("/rerun", {"changes": 5}, "changes"),
        ("/rerun", {"chances": {}}, "chances"),
        ("/rerun", {"changes": {"data_stores": []}}, "data_stores"),
        ("/stacks", {"wait_seconds": "long"}, "wait_seconds"),
        ("/stacks", {"wait_seconds": 1e9}, "wait_seconds"),
    ):
        method = "POST" if path else "PATCH"
        answer = server.request(method, f"v1/models/{finished}{path}", body)
        assert answer.status == 400, answer.text
        assert answer.json["field"] == field
    answer = server.request("PATCH", f"v1/models/{finished}", b"x" * 20_000_000)
    assert answer.status == 413
    assert server.status(finished)["status"] == "COMPLETED"


def test_a_plan_creates_nothing(server):
    before = trainings(server)
    plan = server.post(submission(MANIFEST, CODE), "v1/plans")
    assert plan.status == 200
    assert plan.json["can_start"]
    assert plan.json["files"] == [{"path": "train.py", "size": 14}]
    assert trainings(server) == before


def test_a_rerun_names_its_parent(server, finished):
    answer = server.request("POST", f"v1/models/{finished}/rerun", {"changes": {"cpus": 1}})
    assert answer.status == 201, answer.text
    again = answer.json["model_id"]
    assert server.wait(again) == "COMPLETED"
    assert server.get(f"v1/models/{again}").json["training"]["cpus"] == 1
    assert server.get(f"v1/models/{again}/source").json["origin"]["parent"] == finished
