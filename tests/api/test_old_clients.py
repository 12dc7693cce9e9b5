"""The shapes that the original command line and the UI read (FfDL contract §2, §3.1)."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import websocket

UNKNOWN = "training-unknownunkn"


def test_the_list_is_newest_first_and_ignores_its_version(server, finished):
    later = server.submit("print(1)")
    for path in ("v1/models", "v1/models?version=2017-02-13", 'v1/models?version=2017-02-13"%2B'):
        models = server.get(path).json["models"]
        ids = [model["model_id"] for model in models]
        assert ids.index(later) < ids.index(finished)
    server.wait(later)


def test_a_model_has_what_the_command_line_needs(server, finished):
    model = server.get(f"v1/models/{finished}").json
    assert model["location"] == f"/v1/models/{finished}"
    assert model["framework"] == {"name": "custom", "version": "python"}
    assert model["data_stores"] == []
    training = model["training"]
    assert training["memory_unit"] == "GB"
    assert training["learners"] == 1
    assert "gpus" not in training
    status = training["training_status"]
    assert status["status"] == status["status_description"] == "COMPLETED"
    assert status["submitted"].isdigit()
    assert int(status["completed"]) >= int(status["submitted"])


@pytest.mark.parametrize(
    ("method", "path", "description"),
    [
        ("GET", "", "model_id not found"),
        ("PATCH", "", "model_id not found"),
        ("DELETE", "", None),
        ("GET", "/definition", None),
        ("GET", "/trained_model", None),
        ("GET", "/logs?follow=false", None),
        ("GET", "/metrics?follow=false", None),
    ],
)
@pytest.mark.parametrize(
    "training_id", [UNKNOWN, "short", "..", "a b c d e f", "%2e%2e%2fetc", "ü" * 9]
)
def test_an_unknown_id_is_404(server, method, path, description, training_id):
    import urllib.parse

    quoted = urllib.parse.quote(training_id)
    body = {"status": "halt"} if method == "PATCH" else None
    answer = server.request(method, f"v1/models/{quoted}{path}", body)
    assert answer.status == 404
    assert answer.json["error"] == "Not found"
    assert answer.json["message"]
    if description:
        assert answer.json["description"] == description


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "v1/models", "GET, POST, OPTIONS"),
        ("POST", "v1/models/{id}", "GET, PATCH, DELETE, OPTIONS"),
        ("DELETE", "v1/models/{id}/logs", "GET, OPTIONS"),
        ("GET", "v1/plans", "POST, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_with_those_that_are_right(server, finished, method, path, allowed):
    answer = server.request(method, path.replace("{id}", finished))
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json["message"]


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        ("v1/models?status=NOPE", 422, 606, "status"),
        ("v1/models?limit=many", 422, 601, "limit"),
        ("v1/models?limit=-1", 400, 400, "limit"),
        ("v1/models?sort=nope", 422, 606, "sort"),
        ("v1/models?archived=perhaps", 422, 601, "archived"),
        ("v1/models?page_token=a", 422, 601, "page_token"),
        ("v1/models/{id}/logs?follow=perhaps", 422, 601, "follow"),
        ("v1/models/{id}/logs?since_time=soon", 400, 400, "since_time"),
        ("v1/models/{id}/logs?learner=0", 400, 400, "learner"),
        ("v1/models/{id}/logs?learner=x", 422, 601, "learner"),
        ("v1/models/{id}/logs?learner=2", 400, 400, "learner"),
        ("v1/models/{id}/logs?tail=x", 422, 601, "tail"),
        ("v1/models/{id}/metrics?since_time=soon", 400, 400, "since_time"),
        ("v1/models/{id}/scalars?max_points=x", 422, 601, "max_points"),
        ("v1/models/{id}/scalars?since=x", 422, 601, "since"),
        ("v1/models/{id}/scalars?since=[5]", 422, 601, "since"),
        ("v1/models/{id}/scalars?from_step=nan", 422, 601, "from_step"),
        ("v1/models/{id}/results?limit=0", 400, 400, "limit"),
        ("v1/models/{id}/results?page_token=a", 422, 601, "page_token"),
        ("v1/models/{id}/stream?channels=log,nope", 422, 606, "channels"),
        ("v1/models/{id}/stream?cursor=x", 422, 601, "cursor"),
        ("v1/models/{id}/stream?cursor={%22log%22:5}", 400, 400, "log.cursor"),
        ("v1/models/{id}/stream?cursor={%22log%22:{%22offset%22:%22x%22}}", 400, 400,
         "log.cursor.offset"),
        ("v1/models/{id}?delete_results=perhaps", 422, 601, "delete_results"),
        ("v1/logs/{id}/loglines?pagesize=-1", 400, 400, "pagesize"),
        ("v1/logs/{id}/loglines?pagesize=10001", 400, 400, "pagesize"),
        ("v1/logs/{id}/loglines?pos=x", 422, 601, "pos"),
        ("v1/logs/{id}/loglines?searchType=NESTED", 400, 400, "searchType"),
        ("v1/logs/{id}/loglines?searchType=nope", 422, 606, "searchType"),
        ("v1/logs/{id}/emetrics?since_time=whenever", 400, 400, "since_time"),
        ("v1/stream", 400, 400, None),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(server, finished, path, status, code, field):
    method = "DELETE" if "delete_results" in path else "GET"
    answer = server.request(method, path.replace("{id}", finished))
    assert answer.status == status, answer.text
    assert answer.json["code"] == code
    assert answer.json.get("field") == field
    if status == 422:
        assert answer.json["message"]


def test_huge_numbers_do_no_harm(server, finished):
    for path in (
        f"v1/models?limit={10**30}",
        f"v1/logs/{finished}/loglines?pos={10**30}&pagesize=1",
        f"v1/logs/{finished}/loglines?pos=-{10**30}&pagesize=1",
        f"v1/logs/{finished}/emetrics?pos={10**30}&pagesize=1",
        f"v1/models/{finished}/scalars?max_points={10**30}",
        f"v1/models/{finished}/results?limit={10**30}",
        f"v1/models/{finished}/logs?tail={10**30}",
    ):
        assert server.get(path).status in {200, 400}, path


def test_the_definition_is_what_was_submitted(server, finished):
    answer = server.get(f"v1/models/{finished}/definition")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["train.py"]


def test_the_trained_model_holds_every_key_of_the_bucket(server, finished):
    answer = server.get(f"v1/models/{finished}/trained_model")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert archive.read(f"{finished}/a/weights.bin") == bytes(range(256)) * 100
        names = set(archive.namelist())
    listed = server.get(f"v1/models/{finished}/results").json["files"]
    assert names == {f"{finished}/{file['path']}" for file in listed}


def test_results_come_in_pages_and_ranges(server, finished):
    listed = server.get(f"v1/models/{finished}/results").json["files"]
    assert {"path": "a/weights.bin", "size": 25600} in [
        {"path": file["path"], "size": file["size"]} for file in listed
    ]
    paged, token = [], ""
    while True:
        page = server.get(f"v1/models/{finished}/results?limit=2&page_token={token}").json
        paged += page["files"]
        token = page.get("next_page_token")
        if not token:
            break
    assert paged == listed
    path = f"v1/models/{finished}/results/a/weights.bin"
    whole = server.get(path)
    assert whole.body == bytes(range(256)) * 100
    assert whole.headers["Content-Disposition"].startswith("attachment")
    for wanted, slice_ in (
        ("bytes=0-9", slice(0, 10)),
        ("bytes=25590-", slice(25590, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=100-99999", slice(100, None)),
    ):
        part = server.get(path, headers={"Range": wanted})
        assert part.status == 206
        assert part.body == whole.body[slice_]
    assert server.get(path, headers={"Range": "bytes=25600-"}).status == 416
    assert server.get(path, headers={"Range": "lines=1-2"}).status == 200


@pytest.mark.parametrize(
    "path",
    ["../training.json", "..%2Ftraining.json", "a/../../training.json", "a%00b", "a", "a//b",
     "/etc/passwd", "%2Fetc%2Fpasswd", "out", "passwd", "fifo", "secrets"],
)  # fmt: skip
def test_results_cannot_leave_their_folder(server, finished, path):
    import os

    results = server.state_dir / "trainings" / finished / "results"
    for name, target in (
        ("out", ".."),
        ("passwd", "/etc/passwd"),
        ("secrets", "../secrets.json"),
    ):
        if not (results / name).is_symlink():
            (results / name).symlink_to(target)
    if not (results / "fifo").exists():
        os.mkfifo(results / "fifo")
    assert server.get(f"v1/models/{finished}/results/{path}").status == 404
    listed = {file["path"] for file in server.get(f"v1/models/{finished}/results").json["files"]}
    assert not listed & {"out", "passwd", "fifo", "secrets"}


def test_the_log_over_http_is_the_learners_bytes(server, finished):
    answer = server.get(f"v1/models/{finished}/logs?follow=false")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    log = server.state_dir / "trainings" / finished / "attempts/1/learner-1/training-log.txt"
    assert answer.body == log.read_bytes()
    tail = server.get(f"v1/models/{finished}/logs?tail=3").body
    assert tail == b"".join(log.read_bytes().splitlines(keepends=True)[-3:])
    assert server.get(f"v1/models/{finished}/logs?since_time=now").body == b""
    assert server.get(f"v1/models/{finished}/logs?since_time=0").body == log.read_bytes()


def test_the_log_over_a_websocket_is_one_frame_a_line(server, finished):
    socket = server.socket(
        f"v1/models/{finished}/logs?version=2017-03-17",
        origin="http://localhost/",
        subprotocols=["ws"],
    )
    assert socket.getsubprotocol() == "ws"
    frames = []
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            break
        assert opcode == websocket.ABNF.OPCODE_TEXT
        frames.append(data)
    assert int.from_bytes(data[:2], "big") == 1000
    assert all(frame.count(b"\n") == 1 and frame.endswith(b"\n") for frame in frames)
    assert b"".join(frames) == server.get(f"v1/models/{finished}/logs").body


def test_metrics_end_with_the_keys_that_the_command_line_reads(server, finished):
    lines = server.get(f"v1/models/{finished}/metrics?follow=false").body.splitlines()
    assert len(lines) == 40
    record = json.loads(lines[5])
    assert list(record)[-4:] == ["type", "timestamp", "iteration", "Values"]
    assert record["type"] == record["grouplabel"] == "train"
    assert record["iteration"] == 5
    assert record["Values"] == {"loss": 1 / 6, "bad": 5}
    socket = server.socket(f"v1/models/{finished}/metrics")
    frames = []
    while frame := socket.recv():
        assert len(frame) < 8192
        frames.append(json.loads(frame))
    assert frames == [json.loads(line) for line in lines]


def test_pages_of_lines_go_on_where_the_last_one_ended(server, finished):
    path = f"v1/logs/{finished}/loglines?pagesize=7&searchType=TERM&version=2017-10-01"
    first = server.get(f"{path}&pos=1&since_time=").json["models"]
    assert [line["meta"]["rindex"] for line in first] == list(range(1, 8))
    # As the old command line goes on: the last time + 1, and the same pos.
    seen, since = [], 0
    while page := server.get(f"{path}&pos=0&since_time={since}").json["models"]:
        seen += page
        since = page[-1]["meta"]["time"] + 1
    log = server.get(f"v1/models/{finished}/logs").text
    assert "".join(line["line"] for line in seen) == log
    times = [line["meta"]["time"] for line in seen]
    assert times == sorted(set(times))
    last = server.get(f"{path}&pos=-1").json["models"]
    assert last == seen[-7:]


def test_scalars_are_columns_with_marks_for_what_json_lacks(server, finished):
    answer = server.get(f"v1/models/{finished}/scalars?tags=bad").json
    (series,) = answer["series"]
    assert series["step"] == list(range(40))
    assert series["value"][7] is None
    assert series["marks"] == [[7, "nan"]]
    since = json.dumps(answer["cursor"])
    import urllib.parse

    rest = server.get(f"v1/models/{finished}/scalars?since={urllib.parse.quote(since)}").json
    assert rest["series"] == []
