from __future__ import annotations

import os
import re
import stat

from jupyter_ffdl.learner import header as headers

ENV = {
    "DATA_DIR": "/mnt/data/in",
    "MODEL_DIR": "/job/model-code",
    "RESULT_DIR": "/mnt/results/out/training-abc",
    "LOG_DIR": "/job/logs",
    "TRAINING_COMMAND": "python train.py",
    "HF_TOKEN": "s3cret",
    "WORD": "hidden",
    "GPU_COUNT": "0.000000",
    "LEARNER_ID": "1",
    "LEARNER_NAME_PREFIX": "learner-x",
}


def lines(tmp_path, **spec):
    for name in ("model", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text("x")
    text = headers.header(
        {"framework_name": "custom", "learners": 2, **spec},
        ENV,
        tmp_path / "model",
        tmp_path / "data",
        secrets={"WORD"},
    )
    return text.decode().splitlines()


def test_the_lines_come_in_the_order_of_the_old_train_script(tmp_path):
    found = lines(tmp_path)
    assert found[:9] == [
        "Initiating job",
        "Training with training/test data at:",
        "  DATA_DIR: /mnt/data/in",
        "  MODEL_DIR: /job/model-code",
        "  TRAINING_JOB: ",
        "  TRAINING_COMMAND: python train.py",
        "Storing trained model at:",
        "  RESULT_DIR: /mnt/results/out/training-abc",
        "Contents of $MODEL_DIR",
    ]
    second = found.index("Contents of $DATA_DIR")
    assert found[9].startswith("total ")
    assert found[second - 1].endswith(" model.txt")
    assert re.fullmatch(r"-rw\S+ 1 \S+ +\S+ +1 .{12} data\.txt", found[second + 4])
    assert found[second + 5 : -1] == sorted(
        f"{name}={'****' if name in {'HF_TOKEN', 'WORD'} else value}" for name, value in ENV.items()
    )
    assert re.fullmatch(
        r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}: Running training job", found[-1]
    )


def test_mpi_frameworks_print_their_own_names(tmp_path):
    assert lines(tmp_path, framework_name="horovod")[2:12] == [
        "  DATA_DIR: /mnt/data/in",
        "  MODEL_DIR: /job/model-code",
        "  RESULT_DIR: /mnt/results/out/training-abc",
        "  LOG_DIR: /job/logs",
        "  TRAINING_COMMAND: python train.py",
        "  GPUs per Learner: 0.000000",
        "  LEARNER_ID: 1",
        "  LEARNER_NAME_PREFIX:: learner-x",
        "Num learners: 2",
        "Contents of $MODEL_DIR",
    ]


def test_a_listing_ends_after_its_limit_and_says_so(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}").touch()
    found = list(headers.listing(tmp_path, limit=10))
    assert [line.split()[-1] for line in found[1:-1]] == [
        ".",
        "..",
        *(f"{n:02}" for n in range(10)),
    ]
    assert found[-1] == "… and 20 more"


def test_a_listing_shows_modes_and_links(tmp_path):
    (tmp_path / "run.sh").touch()
    (tmp_path / "run.sh").chmod(stat.S_IRWXU)
    (tmp_path / "link").symlink_to("run.sh")
    os.utime(tmp_path / "run.sh", (0, 0))
    shown = "\n".join(headers.listing(tmp_path))
    assert re.search(r"^-rwx------ .* 19(70|69) run\.sh$", shown, re.MULTILINE)
    assert re.search(r"^lrwxrwxrwx .* link -> run\.sh$", shown, re.MULTILINE)


def test_a_directory_that_is_not_there_is_said_so(tmp_path):
    assert list(headers.listing(tmp_path / "no")) == [
        f"ls: cannot access '{tmp_path}/no': No such file or directory"
    ]


def test_the_footer_tells_how_it_ended():
    assert headers.footer(0) == b"Training process finished. Exit code: 0\n"
    assert headers.footer(3).decode().splitlines() == [
        "Training process finished. Exit code: 3",
        "Job exited with error code 3",
        "Failed: learner_exit_code: 3",
    ]
    assert headers.footer(2, mpi=True).splitlines()[1] == b"MPI test exited with an error code 2"
    assert headers.footer(143, halted=True).splitlines()[-1] == b"Halted: user requests halt job"
