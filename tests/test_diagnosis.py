"""What was observed on the left, what a person reads on the right."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.diagnosis import Observation, diagnose, first_to_fail

GIB = 1 << 30
CELL = {"cell_id": "c0ffee", "execution_count": 5, "notebook": "digits.ipynb", "first_line": 11}
SCRIPT = "\n".join(f"line_{number} = x" for number in range(1, 31))


def log(text: str) -> bytes:
    return textwrap.dedent(text).encode()


def raised(error: str, line: int = 13, file: str = "/job/model-code/train.py") -> bytes:
    return f"""\
epoch 1/3
Traceback (most recent call last):
  File "{file}", line {line}, in <module>
    step(batch)
  File "/opt/venv/lib/python3.11/site-packages/torch/nn/functional.py", line 2343, in linear
    return torch._C._nn.linear(input, weight, bias)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
{error}
""".encode()


def seen(**given: object) -> Observation:
    return replace(
        Observation(
            exit_code=1,
            model_dir="/job/model-code",
            source=lambda name: SCRIPT if name == "train.py" else None,
            beside=lambda path: path in ("data.csv", "helpers.py"),
            notebook=True,
            source_map={"train.py": CELL},
        ),
        **given,
    )


@pytest.mark.parametrize(
    ("error", "cause", "sentence", "remedy"),
    [
        pytest.param(
            "ValueError: shapes (64,10) and (64,) not aligned: 10 (dim 1) != 64 (dim 0)",
            "shape_mismatch",
            "ValueError in Cell [5], line 3: shapes (64,10) and (64,) not aligned",
            "Compare the shapes",
            id="numpy shapes",
        ),
        pytest.param(
            "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x10 and 64x1)",
            "shape_mismatch",
            "RuntimeError in Cell [5], line 3: mat1 and mat2",
            "Compare the shapes",
            id="torch shapes",
        ),
        pytest.param(
            "ValueError: operands could not be broadcast together with shapes (3,) (4,) ",
            "shape_mismatch",
            "ValueError in Cell [5], line 3: operands",
            "Compare the shapes",
            id="broadcasting",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'torchvision'",
            "missing_module",
            "ModuleNotFoundError in Cell [5], line 3: No module named 'torchvision'",
            "pip install torchvision",
            id="a package that is missing",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'sklearn.linear_model'; 'sklearn' is no package",
            "missing_module",
            "ModuleNotFoundError in Cell [5], line 3",
            "pip install scikit-learn",
            id="a package under another name",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'helpers'",
            "missing_module",
            "ModuleNotFoundError in Cell [5], line 3",
            "--with helpers.py",
            id="a module beside the notebook",
        ),
        pytest.param(
            "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'",
            "missing_file",
            "FileNotFoundError in Cell [5], line 3: [Errno 2] No such file or directory: 'data.",
            "--with data.csv",
            id="a file beside the notebook",
        ),
        pytest.param(
            "FileNotFoundError: [Errno 2] No such file or directory: '/data/x.csv'",
            "missing_file",
            "FileNotFoundError in Cell [5], line 3",
            "DATA_DIR",
            id="a file that is nowhere",
        ),
        pytest.param(
            "NameError: name 'df' is not defined",
            "undefined_name",
            "NameError in Cell [5], line 3: name 'df' is not defined",
            "Define df in the code that is shipped",
            id="a name of the kernel",
        ),
        pytest.param(
            "NameError: name 'np' is not defined. Did you forget to import 'np'?",
            "undefined_name",
            "NameError in Cell [5], line 3: name 'np' is not defined",
            "Define np",
            id="a name with a hint",
        ),
        pytest.param(
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; "
            "7.79 GiB total capacity; 6.18 GiB already allocated)",
            "gpu_out_of_memory",
            "GPU out of memory in Cell [5], line 3: tried to allocate 20.00 MiB",
            "smaller batch",
            id="torch 2 out of GPU memory",
        ),
        pytest.param(
            "RuntimeError: CUDA out of memory. Tried to allocate 1.50 GiB (GPU 0; 15.90 GiB total)",
            "gpu_out_of_memory",
            "GPU out of memory in Cell [5], line 3: tried to allocate 1.50 GiB",
            "smaller batch",
            id="torch 1 out of GPU memory",
        ),
        pytest.param(
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating "
            "tensor with shape[1024,4096] and type float on /job:localhost/device:GPU:0",
            "gpu_out_of_memory",
            "GPU out of memory in Cell [5], line 3: no room for [1024,4096]",
            "smaller batch",
            id="TensorFlow out of GPU memory",
        ),
        pytest.param(
            "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying "
            "to allocate 8589934592 bytes.",
            "gpu_out_of_memory",
            "GPU out of memory in Cell [5], line 3: RESOURCE_EXHAUSTED",
            "smaller batch",
            id="JAX out of GPU memory",
        ),
        pytest.param(
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array",
            "memory_error",
            "Out of memory in Cell [5], line 3: Unable to allocate 74.5 GiB",
            "memory: 8Gb → 16Gb",
            id="an array too large",
        ),
        pytest.param(
            "MemoryError", "memory_error", "Out of memory in Cell [5], line 3", "16Gb", id="memory"
        ),
        pytest.param(
            "RuntimeError: CUDA error: device-side assert triggered",
            "gpu_assert",
            "RuntimeError in Cell [5], line 3: CUDA error",
            "CUDA_LAUNCH_BLOCKING=1",
            id="an assert on the GPU",
        ),
        pytest.param(
            "RuntimeError: Found no NVIDIA driver on your system.",
            "no_gpu",
            "RuntimeError in Cell [5], line 3: Found no NVIDIA driver",
            "--gpus 1",
            id="no GPU",
        ),
        pytest.param(
            "AssertionError: Torch not compiled with CUDA enabled",
            "no_gpu",
            "AssertionError in Cell [5], line 3: Torch not compiled",
            "--gpus 1",
            id="a build without CUDA",
        ),
        pytest.param(
            "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. It is "
            "possible that dataloader's workers are out of shared memory.",
            "shared_memory",
            "RuntimeError in Cell [5], line 3: DataLoader worker",
            "num_workers=0",
            id="shared memory",
        ),
        pytest.param(
            "OSError: [Errno 28] No space left on device: 'model.bin'",
            "disk_full",
            "Disk full in Cell [5], line 3",
            "Free some room",
            id="disk full",
        ),
        pytest.param(
            "OSError: [Errno 24] Too many open files: 'a'",
            "too_many_files",
            "OSError in Cell [5], line 3",
            "Close files",
            id="too many files",
        ),
        pytest.param(
            "PermissionError: [Errno 13] Permission denied: '/data/out'",
            "permission_denied",
            "PermissionError in Cell [5], line 3",
            "RESULT_DIR",
            id="permission",
        ),
        pytest.param(
            "ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory",
            "missing_library",
            "ImportError in Cell [5], line 3: libcudnn.so.8",
            "libcudnn.so.8 is missing",
            id="a shared library",
        ),
        pytest.param(
            "EOFError: EOF when reading a line",
            "no_stdin",
            "EOFError in Cell [5], line 3: input() has nobody to ask: a training has no stdin",
            "--param",
            id="input()",
        ),
        pytest.param(
            "AssertionError",
            "assertion",
            "AssertionError in Cell [5], line 3: step(batch)",
            None,
            id="an assertion without words shows itself",
        ),
        pytest.param(
            "KeyError: 'label'",
            "exception",
            "KeyError in Cell [5], line 3: 'label'",
            None,
            id="no rule",
        ),
        pytest.param(
            "__main__.Diverged: after 3 epochs",
            "exception",
            "Diverged in Cell [5], line 3: after 3 epochs",
            None,
            id="the user's own",
        ),
        pytest.param(
            "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolu>",
            "network",
            "URLError in Cell [5], line 3: <urlopen error",
            "network or a proxy",
            id="no network",
        ),
        pytest.param(
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='a', port=443): Max",
            "network",
            "ConnectionError in Cell [5], line 3",
            "network or a proxy",
            id="requests",
        ),
        pytest.param(
            "ValueError: Input contains NaN.",
            "nan",
            "ValueError in Cell [5], line 3: Input contains NaN.",
            "learning rate",
            id="NaN",
        ),
        pytest.param(
            "RecursionError: maximum recursion depth exceeded",
            "recursion",
            "RecursionError in Cell [5], line 3",
            "calls itself",
            id="recursion",
        ),
        pytest.param(
            "OSError: [Errno 98] Address already in use",
            "address_in_use",
            "OSError in Cell [5], line 3",
            "MASTER_PORT",
            id="a port",
        ),
    ],
)
def test_an_exception_has_a_cause_a_place_and_a_remedy(error, cause, sentence, remedy):
    verdict = diagnose(seen(log_tail=raised(error), memory_limit_bytes=8 * 1000 * (1 << 20)))
    assert (verdict.code, verdict.cause) == ("C201", cause)
    assert verdict.sentence.startswith(sentence)
    if remedy is None:
        assert verdict.remedy is None
    else:
        assert verdict.remedy is not None
        assert remedy in verdict.remedy.text


def test_in_a_script_the_file_is_named():
    verdict = diagnose(seen(log_tail=raised("ValueError: bad"), source_map={}, notebook=False))
    assert verdict.sentence == "ValueError in train.py, line 13: bad"
    verdict = diagnose(seen(log_tail=raised("NameError: name 'x' is not defined"), notebook=False))
    assert verdict.remedy.option == ""


def test_the_failing_line_is_shown_with_two_on_each_side_and_none_of_another_cell():
    verdict = diagnose(seen(log_tail=raised("ValueError: bad")))
    assert [(line.line, line.text, line.failing) for line in verdict.source] == [
        (1, "line_11 = x", False),
        (2, "line_12 = x", False),
        (3, "line_13 = x", True),
        (4, "line_14 = x", False),
        (5, "line_15 = x", False),
    ]
    first = diagnose(seen(log_tail=raised("ValueError: bad", line=11)))
    assert [line.line for line in first.source] == [1, 2, 3]
    before = diagnose(seen(log_tail=raised("ValueError: bad", line=4)))
    assert before.where.cell is None
    assert before.sentence == "ValueError in train.py, line 4: bad"


def test_a_file_of_several_cells_names_the_right_one():
    cells = [{**CELL, "first_line": 1, "execution_count": 2}, {**CELL, "first_line": 9}]
    verdict = diagnose(seen(log_tail=raised("ValueError: bad"), source_map={"train.py": cells}))
    assert verdict.sentence == "ValueError in Cell [5], line 5: bad"
    verdict = diagnose(seen(log_tail=raised("ValueError: x", 8), source_map={"train.py": cells}))
    assert verdict.sentence == "ValueError in Cell [2], line 8: x"


def test_frames_of_libraries_are_folded():
    verdict = diagnose(seen(log_tail=raised("ValueError: bad")))
    mine, torch = verdict.traceback
    assert (mine["file"], mine["line"], mine["folded"]) == ("train.py", 3, False)
    assert torch["folded"]


@pytest.mark.parametrize(
    ("given", "cause", "sentence"),
    [
        pytest.param(
            {"killed_by": "memory", "memory_limit_bytes": GIB, "peak_memory_bytes": GIB},
            "out_of_memory",
            "Out of memory: used 1.00 GiB of 1.00 GiB. Ask for more",
            id="over its memory",
        ),
        pytest.param(
            {"exit_code": 137, "memory_limit_bytes": GIB, "peak_memory_bytes": GIB - 4096},
            "out_of_memory",
            "Out of memory: used 1.00 GiB of 1.00 GiB. Ask for more",
            id="the kernel was faster",
        ),
        pytest.param(
            {"killed_by": "max_runtime", "max_runtime_seconds": 5400, "exit_code": 143},
            "max_runtime",
            "Stopped after its longest run time of 90m",
            id="max_runtime",
        ),
        pytest.param(
            {"killed_by": "halt", "halted_by": "ada", "exit_code": 143},
            "halted",
            "Halted by ada",
            id="halted",
        ),
        pytest.param(
            {"lost": "the machine was stopped", "exit_code": None},
            "lost",
            "Lost: the machine was stopped",
            id="lost",
        ),
        pytest.param(
            {"exit_code": 137},
            "signal",
            "Ended by SIGKILL: killed from outside",
            id="killed from outside",
        ),
        pytest.param(
            {"exit_code": -9},
            "signal",
            "Ended by SIGKILL: killed from outside",
            id="as Python says",
        ),
        pytest.param(
            {"exit_code": 143}, "signal", "Ended by SIGTERM: asked to end from outside", id="TERM"
        ),
        pytest.param(
            {"signal": 24, "exit_code": 152},
            "signal",
            "Ended by SIGXCPU: the limit on processor time was reached",
            id="XCPU",
        ),
        pytest.param(
            {"exit_code": 135, "disk_full": True},
            "signal",
            "Ended by SIGBUS: the disk is full",
            id="a mapped file on a full disk",
        ),
        pytest.param(
            {
                "exit_code": 134,
                "log_tail": b"terminate called after throwing an instance of 'std::runtime_error'\n"
                b"  what():  NCCL error\nbash: line 1: 12 Aborted (core dumped) python a.py\n",
            },
            "signal",
            "Ended by SIGABRT: aborted: NCCL error",
            id="a C++ exception",
        ),
        pytest.param(
            {
                "exit_code": 134,
                "log_tail": b"terminate called after throwing an instance of 'std::bad_alloc'\n"
                b"  what():  std::bad_alloc\n",
            },
            "memory_error",
            "Out of memory: std::bad_alloc",
            id="C++ out of memory",
        ),
        pytest.param(
            {"exit_code": 134, "log_tail": b"double free or corruption (out)\nAborted\n"},
            "signal",
            "Ended by SIGABRT: aborted: double free or corruption (out)",
            id="glibc",
        ),
        pytest.param(
            {"exit_code": 127, "log_tail": b"bash: line 1: pyhton: command not found\n"},
            "command_not_found",
            "Command not found: pyhton",
            id="bash",
        ),
        pytest.param(
            {"exit_code": 127, "log_tail": b"sh: 1: pyhton: not found\n"},
            "command_not_found",
            "Command not found: pyhton",
            id="dash",
        ),
        pytest.param(
            {"exit_code": 127, "log_tail": b"bash: ./nope.sh: No such file or directory\n"},
            "command_not_found",
            "Command not found: ./nope.sh",
            id="a script that is not there",
        ),
        pytest.param(
            {"exit_code": 126, "log_tail": b"bash: ./train.py: Permission denied\n"},
            "not_executable",
            "Cannot execute ./train.py: Permission denied",
            id="no x bit",
        ),
        pytest.param(
            {
                "exit_code": 127,
                "log_tail": b"bash: ./a.sh: cannot execute: required file not found\n",
            },
            "not_executable",
            "Cannot execute ./a.sh: cannot execute: required file not found",
            id="no interpreter",
        ),
        pytest.param(
            {
                "exit_code": 2,
                "log_tail": b"python: can't open file '/job/model-code/tain.py': [Errno 2] No such "
                b"file or directory\n",
            },
            "missing_file",
            "There is no tain.py to run",
            id="no such script",
        ),
        pytest.param(
            {"log_tail": b"/usr/bin/python3: No module named nomod\n"},
            "missing_module",
            "ModuleNotFoundError: No module named 'nomod'",
            id="python -m",
        ),
        pytest.param(
            {
                "log_tail": b"/usr/bin/python3: Error while finding module specification for "
                b"'torch.distributed.run' (ModuleNotFoundError: No module named 'torch')\n"
            },
            "missing_module",
            "ModuleNotFoundError: No module named 'torch'",
            id="python -m a.b",
        ),
        pytest.param(
            {
                "exit_code": 2,
                "log_tail": b"usage: train.py [-h] --data DATA\n"
                b"train.py: error: the following arguments are required: --data\n",
            },
            "exit",
            "Exited with code 2: train.py: error: the following arguments are required: --data",
            id="argparse",
        ),
        pytest.param(
            {"exit_code": 3}, "unknown", "Cause not identified (exit code 3)", id="nothing"
        ),
        pytest.param(
            {"exit_code": 255}, "unknown", "Cause not identified (exit code 255)", id="-1"
        ),
        pytest.param(
            {"disk_full": True, "exit_code": 3}, "disk_full", "The disk is full", id="full disk"
        ),
        pytest.param(
            {"step": "load-model", "log_tail": b"bad zip\n"},
            "step",
            "The code could not be unpacked: bad zip",
            id="load-model",
        ),
        pytest.param(
            {"step": "store-results", "disk_full": True},
            "disk_full",
            "The results could not be stored: the disk is full",
            id="store-results",
        ),
        pytest.param({"exit_code": 0}, "completed", "Completed", id="success"),
        pytest.param(
            {"learner": 2, "learners": 3, "log_tail": raised("ValueError: bad")},
            "exception",
            "Learner 2: ValueError in Cell [5], line 3: bad",
            id="one of several",
        ),
        pytest.param(
            {"killed_by": "gang", "failed_learner": 2, "learner": 1, "learners": 3},
            "gang",
            "Learner 1: Ended because learner 2 failed",
            id="the others",
        ),
    ],
)
def test_every_end_has_a_name(given, cause, sentence):
    verdict = diagnose(seen(**given))
    assert (verdict.cause, verdict.sentence) == (cause, sentence)
    assert set(verdict.to_json()["evidence"]) >= {"exit_code", "signal", "last_lines"}


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        pytest.param(GIB, "2Gi", id="gibibytes stay such"),
        pytest.param(4 * 1000 * (1 << 20), "8Gb", id="FfDL's gigabytes stay such"),
        pytest.param(300 * (1 << 20), "600MB", id="small ones are megabytes"),
        pytest.param(1_125_897_994, "3Gb", id="odd ones are rounded up"),
    ],
)
def test_twice_the_memory_is_proposed_in_the_manifests_own_units(limit, value):
    remedy = diagnose(seen(killed_by="memory", memory_limit_bytes=limit)).remedy
    assert (remedy.option, remedy.value) == ("--memory", value)


def test_a_crash_shows_the_line_that_called_into_the_library():
    faults = """\
Fatal Python error: Segmentation fault

Thread 0x00007f4bfe (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x00007f4bfebfab80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/job/model-code/train.py", line 13 in crash
  File "/job/model-code/train.py", line 20 in <module>

Extension modules: numpy._core (total: 1)
"""
    verdict = diagnose(seen(exit_code=139, faults=faults))
    assert verdict.sentence == "Ended by SIGSEGV in Cell [5], line 3: segmentation fault"
    assert verdict.where.function == "crash"
    in_log = diagnose(seen(exit_code=139, log_tail=b"epoch 1\n" + faults.encode()))
    assert in_log.sentence == verdict.sentence


# The hook's records


def record(**given: object) -> dict[str, object]:
    frame = {"file": "/job/model-code/train.py", "line": 13, "name": "<module>", "user": True}
    return {
        "time": 1,
        "pid": 10,
        "kind": "main",
        "type": "ValueError",
        "message": "bad",
        "frames": [{**frame, "text": "y = x @ w"}],
        "chain": [],
        "shapes": [],
        **given,
    }


def test_the_hooks_record_is_better_than_the_log():
    verdict = diagnose(seen(exceptions=[record()], log_tail=raised("KeyError: 1", line=20)))
    assert verdict.sentence == "ValueError in Cell [5], line 3: bad"


def test_shapes_are_shown_and_told():
    shapes = [
        {"name": "x", "type": "numpy.ndarray", "dtype": "float32", "shape": [64, 10], "len": None},
        {"name": "w", "type": "numpy.ndarray", "dtype": "float32", "shape": [64], "len": None},
    ]
    message = "matmul: Input operand 1 has a mismatch in its core dimension 0"
    verdict = diagnose(seen(exceptions=[record(message=message, shapes=shapes)]))
    assert verdict.to_json()["shapes"] == shapes
    assert verdict.remedy.text == "Compare the shapes on that line: x is (64, 10), w is (64,)"


@pytest.mark.parametrize(
    ("records", "type_"),
    [
        pytest.param(
            [record(type="KeyError", time=1), record(type="ValueError", time=2)],
            "ValueError",
            id="the last of a main program ended it",
        ),
        pytest.param(
            [record(type="KeyError", kind="thread", time=3), record(type="ValueError", time=2)],
            "ValueError",
            id="a main program counts more than a thread",
        ),
        pytest.param(
            [record(type="KeyError", kind="child", pid=11, time=1)],
            "KeyError",
            id="a child counts if there is nothing else",
        ),
        pytest.param(
            [
                record(type="KeyError", pid=11, time=1),
                record(type="IndexError", pid=12, time=2),
                record(
                    type="torch.distributed.elastic.multiprocessing.errors.ChildFailedError", time=3
                ),
            ],
            "KeyError",
            id="a launcher only passes on",
        ),
        pytest.param(
            [{"type": None}, {}, record(type="KeyError")],
            "KeyError",
            id="broken records are skipped",
        ),
    ],
)
def test_of_several_records_the_one_that_ended_the_learner_counts(records, type_):
    assert diagnose(seen(exceptions=records)).sentence.startswith(f"{type_} in Cell [5]")


def test_a_message_that_quotes_a_traceback_is_opened():
    message = """\
Caught KeyError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/opt/lib/python3.11/site-packages/torch/utils/data/_utils/worker.py", line 308, in _loop
    data = fetcher.fetch(index)
  File "/job/model-code/train.py", line 14, in __getitem__
    return self.rows[index]
KeyError: 7
"""
    verdict = diagnose(seen(exceptions=[record(type="KeyError", message=message)]))
    assert verdict.sentence == "KeyError in Cell [5], line 4: 7"
    assert verdict.where.function == "__getitem__"


def test_a_pools_worker_is_found_behind_the_waiting_line():
    remote = """\
Traceback (most recent call last):
  File "/usr/lib/python3.11/multiprocessing/pool.py", line 125, in worker
    result = (True, func(*args, **kwds))
  File "/job/model-code/train.py", line 15, in work
    return 1 / n
ZeroDivisionError: division by zero
"""
    remote = f'"""\n{remote}"""'
    link = {"relation": "cause", "type": "multiprocessing.pool.RemoteTraceback", "message": remote}
    verdict = diagnose(
        seen(exceptions=[record(type="ZeroDivisionError", message="division", chain=[link])])
    )
    assert verdict.sentence == "ZeroDivisionError in Cell [5], line 5: division"


def test_a_group_is_told_by_its_first_member():
    chain = [
        {"relation": "group", "type": "IndexError", "message": "no row", "line": 14,
         "file": "/job/model-code/train.py"},
        {"relation": "group", "type": "KeyError", "message": "'a'"},
    ]  # fmt: skip
    verdict = diagnose(seen(exceptions=[record(type="ExceptionGroup", chain=chain)]))
    assert verdict.sentence == "IndexError in Cell [5], line 4: no row (and 1 more)"


def test_a_traceback_that_the_program_survived_is_not_the_cause():
    survived = raised("ValueError: tried") + b"".join(b"epoch %d\n" % n for n in range(30))
    verdict = diagnose(seen(exit_code=4, hooked=True, log_tail=survived))
    assert verdict.sentence == "Exited with code 4: epoch 29"


def test_nan_before_the_end_is_said():
    verdict = diagnose(seen(exit_code=3, nan=("loss", 812), log_tail=b"diverged\n"))
    assert verdict.remedy.text.startswith("loss became NaN at step 812")


def test_the_first_learner_to_fail_is_found():
    ends = [
        seen(learner=1, ended=5, killed_by="gang", exit_code=143),
        seen(learner=2, ended=4),
        seen(learner=3, ended=3, exit_code=0),
        seen(learner=4, ended=6),
    ]
    assert first_to_fail(ends).learner == 2
    assert first_to_fail(ends[2:3]) is None


@given(
    exit_code=st.one_of(st.none(), st.integers(-70, 300)),
    tail=st.binary(max_size=300),
    killed_by=st.sampled_from([None, "memory", "halt", "max_runtime", "gang"]),
    exceptions=st.lists(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), max_size=2),
)
def test_whatever_was_seen_there_is_a_verdict_of_one_line(exit_code, tail, killed_by, exceptions):
    verdict = diagnose(
        Observation(exit_code=exit_code, log_tail=tail, killed_by=killed_by, exceptions=exceptions)
    )
    assert verdict.sentence
    assert "\n" not in verdict.sentence
    assert len(verdict.sentence) < 400


def test_a_real_program_is_diagnosed_from_its_own_traceback(tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(
        "import json\n\n\ndef load(text):\n    return json.loads(text)\n\nload('{')\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, check=False, timeout=60
    )
    verdict = diagnose(
        Observation(
            exit_code=ended.returncode,
            log_tail=ended.stderr,
            model_dir=str(tmp_path),
            source=lambda name: (tmp_path / name).read_text(),
        )
    )
    assert verdict.sentence.startswith("JSONDecodeError in train.py, line 5: Expecting")
    assert verdict.where.function == "load"
