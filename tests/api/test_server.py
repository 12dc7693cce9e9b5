"""The process around the API: its file, its end, idle culling, the event bus."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from serving import MANIFEST, Server, serving, submission, until, zip_of


@pytest.mark.parametrize(
    "standalone",
    [
        pytest.param(False, id="jupyter", marks=pytest.mark.slow),
        pytest.param(True, id="standalone"),
    ],
)
def test_the_file_by_which_it_is_found(tmp_path, standalone):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    dead = {"pid": 2**22 - 1, "start_time": 0, "host": os.uname().nodename}
    (runtime / "ffdl-server-4194303.json").write_text(json.dumps(dead))
    elsewhere = {**dead, "host": "elsewhere"}
    (runtime / "ffdl-server-1.json").write_text(json.dumps(elsewhere))
    with serving(tmp_path, standalone=standalone, base="/base/") as server:
        path = server.record_path
        record = server.record
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert record["kind"] == ("standalone" if standalone else "jupyter")
        assert record["url"].endswith(f":{server.port}/base/")
        assert record["state_dir"] == str(server.state_dir)
        assert not (runtime / "ffdl-server-4194303.json").exists()
        assert (runtime / "ffdl-server-1.json").exists()
    assert not path.exists()


def test_a_password_server_is_entered_with_the_secret(tmp_path):
    from jupyter_server.auth import passwd

    hashed = passwd("pass", "sha1")
    arguments = [f"--PasswordIdentityProvider.hashed_password={hashed}"]
    with serving(tmp_path, *arguments, standalone=True, token="") as server:
        server.token = server.record["secret"]
        assert server.get("v1/models").status == 200
        server.token = "pass"
        assert server.get("v1/models").status == 401
        server.token = ""
        assert server.get("v1/models").status == 401


@pytest.mark.slow
def test_it_ends_after_its_last_client_and_trainings_go_on(tmp_path):
    script = "import time; time.sleep(12); print('done')"
    with serving(tmp_path, "--idle-exit", "3", standalone=True) as server:
        training_id = server.submit(script, origin={"kind": "cell"})
        server.wait_for(training_id, "PROCESSING")
        for _ in range(3):
            time.sleep(1.5)
            assert server.get("v1/models").status == 200  # so is whoever asks now and then
        server.socket(f"v1/models/{training_id}/logs")
        time.sleep(4)
        assert server.process.poll() is None  # an open stream is a client
        server.close_sockets()
        assert server.process.wait(10) == 0
    with serving(tmp_path, standalone=True) as server:
        assert server.wait(training_id) == "COMPLETED"


@pytest.mark.slow
def test_a_follower_resumes_over_a_killed_server(tmp_path):
    script = (
        "import time\nfor i in range(200):\n    print('line', i, flush=True); time.sleep(0.03)\n"
    )
    seen, cursor = "", None
    with serving(tmp_path, standalone=True) as server:
        training_id = server.submit(script, origin={"kind": "cell"})
        connection = server.connect()
        path = server.path(f"v1/models/{training_id}/stream?channels=log")
        connection.request("GET", path, headers=server.authorization)
        answer = connection.getresponse()
        for _ in range(5):
            message = json.loads(answer.readline())
            seen, cursor = seen + message["text"], message["cursor"]
        server.stop(signal.SIGKILL)
        answer.close()
        connection.close()
    with serving(tmp_path, standalone=True) as server:
        import urllib.parse

        given = urllib.parse.quote(json.dumps({"log": cursor}))
        messages = server.lines(f"v1/models/{training_id}/stream?channels=log&cursor={given}")
        seen += "".join(m["text"] for m in messages if m["type"] == "log")
        assert server.status(training_id)["status"] == "COMPLETED"
    assert seen == "".join(f"line {i}\n" for i in range(200))


def last_activity(server: Server) -> str:
    return str(server.get(f"{server.base}api/status").json["last_activity"])


def test_polls_are_no_activity_and_what_changes_is(server, finished):
    before = last_activity(server)
    server.get("v1/models")
    server.lines(f"v1/models/{finished}/stream?channels=status")
    assert last_activity(server) == before
    server.request("PATCH", f"v1/models/{finished}", {"archived": False})
    assert last_activity(server) > before


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [True, False])
def test_a_live_training_is_activity_unless_the_trait_says_otherwise(tmp_path, wanted):
    with serving(tmp_path, standalone=True) as server:
        training_id = server.submit("import time; time.sleep(60)", origin={"kind": "cell"})
        server.wait_for(training_id, "PROCESSING")
    # Looked at when the server starts, then once a minute.
    trait = f"--FfdlApp.live_training_is_activity={wanted}"
    with serving(tmp_path, trait, standalone=True) as server:
        started = server.get(f"{server.base}api/status").json["started"]
        if wanted:
            until(lambda: last_activity(server) > started, seconds=5)
        else:
            time.sleep(0.5)
            assert last_activity(server) == started
        server.request("DELETE", f"v1/models/{training_id}")
        until(lambda: not (server.state_dir / "trainings" / training_id).exists(), seconds=20)


def test_changes_of_status_are_on_jupyters_event_bus(server):
    socket = server.socket(f"{server.base}api/events/subscribe")
    answer = server.post(submission(MANIFEST, zip_of({"train.py": "print(1)"})))
    training_id = answer.json["model_id"]
    seen = []
    while not seen or not seen[-1]["terminal"]:
        event = json.loads(socket.recv())
        if event.get("model_id") == training_id:
            seen.append(event)
    assert seen[-1]["status"] == "COMPLETED"
    assert seen[-1]["schema_id"].endswith("/jupyter_ffdl/training_status/v1")
    assert seen[-1]["name"] == "demo"


def test_the_event_schema_describes_every_property():
    import yaml

    from jupyter_ffdl.api.announce import SCHEMA, SCHEMA_ID

    schema = yaml.safe_load(SCHEMA.read_text())
    assert schema["$id"] == SCHEMA_ID
    assert isinstance(schema["personal-data"], bool)
    assert schema["version"] == "1"
    for about in schema["properties"].values():
        assert about["title"]
        assert about["description"]


def test_loading_the_extension_imports_nothing_heavy():
    code = (
        "import sys, jupyter_server.serverapp\n"
        "before = set(sys.modules)\n"
        "import jupyter_ffdl.api.app\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'numpy', 'pydantic', 'boto3', 'tensorboard', 'kubernetes'}))\n"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.slow
def test_two_servers_on_one_state_directory_tell_the_same(tmp_path):
    state = tmp_path / "state"
    with (
        serving(tmp_path / "one", standalone=True, state_dir=state) as one,
        serving(tmp_path / "two", state_dir=state) as two,
    ):
        script = "import time; time.sleep(0.5); print('x')"
        training_id = one.submit(script, origin={"kind": "cell"})
        messages = two.lines(f"v1/models/{training_id}/stream?channels=status,log")
        assert messages[-1]["type"] == "end"
        assert one.status(training_id) == two.status(training_id)


@pytest.mark.slow
def test_help_is_read_as_a_person_would(tmp_path):
    command = [sys.executable, "-m", "jupyter_ffdl.api.standalone", "--help-all"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    for trait in ("FfdlApp.state_dir", "FfdlApp.allow_unauthenticated_logs",
                  "FfdlApp.live_training_is_activity", "FfdlStandalone.idle_exit_seconds",
                  "Trainer.max_running"):  # fmt: skip
        assert f"--{trait}" in text, trait
