"""Manifests that the documents show are submitted and run, and shown commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_ffdl.notebook import client
from serving import serving

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

SCRIPT = """
import os
from jupyter_ffdl.scalars import ScalarWriter
with open(os.environ["RESULT_DIR"] + "/seen.txt", "a") as file:
    print(os.environ["DATA_DIR"], file=file)
print("epoch 1 loss=0.5")
ScalarWriter(os.environ["LOG_DIR"] + "/tb").add_scalar("loss", 0.5, 1)
"""

FORMER = ("export", "ffdl")
"""What sets variables, and the original command, which is no part of this project."""


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


def cases(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language))
    ]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    with serving(tmp_path_factory.mktemp("manifests") / "home") as server:
        patch.setenv("FFDL_URL", f"http://127.0.0.1:{server.port}/ffdl")
        patch.setenv("FFDL_TOKEN", server.token)
        yield server
        patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("text", cases("yaml"))
def test_a_manifest_runs_as_shown(text: str, service, tmp_path: Path):
    shared = tmp_path / "shared"
    for bucket in ("digits", "trained"):
        (shared / bucket).mkdir(parents=True)
    model = tmp_path / "model"
    model.mkdir()
    (model / "train.py").write_text(SCRIPT)
    manifest = tmp_path / "manifest.yml"
    manifest.write_text(text.replace("path: /data", f"path: {shared}"))

    training = client.train(manifest, model)

    assert isinstance(training, client.Training)
    assert training.wait(timeout=60) == "COMPLETED", list(training.logs())
    assert "seen.txt" in [file.path for file in training.results.list()]
    assert "epoch 1 loss=0.5" in list(training.logs())
    assert training.scalars()["loss"].value[-1] == 0.5
    training.delete(results=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shown_commands_exist(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in blocks(page, "bash"):
        if "curl" in text:  # run as a whole by test_snippets
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if not words or words[0] in FORMER:
                continue
            if words[0] == "make":
                assert set(words[1:]) <= targets, line
            elif words[0] == "pip":  # test_packaging builds and installs the wheel
                assert words[1:] == ["install", "."], line
            else:
                assert words[:2] == ["jupyter", "ffdl"], line
                _takes(words[2:])


def _takes(arguments: list[str]) -> None:
    """Have the command read its arguments without serving anything."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_ffdl.api.standalone", *arguments, "--show-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "JUPYTER_NO_CONFIG": "1"},
    )
    assert done.returncode == 0, done.stderr
    for word in arguments:
        assert word.startswith("--") or word in done.stdout, done.stdout
