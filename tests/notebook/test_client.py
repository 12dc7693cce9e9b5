"""Trainings as Python objects, against a real server."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from jupyter_ffdl.errors import BadInput, NotFound
from jupyter_ffdl.notebook.connection import Unauthorized

# One server and one kernel serve them all.
pytestmark = pytest.mark.xdist_group("notebook")

COUNT = """\
import os, sys, time
for step in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
    print("step", step, flush=True)
    time.sleep(0.02)
with open(os.path.join(os.environ["RESULT_DIR"], "out.txt"), "w") as file:
    file.write("done")
"""
SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_a_file_is_trained_and_tells_everything(client):
    t = client.train(write("count.py", COUNT), name="count me")
    assert t.wait(timeout=30) == "COMPLETED"
    assert t.wait(timeout=0.1) == "COMPLETED"
    assert list(t.logs()) == [f"step {n}" for n in range(5)]
    assert list(t.logs(tail=2)) == ["step 3", "step 4"]
    assert t.verdict["sentence"] == "Completed"
    assert t.parent is None
    assert (t.name, t.done) == ("count me", True)
    assert repr(t).startswith(f'Training {t.id} "count me" Completed 00:00:0')
    assert [file.size_bytes for file in t.results if file.path == "out.txt"] == [4]


def test_the_number_of_a_repeated_name_is_shown(client):
    write("a.py", "pass")
    first, second = (client.train("a.py", name="twice") for _ in range(2))
    client.wait([first, second], timeout=30)
    assert second.number == first.number + 1
    assert '"twice #' in repr(second)


def test_a_follower_that_comes_early_waits_and_one_that_comes_late_gets_all(client):
    t = client.train(write("count.py", COUNT), param={"n": 40})
    early = list(t.logs(follow=True))
    late = list(t.logs(follow=True))
    assert early == late
    assert len(early) == len(set(early))


def test_parameters_are_arguments_of_a_file(client):
    script = "import sys; print(sys.argv[1:])"
    t = client.train(write("args.py", script), param={"lr": 0.1, "name": "it's", "on": True})
    t.wait(timeout=30, check=True)
    assert list(t.logs()) == [str(["--lr", "0.1", "--name", "it's", "--on", "True"])]


def test_files_environment_and_secrets_go_along(client, monkeypatch):
    monkeypatch.setenv("OF_THE_KERNEL", "kernel's")
    monkeypatch.setenv("MY_TOKEN", "not for everybody")
    monkeypatch.setenv("OTHER_TOKEN", "stays here")
    write("data.csv", "1,2")
    script = """\
import os
print(open("data.csv").read())
for name in ("A", "OF_THE_KERNEL", "OTHER_TOKEN", "MY_TOKEN"):
    print(name, len(os.environ.get(name, "")))
"""
    t = client.train(
        write("show.py", script), files=["data.csv"], env={"A": "a"}, secret=["MY_TOKEN"]
    )
    t.wait(timeout=30, check=True)
    assert list(t.logs()) == ["1,2", "A 1", "OF_THE_KERNEL 8", "OTHER_TOKEN 0", "MY_TOKEN 17"]
    assert "not for everybody" not in t.manifest + str(t.info) + str(t.source())


def test_a_manifest_with_its_folder_is_submitted_and_options_override_it(client):
    Path("model").mkdir()
    write("model/go.py", "import os; print(os.environ['NUM_LEARNERS'])")
    write(
        "model/manifest.yml",
        "name: mine # kept\nlearners: 1\n"
        "framework: {name: custom, version: x, command: python3 go.py}\n",
    )
    t = client.train("model/manifest.yml", learners=2)
    t.wait(timeout=40, check=True)
    assert t.name == "mine"
    assert t.info["training"]["learners"] == 2
    assert "2" in list(t.logs(learner=2))
    assert "# kept" in t.manifest


def test_a_dry_run_creates_nothing(client):
    before = len(client.trainings())
    plan = client.train(write("count.py", COUNT), dry_run=True)
    assert plan.files == [("count.py", len(COUNT))]
    assert plan.can_start
    assert "count.py" in str(plan)
    assert len(client.trainings()) == before


def test_waiting_no_longer_leaves_the_training_alone(client):
    t = client.train(write("sleep.py", SLEEP))
    with pytest.raises(TimeoutError, match="1 of 1"):
        t.wait(timeout=0.3)
    assert not t.done
    t.halt()
    t.halt()
    assert t.wait(timeout=30) == "HALTED"
    t.halt()
    assert "Halted" in repr(t)


def test_a_failure_is_raised_with_its_verdict(client):
    t = client.train(write("fail.py", "x = 1\nraise ValueError('no such luck')\n"))
    with pytest.raises(client.TrainingFailed, match="no such luck") as error:
        t.wait(timeout=30, check=True)
    assert error.value.verdict is not None
    assert error.value.verdict["where"]["line"] == 2
    assert "no such luck" in repr(t)


def test_several_are_yielded_as_they_end(client):
    write("count.py", COUNT)
    write("sleep.py", "import time; time.sleep(2)")
    slow = client.train("sleep.py")
    quick = client.train("count.py")
    assert [t.id for t in client.as_completed([slow, quick], timeout=30)] == [quick.id, slow.id]
    assert client.wait([slow, quick], timeout=5) == [slow, quick]


def test_a_training_runs_again_with_changes(client):
    first = client.train(write("count.py", COUNT), name="again")
    first.wait(timeout=30)
    second = first.rerun(memory="2Gb")
    assert second.wait(timeout=30) == "COMPLETED"
    assert second.parent == first
    assert second.info["training"]["memory_bytes"] == 2 * 1000 * 1048576
    with pytest.raises(TypeError, match=r"'memroy'; valid are: .*memory"):
        first.rerun(memroy="2Gb")


def test_a_deleted_training_is_not_found_and_deleting_twice_is_harmless(client):
    t = client.train(write("sleep.py", SLEEP))
    t.delete()
    t.delete()
    t.refresh()
    with pytest.raises(NotFound):
        _ = t.status
    assert t.id in repr(t)


def test_results_are_fetched_whole_and_only_below_the_destination(client):
    script = """\
import os
os.chdir(os.environ["RESULT_DIR"])
os.makedirs("a/b")
open("a/b/c.bin", "wb").write(bytes(range(256)) * 5000)
open("ünï çøde.txt", "w").write("x")
"""
    t = client.train(write("many.py", script))
    t.wait(timeout=30, check=True)
    written = t.results.download("out")
    assert Path("out/a/b/c.bin").read_bytes() == bytes(range(256)) * 5000
    assert Path("out/ünï çøde.txt").exists()
    assert all(path.resolve().is_relative_to(Path("out").resolve()) for path in written)
    assert not list(Path("out").rglob("*.part"))


def test_a_link_in_the_destination_leads_nobody_out_of_it(client):
    script = 'import os; os.chdir(os.environ["RESULT_DIR"]); os.mkdir("a"); open("a/b", "w")'
    t = client.train(write("link.py", script))
    t.wait(timeout=30, check=True)
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/a").symlink_to(Path("elsewhere").resolve())
    with pytest.raises(BadInput, match="would leave"):
        t.results.download("out")
    assert not list(Path("elsewhere").iterdir())


def test_scalars_are_columns_of_equal_length(client):
    script = """\
from jupyter_ffdl.scalars import ScalarWriter
writer = ScalarWriter()
for step in range(50):
    writer.add_scalar("loss", 1 / (step + 1), step)
    writer.add_scalar("acc", float("nan") if step == 3 else step, step)
"""
    t = client.train(write("curve.py", script))
    t.wait(timeout=30, check=True)
    scalars = t.scalars()
    assert {tag: len(series) for tag, series in scalars.items()} == {"loss": 50, "acc": 50}
    loss = scalars["loss"]
    assert len(loss.step) == len(loss.wall_time) == len(loss.value) == 50
    assert loss.value[-1] == pytest.approx(0.02)
    assert scalars["acc"].value[3] != scalars["acc"].value[3]
    assert list(t.scalars(tags=["loss"])) == ["loss"]
    assert "loss=0.0200" in repr(t)


def test_a_training_that_was_known_is_found_by_its_id_alone(client):
    t = client.train(write("count.py", COUNT))
    t.wait(timeout=30)
    again = client.Training(t.id)
    assert again == t
    assert again.status == "COMPLETED"
    assert t in client.trainings(status="COMPLETED", limit=5)


def test_train_inside_a_training_is_refused_unless_meant(client, monkeypatch):
    monkeypatch.setenv("TRAINING_ID", "training-aaaaaaaaaaaa")
    with pytest.raises(BadInput, match="nested=True"):
        client.train(write("count.py", COUNT))
    client.train("count.py", nested=True).wait(timeout=30, check=True)


@pytest.mark.parametrize(
    ("source", "options", "error", "said"),
    [
        ("missing.py", {}, BadInput, "missing.py: there is no such file"),
        (".", {}, BadInput, "is a directory"),
        ("notes.txt", {}, BadInput, "neither a .py file nor"),
        ("ok.py", {"gpu": 1}, TypeError, "valid are"),
        ("ok.py", {"gpus": -1}, BadInput, "--gpus -1"),
        ("ok.py", {"gpus": 1.5}, BadInput, "--gpus 1.5"),
        ("ok.py", {"gpus": True}, BadInput, "--gpus True"),
        ("ok.py", {"memory": "512"}, BadInput, "4Gb"),
        ("ok.py", {"memory": 4}, BadInput, "--memory 4"),
        ("ok.py", {"name": ""}, BadInput, "--name"),
        ("ok.py", {"files": ["nothing"]}, BadInput, "--with nothing"),
        ("ok.py", {"data": "nowhere"}, BadInput, "--data nowhere"),
        ("ok.py", {"secret": "NOT_SET"}, BadInput, "NOT_SET"),
        ("ok.py", {"env": ["NOT_SET"]}, BadInput, "NOT_SET"),
        ("ok.py", {"env": {"MY_TOKEN": "x"}}, BadInput, "--secret MY_TOKEN"),
        ("ok.py", {"param": {"a": object()}}, BadInput, "not a number, text, list or dict"),
        ("ok.py", {"gpus": 4096}, BadInput, ""),
        ("bad.yml", {}, BadInput, ""),
        ("nameless.yml", {}, BadInput, "name"),
    ],
)
def test_bad_input_is_refused_and_creates_nothing(client, source, options, error, said):
    write("ok.py", "pass")
    write("notes.txt", "")
    write("bad.yml", "name: [")
    write("nameless.yml", "framework: {name: custom, version: x, command: 'true'}")
    before = len(client.trainings())
    with pytest.raises(error) as raised:
        client.train(source, **options)
    assert said in str(raised.value)
    assert len(client.trainings()) == before


def test_a_wrong_token_is_named_with_the_way_to_find_out(client, monkeypatch):
    monkeypatch.setenv("FFDL_TOKEN", "wrong")
    with pytest.raises(Unauthorized, match=r"does not accept our login.*doctor"):
        client.trainings()


def test_a_service_that_is_not_there_is_named(client, monkeypatch):
    monkeypatch.setenv("FFDL_URL", "http://127.0.0.1:9")
    with pytest.raises(client.ServiceError, match=r"No answer from http://127.0.0.1:9/ffdl"):
        client.trainings()


class LossyProxy:
    """Passes connections on, and loses the answers of the first ``lost`` submissions."""

    def __init__(self, port: int, lost: int) -> None:
        self._target = port
        self._lost = lost
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.answers_lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one, socket.create_connection(("127.0.0.1", self._target)) as other:
            begin = one.recv(65536)
            other.sendall(begin)
            upwards = threading.Thread(target=self._copy, args=(one, other), daemon=True)
            upwards.start()
            answer = other.recv(65536)
            if begin.startswith(b"POST") and self.answers_lost < self._lost:
                self.answers_lost += 1
                one.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the other thread
                return
            while answer:
                one.sendall(answer)
                answer = other.recv(65536)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                target.sendall(piece)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()


def test_a_lost_answer_is_asked_for_again_and_makes_no_second_training(client, server, monkeypatch):
    proxy = LossyProxy(server.port, lost=2)
    monkeypatch.setenv("FFDL_URL", f"http://127.0.0.1:{proxy.port}{server.base}ffdl")
    name = f"lossy-{os.getpid()}-{time.time_ns()}"
    t = client.train(write("count.py", COUNT), name=name)
    assert proxy.answers_lost == 2
    assert [one.id for one in client.trainings(name=name)] == [t.id]
    t.wait(timeout=30)
    proxy.close()
