"""One training on this machine, from submission to its end: real processes, no server."""

from __future__ import annotations

import os

import pytest

from jupyter_ffdl.training import Status
from jupyter_ffdl.trainingdata.series import read_scalars
from trainings import OWNER, Trainings, processes_of, state_directory, until


@pytest.fixture
def trainings(tmp_path):
    with state_directory(tmp_path) as found:
        yield found


def test_a_training_completes_with_log_and_results(trainings: Trainings):
    training_id = trainings.submit(
        "import os, pathlib\n"
        "print('hello')\n"
        "pathlib.Path(os.environ['RESULT_DIR'], 'model.txt').write_text('42')\n"
        "pathlib.Path('beside.txt').write_text('kept')\n"
    )
    status = trainings.ended(training_id)
    assert status["status"] == "COMPLETED"
    assert trainings.log(training_id) == "hello\n"
    results = trainings.trainer.results_dir(training_id, OWNER)
    assert (results / "model.txt").read_text() == "42"
    assert (results / "workdir" / "beside.txt").read_text() == "kept"
    assert (results / "learner-1" / "training-log.txt").read_text() == "hello\n"
    assert [line["status"] for line in status["history"]] == [
        "PENDING",
        "DOWNLOADING",
        "PROCESSING",
        "STORING",
        "COMPLETED",
    ]
    until(lambda: not processes_of(training_id), what="nothing is left")


def test_an_exception_is_named_with_its_cell_and_line(trainings: Trainings):
    training_id = trainings.submit(
        "import os\n\nraise ValueError('too long')\n",
        origin={
            "source_map": {
                "train.py": {
                    "cell_id": "c1",
                    "execution_count": 5,
                    "notebook": "n.ipynb",
                    "first_line": 1,
                }
            }
        },
    )
    status = trainings.ended(training_id)
    assert (status["status"], status["error_code"], status["status_message"]) == (
        "FAILED",
        "C201",
        "1",
    )
    assert status["exit_code"] == 1
    assert status["reason"] == "ValueError in Cell [5], line 3: too long"
    assert "ValueError: too long" in status["last_log_lines"][-1]


def test_a_halt_ends_everything_the_training_started(tmp_path):
    with state_directory(tmp_path, halt_grace_seconds=1) as trainings:
        _halt_a_stubborn_training(trainings)


def _halt_a_stubborn_training(trainings: Trainings) -> None:
    training_id = trainings.submit(
        "import subprocess, time\n"
        "subprocess.Popen(['setsid', 'sh', '-c', \"trap '' TERM; sleep 100\"])\n"
        "print('up', flush=True)\n"
        "time.sleep(100)\n",
        context={},
    )
    until(lambda: "up" in trainings.log(training_id), what="it runs")
    trainings.folder(training_id)
    trainings.trainer.halt(training_id, OWNER, by="ada")
    trainings.trainer.halt(training_id, OWNER, by="ada")
    status = trainings.ended(training_id, 45)
    assert status["status"] == "HALTED"
    assert status["halted_by"] == "ada"
    until(lambda: not processes_of(training_id), what="nothing is left")
    assert trainings.log(training_id).startswith("up")


def test_user_code_gets_the_umask_of_whoever_started_the_server(trainings: Trainings):
    before = os.umask(0o027)
    try:
        training_id = trainings.submit("import os; print(oct(os.umask(0)))")
        trainings.ended(training_id)
    finally:
        os.umask(before)
    assert trainings.log(training_id) == "0o27\n"


def test_an_exit_by_signal_is_named(trainings: Trainings):
    training_id = trainings.submit("import os; os.kill(os.getpid(), 11)")
    status = trainings.ended(training_id)
    assert (status["status"], status["status_message"]) == ("FAILED", "139")


def test_the_memory_limit_is_enforced_and_named(trainings: Trainings):
    training_id = trainings.submit(
        "x = []\nwhile True: x.append(bytearray(1 << 24))", memory="300MB"
    )
    status = trainings.ended(training_id)
    assert (status["status"], status["status_message"], status["oom_killed"]) == (
        "FAILED",
        "137",
        True,
    )
    assert status["reason"].startswith("Out of memory")


def test_max_runtime_ends_a_training(trainings: Trainings):
    training_id = trainings.submit("import time; time.sleep(100)", max_runtime="1s")
    status = trainings.ended(training_id)
    assert (status["status"], status["error_code"], status["status_message"]) == (
        "FAILED",
        "C104",
        "MAX_RUNTIME_EXCEEDED",
    )


def test_two_learners_meet(trainings: Trainings):
    script = (
        "import os, socket, time\n"
        "address = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "if os.environ['RANK'] == '0':\n"
        "    server = socket.create_server(address)\n"
        "    print(server.accept()[0].recv(9).decode())\n"
        "else:\n"
        "    for _ in range(100):\n"
        "        try:\n"
        "            socket.create_connection(address).sendall(b'hello')\n"
        "            break\n"
        "        except OSError:\n"
        "            time.sleep(0.05)\n"
    )
    training_id = trainings.submit(script, learners=2)
    assert trainings.ended(training_id)["status"] == "COMPLETED"
    assert trainings.log(training_id) == "hello\n"


def test_the_first_learner_that_fails_ends_the_others(trainings: Trainings):
    script = "import os, sys, time\nsys.exit(7) if os.environ['RANK'] == '1' else time.sleep(100)\n"
    training_id = trainings.submit(script, learners=2)
    status = trainings.ended(training_id)
    assert (status["status"], status["status_message"]) == ("FAILED", "7")
    assert "learner 2" in status["reason"].lower()


def test_a_submitted_manifest_prints_ffdls_header_and_footer(trainings: Trainings):
    training_id = trainings.submit("print('in the middle')", notebook=False)
    assert trainings.ended(training_id)["status"] == "COMPLETED"
    lines = trainings.log(training_id).splitlines()
    assert lines[0] == "Initiating job"
    assert "in the middle" in lines
    assert lines[-1] == "Training process finished. Exit code: 0"


def test_the_users_own_metrics_are_recorded_once(trainings: Trainings):
    script = (
        "import json, os\n"
        "for n in range(1, 4):\n"
        "    record = {'etimes': {'iteration': {'type': 2, 'value': n}},\n"
        "              'grouplabel': 'mine', 'values': {'loss': {'type': 3, 'value': 1 / n}}}\n"
        "    with open(os.environ['LOG_DIR'] + '/evaluation-metrics.txt', 'a') as file:\n"
        "        file.write(json.dumps(record) + '\\n')\n"
    )
    training_id = trainings.submit(
        script, notebook=False, evaluation_metrics={"type": "emetrics_file"}
    )
    assert trainings.ended(training_id)["status"] == "COMPLETED"
    [series] = read_scalars(trainings.folder(training_id).root).series
    assert list(series.step) == [1, 2, 3]


def test_results_go_where_they_are_wanted_and_stay_there(trainings: Trainings, tmp_path):
    (tmp_path / "out").mkdir()
    training_id = trainings.submit(
        "import os; open(os.environ['RESULT_DIR'] + '/model', 'w').write('7')",
        results="out",
        context={"cwd": str(tmp_path)},
    )
    assert trainings.ended(training_id)["status"] == "COMPLETED"
    assert (tmp_path / "out" / training_id / "model").read_text() == "7"
    assert trainings.trainer.results_dir(training_id, OWNER) == tmp_path / "out" / training_id
    trainings.trainer.delete(training_id, OWNER)
    trainings.trainer.tend()
    assert (tmp_path / "out" / training_id / "model").exists()


def test_queued_trainings_start_when_there_is_room_without_a_server(tmp_path):
    with state_directory(tmp_path, max_running=1) as trainings:
        first = trainings.submit("import time; time.sleep(1)")
        second = trainings.submit("print('second')")
        assert trainings.status(second) is Status.QUEUED
        model = trainings.trainer.model(second, OWNER)["training"]["training_status"]
        assert model["queue_position"] == 1
        # Nobody tends: the supervisor of the first one starts the second.
        folder = trainings.folder(second)
        until(lambda: folder.history()[-1].status.terminal, what="the second one ends")
        assert trainings.status(first) is Status.COMPLETED
        assert trainings.log(second) == "second\n"
