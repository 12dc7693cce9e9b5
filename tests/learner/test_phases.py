from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from pathlib import Path

import pytest

from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.learner import phases
from jupyter_ffdl.learner.places import directories

ID = "training-abc"


class Training:
    def __init__(self, state_dir: Path, files=None, **spec) -> None:
        self.folder = TrainingFolder(state_dir / "trainings" / ID)
        self.folder.attempt(1).mkdir(parents=True)
        with zipfile.ZipFile(self.folder.code, "w") as archive:
            for name, content in (files or {"train.py": "print(1)"}).items():
                archive.writestr(name, content)
        self.spec = {
            "training_id": ID,
            "learners": 1,
            "notebook": False,
            "kernel_cwd": None,
            **spec,
        }

    def load(self) -> None:
        phases.prepare_job(self.folder, self.spec)
        assert phases.load_model(self.folder, self.spec) == 0, phases.failure(
            self.folder, "load-model"
        )
        assert phases.load_data(self.folder, self.spec) == 0, phases.failure(
            self.folder, "load-data"
        )
        phases.link_logs(self.folder, 1, {"metrics": {"kind": "logs"}, **self.spec})
        for learner in range(1, self.spec["learners"] + 1):
            self.folder.learner(1, learner).mkdir()
            self.folder.log(1, learner).write_text(f"log {learner}\n")
            (self.folder.learner(1, learner) / "evaluation-metrics.txt").write_text(f"{learner}\n")

    def store(self) -> None:
        for step in (phases.store_results, phases.store_logs):
            assert step(self.folder, self.spec) == 0

    def results(self) -> set[str]:
        root = directories(self.folder, self.spec).results
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_submitted_manifest_finds_its_directories_ready(tmp_path):
    training = Training(tmp_path, learners=2)
    training.load()
    job = training.folder.job
    assert (job / "model-code" / "train.py").read_text() == "print(1)"
    assert (job / ID).read_bytes() == b""
    assert (job / "current_state").read_text() == "INIT\n"
    assert (job / "latest-log").read_text() == "log 1\n"
    assert (job / "logs" / "learner-2" / "training-log.txt").read_text() == "log 2\n"
    real = directories(training.folder, training.spec)
    assert list(real.data[0].iterdir()) == []
    assert {path.name for path in real.results.iterdir()} == {"learner-1", "learner-2"}
    assert {path.name for path in real.results_bucket.iterdir()} == {ID, "_wml_checkpoints"}
    assert real.checkpoints.is_dir()


def test_logs_metrics_and_event_files_come_to_their_keys(tmp_path):
    training = Training(tmp_path, learners=2)
    training.load()
    event = training.folder.logs / "tb" / "train" / "events.out"
    event.parent.mkdir(parents=True)
    event.write_text("event")
    (training.folder.logs / "learner-2" / "own.txt").write_text("2")
    training.store()
    assert training.results() == {
        "_submitted_code/model.zip",
        "training-log.txt",
        "evaluation-metrics.txt",
        "tb/train/events.out",
        "learner-1/training-log.txt",
        "learner-1/evaluation-metrics.txt",
        "learner-1/tb/train/events.out",
        "learner-1/.log-copy-complete",
        "learner-2/training-log.txt",
        "learner-2/evaluation-metrics.txt",
        "learner-2/tb/train/events.out",
        "learner-2/own.txt",
        "learner-2/.log-copy-complete",
    }
    results = directories(training.folder, training.spec).results
    assert (results / "training-log.txt").read_text() == "log 1\n"
    assert (results / "learner-2" / "training-log.txt").read_text() == "log 2\n"
    assert (results / "learner-2" / ".log-copy-complete").read_text() == "0\n"
    assert training.folder.log(1, 1).exists(), "what readers follow is not moved"


def test_a_notebook_finds_what_lies_beside_it(tmp_path):
    cwd = tmp_path / "notebook"
    (cwd / "pkg").mkdir(parents=True)
    (cwd / ".ipynb_checkpoints").mkdir()
    (cwd / "data.csv").write_text("1,2")
    (cwd / "pkg" / "table.txt").write_text("t")
    (cwd / "train.py").write_text("an older version")
    training = Training(
        tmp_path / "state",
        {"train.py": "new", "pkg/code.py": "c"},
        notebook=True,
        kernel_cwd=str(cwd),
    )
    training.load()
    code = training.folder.model_code
    assert (code / "train.py").read_text() == "new"
    assert (code / "data.csv").read_text() == "1,2"
    assert (code / "pkg" / "code.py").read_text() == "c"
    assert (code / "pkg" / "table.txt").read_text() == "t"
    assert not (code / ".ipynb_checkpoints").exists()


def test_a_state_directory_beside_the_notebook_is_not_linked_into_itself(tmp_path):
    (tmp_path / "share" / "other").mkdir(parents=True)
    training = Training(tmp_path / "share" / "state", notebook=True, kernel_cwd=str(tmp_path))
    training.load()
    code = training.folder.model_code
    assert (code / "share" / "other").is_symlink()
    assert not (code / "share" / "state").exists()
    below = [path for path, _, _ in os.walk(code, followlinks=True)]
    assert not any(path.count("model-code") > 1 for path in below)


def test_files_that_a_notebooks_training_created_are_kept(tmp_path):
    cwd = tmp_path / "notebook"
    cwd.mkdir()
    (cwd / "data.csv").write_text("1,2")
    training = Training(
        tmp_path / "state",
        {"train.py": "t", "config.json": "{}"},
        notebook=True,
        kernel_cwd=str(cwd),
    )
    training.load()
    code = training.folder.model_code
    (code / "out" / "deep").mkdir(parents=True)
    (code / "out" / "deep" / "weights.bin").write_text("w")
    (code / "config.json").write_text("{1}")
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "x.pyc").touch()
    (code / "mine").symlink_to("train.py")
    training.store()
    kept = {name for name in training.results() if name.startswith("workdir/")}
    assert kept == {"workdir/out/deep/weights.bin", "workdir/config.json"}


def test_a_submitted_manifest_keeps_only_what_it_wrote_to_its_results(tmp_path):
    training = Training(tmp_path)
    training.load()
    (training.folder.model_code / "new.txt").touch()
    training.store()
    assert not any(name.startswith("workdir") for name in training.results())


def test_host_directories_are_used_in_place(tmp_path):
    (tmp_path / "in").mkdir()
    training = Training(
        tmp_path / "state",
        data={"dir": str(tmp_path / "in"), "bucket": "in"},
        results={"dir": str(tmp_path / "out"), "bucket": "out"},
    )
    training.load()
    training.store()
    assert (tmp_path / "out" / ID / "training-log.txt").exists()
    assert (tmp_path / "out" / "_wml_checkpoints").is_dir()
    found = phases.places(training.folder, training.spec)
    assert found.data == (str(tmp_path / "in"),)
    assert found.results == str(tmp_path / "out" / ID)
    assert found.mounts is None


def test_literal_paths_are_those_of_the_old_cluster(tmp_path):
    training = Training(
        tmp_path / "state",
        literal_paths=True,
        data={"dir": str(tmp_path / "in"), "bucket": "in"},
        results={"dir": str(tmp_path / "out"), "bucket": "out"},
    )
    found = phases.places(training.folder, training.spec)
    assert (found.job, found.model, found.logs) == ("/job", "/job/model-code", "/job/logs")
    assert found.data == ("/mnt/data/in",)
    assert found.results == f"/mnt/results/out/{ID}"
    assert found.checkpoints == "/mnt/results/out/_wml_checkpoints"
    assert found.mounts == {
        "/job": training.folder.job,
        "/mnt/data/in": tmp_path / "in",
        "/mnt/results/out": tmp_path / "out",
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, "checkpoints", id="without a store: the training's own"),
        pytest.param(
            {"results": {"dir": "out", "bucket": "o"}},
            "out/_wml_checkpoints",
            id="with a store: shared by all of the bucket",
        ),
        pytest.param(
            {"results": {"dir": "out", "bucket": "o"}, "checkpoints": "job"},
            f"out/_wml_checkpoints/{ID}",
            id="with a store, own",
        ),
        pytest.param({"checkpoint_dir": "/"}, "/", id="a re-run has its parent's"),
        pytest.param({"checkpoint_dir": "/no/such"}, "checkpoints", id="the parent was deleted"),
    ],
)
def test_checkpoints_lie_where_the_manifest_says(tmp_path, spec, expected):
    folder = TrainingFolder(tmp_path / "trainings" / ID)
    found = directories(folder, spec).checkpoints
    assert found in {Path(expected), folder.root / expected}


def test_a_step_that_fails_says_why(tmp_path):
    training = Training(tmp_path / "state", data={"dir": str(tmp_path / "gone"), "bucket": "gone"})
    phases.prepare_job(training.folder, training.spec)
    assert phases.load_data(training.folder, training.spec) == 1
    assert str(tmp_path / "gone") in phases.failure(training.folder, "load-data")
    training.folder.code.write_bytes(b"no zip")
    assert phases.load_model(training.folder, training.spec) == 1
    assert "zip" in phases.failure(training.folder, "load-model").lower()
    assert not training.folder.model_code.exists()


def test_the_next_attempt_keeps_what_user_code_left(tmp_path):
    training = Training(tmp_path)
    training.load()
    (training.folder.job / "master_node.txt").write_text("mine")
    (training.folder.job / ID).write_text("rendezvous of the first attempt")
    (training.folder.model_code / "made.txt").touch()
    phases.mark_start(training.folder, "load-model")
    (training.folder.job / "load-model.exit").write_text("0\n")
    phases.forget_steps(training.folder)
    assert not list(training.folder.job.glob("load-model.*"))
    phases.prepare_job(training.folder, training.spec)
    assert phases.load_model(training.folder, training.spec) == 0
    assert (training.folder.job / "master_node.txt").exists()
    assert (training.folder.job / ID).read_text() == ""
    assert (training.folder.model_code / "made.txt").exists()


def test_the_job_directory_is_cleaned_but_for_what_it_tells(tmp_path):
    training = Training(tmp_path)
    training.load()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    (training.folder.job / "link").symlink_to(outside)
    (training.folder.job / "learner-1.exit").write_text("0\n")
    phases.clean_job(training.folder)
    assert {path.name for path in training.folder.job.iterdir()} == {
        "current_state",
        "learner-1.exit",
        "logs",
        "latest-log",
    }
    assert (outside / "keep").exists()


def test_storing_many_files_costs_little_more_than_making_them(tmp_path):
    training = Training(tmp_path, notebook=True)
    training.load()
    made = training.folder.model_code / "many"
    began = time.monotonic()
    for directory in range(50):
        (made / str(directory)).mkdir(parents=True)
        for number in range(100):
            os.close(os.open(made / str(directory) / str(number), os.O_CREAT | os.O_WRONLY))
    making = time.monotonic() - began
    training.store()
    storing = time.monotonic() - began - making
    assert len(training.results()) > 5000
    assert storing < 5 * making + 1


def test_steps_killed_at_any_moment_are_finished_by_the_next_run(tmp_path):
    files = {f"d{n % 7}/{n}.txt": f"{n}" for n in range(300)}
    training = Training(tmp_path, files, notebook=True, learners=2)
    steps = [phases.load_model, phases.load_data, phases.store_results, phases.store_logs]
    phases.prepare_job(training.folder, training.spec)
    for learner in (1, 2):
        training.folder.learner(1, learner).mkdir()
        training.folder.log(1, learner).write_text("x")
    for step in steps:
        if step is phases.store_results:
            for n in range(300):
                (training.folder.model_code / f"new{n}").write_text("n")
        for microseconds in (200, 1000, 3000, 8000, 20000, 40000):
            pid = os.fork()
            if pid == 0:
                os._exit(step(training.folder, training.spec))
            time.sleep(microseconds / 1e6)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert step(training.folder, training.spec) == 0
    assert len(list(training.folder.model_code.glob("d*/*.txt"))) == 300
    shipped = json.loads((training.folder.root / "model-code.json").read_text())
    assert set(shipped) == set(files)
    kept = {name for name in training.results() if name.startswith("workdir/")}
    assert kept == {f"workdir/new{n}" for n in range(300)}
    assert not list(tmp_path.rglob("*.ffdl-part"))
