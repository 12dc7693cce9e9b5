"""What a user's ``pip install`` gives: built without Node, enabled without a further command."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jupyter_ffdl

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
SUBMIT = """
import jupyter_ffdl

training = jupyter_ffdl.train("train.py", name="smoke")
print(training.wait(timeout=60))
print(*training.logs(), sep="\\n")
"""
# One group for xdist: the wheel is built and installed once.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("packaging")]


def run(*command: str | Path, path: str, cwd: Path = ROOT, **settings: str) -> str:
    environment = {**os.environ, **settings, "PATH": path}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def without_node(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with the system's tools but neither Node nor this environment."""
    tools = tmp_path_factory.mktemp("tools")
    for name in ("git", "sh", "uname"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    assert shutil.which("node", path=str(tools)) is None
    return str(tools)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, without_node: str) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    # `uv build` without a choice makes the wheel from the sdist, as an installer would.
    run(UV, "build", "--quiet", "--python", sys.executable, "--out-dir", folder, *pins(), ROOT,
        path=without_node)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, built: Path, without_node: str) -> Path:
    """The ``bin`` folder of an environment that holds the wheel and what it depends on."""
    venv = tmp_path_factory.mktemp("venv")
    (wheel,) = built.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, venv, path=without_node)
    run(UV, "pip", "install", "--quiet", "-p", venv / "bin" / "python", *pins("-c"), wheel,
        path=without_node)  # fmt: skip
    return venv / "bin"


def pins(option: str = "--build-constraints") -> list[str]:
    # The pins were resolved for 3.11 and newer.
    return [option, str(ROOT / "constraints.txt")] if sys.version_info >= (3, 11) else []


def test_all_places_that_name_the_version_agree() -> None:
    version = json.loads((ROOT / "package.json").read_text())["version"]
    bundled = json.loads((ROOT / "labextension" / "package.json").read_text())["version"]
    assert {version, bundled, jupyter_ffdl.__version__} == {version}


def test_the_wheel_holds_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "jupyter_ffdl"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    tracked = {name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()}
    assert tracked - held == set()


def test_installing_the_wheel_enables_both_halves(installed: Path, without_node: str) -> None:
    path = f"{installed}{os.pathsep}{without_node}"
    lab = run(installed / "jupyter", "labextension", "list", "--verbose", path=path)
    assert "jupyter-ffdl v" + jupyter_ffdl.__version__ in lab
    assert "(python, jupyter-ffdl)" in lab
    server = run(installed / "jupyter", "server", "extension", "list", path=path)
    assert f"jupyter_ffdl {jupyter_ffdl.__version__}" in server
    assert "could not be found" not in server


def test_jupyter_knows_us_as_a_subcommand(installed: Path, without_node: str) -> None:
    path = f"{installed}{os.pathsep}{without_node}"
    assert "ffdl" in run(installed / "jupyter", "ffdl", "--help", path=path)


def test_a_training_runs_where_only_the_wheel_is(
    installed: Path, without_node: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print('loss', 1 / 4)\n")
    (tmp_path / "submit.py").write_text(SUBMIT)
    homes = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    try:
        said = run(
            installed / "python",
            "submit.py",
            path=f"{installed}{os.pathsep}{without_node}",
            cwd=tmp_path,
            **{name: str(tmp_path / name) for name in homes},
        )
    finally:
        for note in (tmp_path / "JUPYTER_RUNTIME_DIR").glob("ffdl-server-*.json"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(note.read_text())["pid"], signal.SIGTERM)
    assert "COMPLETED" in said
    assert "loss 0.25" in said
