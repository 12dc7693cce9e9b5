"""What the documents show is run: a snippet that fails here would fail for its reader."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from traitlets.config import Config

from jupyter_ffdl import manifest
from jupyter_ffdl.api.app import FfdlApp
from jupyter_ffdl.api.routes import ROUTES
from jupyter_ffdl.api.wire.requests import ClientMessage
from jupyter_ffdl.notebook import options, verbs
from jupyter_ffdl.trainer.service import Trainer
from serving import Server, serving

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(sys.stdin):
    shell.run_cell(cell, store_history=True).raise_error()
"""


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


def cases(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language))
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("docs") / "home") as found:
        yield found


def environment(server: Server, **more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    url = f"http://127.0.0.1:{server.port}/ffdl"
    return {**os.environ, "PATH": path, "FFDL_URL": url, "FFDL_TOKEN": server.token, **more}


@pytest.mark.parametrize("text", cases("yaml"))
def test_a_manifest_is_read_without_a_warning(text: str):
    assert manifest.parse(text).warnings == ()


@pytest.mark.parametrize("text", cases("json"))
def test_a_message_is_one_of_the_protocol(text: str):
    TypeAdapter(ClientMessage).validate_python(json.loads(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_exist_and_take_what_is_shown(page: Path):
    config = Config()
    for text in blocks(page, "python"):
        if text.startswith("c."):
            exec(text, {"c": config})
    for owner, settings in config.items():
        component = {"FfdlApp": FfdlApp, "Trainer": Trainer}[owner]
        for name, value in settings.items():
            trait = component.class_traits(config=True)[name]
            trait._validate(component(), value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_magics_name_options_and_verbs_that_exist(page: Path):
    shown = re.findall(r"`(%ffdl [^`]*|%%?ffdl_train[^`]*|--[^`]*)`", page.read_text("utf-8"))
    known = {*options.BY_FLAG, *(o.flag for verb in verbs.VERBS.values() for o in verb.options)}
    for text in shown:
        assert set(re.findall(r"--[a-z][a-z-]*", text)) <= {*known, *ELSEWHERE}, text
        if found := re.match(r"%ffdl ([a-z]+)", text):
            assert found[1] in verbs.VERBS, text


ELSEWHERE = {"--ip", "--follow", "--no-deps"}
"""Options of other programs, and those that the roadmap says are to come."""


def test_the_readme_says_which_commands_and_routes_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))) <= targets, page.name
    known = {route.path for route in ROUTES}
    paths = re.findall(r"`?/(v1/[a-z_/{}]+[a-z_}])", (ROOT / "docs" / "rest.md").read_text("utf-8"))
    assert paths
    for path in paths:
        assert path in known or path.endswith("stream"), path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_a_notebook_runs_the_cells_of(name: str, server: Server, tmp_path: Path):
    cells = [text for text in blocks(ROOT / name, "python") if not text.startswith("c.")]
    assert any(cell.startswith("%%ffdl_train") for cell in cells)
    done = subprocess.run(
        [sys.executable, "-c", RUN_CELLS],
        input=json.dumps(cells),
        cwd=tmp_path,
        env=environment(server, IPYTHONDIR=str(tmp_path / "ipython")),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_python_page_runs(server: Server, tmp_path: Path):
    (code,) = (text for text in blocks(ROOT / "docs" / "python-api.md", "python"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "count-1 COMPLETED ['counted to 1']",
        "count-2 COMPLETED ['counted to 2']",
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_rest_page_runs(server: Server, tmp_path: Path):
    login, submit, follow = blocks(ROOT / "docs" / "rest.md", "bash")
    assert "FFDL_URL" in login

    def run(script: str, **more: str) -> str:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl --fail-with-body ")],
            cwd=tmp_path,
            env=environment(server, **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    accepted, _ = json.JSONDecoder().raw_decode(run(submit).strip())
    followed = run(follow, ID=accepted["model_id"])
    messages = [json.loads(line) for line in followed.splitlines()]
    assert messages[-1]["type"] == "end"
    assert "hello\n" in "".join(m["text"] for m in messages if m["type"] == "log")
