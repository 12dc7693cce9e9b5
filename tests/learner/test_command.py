from __future__ import annotations

import subprocess

import pytest

from jupyter_ffdl.learner.command import accepts, bash_arguments, shell
from jupyter_ffdl.learner.environment import joined


def run(command, kind="line"):
    spec = {"command": command, "script_kind": kind}
    env = {"PATH": "/usr/bin:/bin", "TRAINING_COMMAND": joined(command)}
    return subprocess.run(
        bash_arguments(spec, env), env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "kind", "printed"),
    [
        pytest.param("echo a; echo b", "line", "a\nb\n", id="several commands"),
        pytest.param("X=1 printenv X", "line", "1\n", id="a variable as prefix"),
        pytest.param("if true; then echo yes; fi", "line", "yes\n", id="an if"),
        pytest.param("echo a\n  --flag", "line", "a --flag\n", id="continued lines are joined"),
        pytest.param("# a comment\necho b\n", "script", "b\n", id="comments of a script"),
        pytest.param("if true\nthen\n  echo c\nfi", "script", "c\n", id="blocks of a script"),
        pytest.param("[[ a == a ]] && echo \"d 'e'\"", "line", "d 'e'\n", id="bash and quotes"),
    ],
)
def test_a_command_runs_as_it_was_meant(command, kind, printed):
    assert run(command, kind).stdout == printed


def test_a_commands_exit_code_is_its_own():
    assert run("exit 3").returncode == 3
    assert run("false\nexit 4", "script").returncode == 4


@pytest.mark.parametrize(
    ("script", "accepted"),
    [("echo a\necho b", True), ("if true; then", False), ("echo 'open", False), ("", True)],
)
def test_a_script_is_parsed_without_running_it(script, accepted, tmp_path):
    assert accepts(f"touch {tmp_path}/ran\n{script}") is accepted
    assert not (tmp_path / "ran").exists()


def test_bash_is_found_in_its_usual_places_whatever_the_path():
    assert shell("").endswith("/bash")
