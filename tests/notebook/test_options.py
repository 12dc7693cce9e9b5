"""The table of options: of the magics, of ``train()``, their help and completion."""

from __future__ import annotations

import pytest

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.notebook.options import (
    BY_KEYWORD,
    TRAIN,
    complete,
    help_text,
    keywords,
    literal,
    parse,
)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        pytest.param("", {}, id="nothing is an option"),
        pytest.param("--gpus 1 --name=mnist", {"gpus": 1, "name": "mnist"}, id="both spellings"),
        pytest.param('--name "two words"', {"name": "two words"}, id="quotes hold words together"),
        pytest.param(
            "--param lr=0.1 --param n=3 --param s=adam",
            {"param": {"lr": 0.1, "n": 3, "s": "adam"}},
            id="parameters are typed and collected",
        ),
        pytest.param("--param lr=1 --param lr=2", {"param": {"lr": 2}}, id="the last one counts"),
        pytest.param(
            "--env A=1 --env B", {"env": {"A": "1", "B": None}}, id="a value, or the kernel's"
        ),
        pytest.param("--env A=", {"env": {"A": ""}}, id="an empty value is one"),
        pytest.param("--with a.csv --with b", {"files": ["a.csv", "b"]}, id="files are collected"),
        pytest.param("--max-runtime 90m", {"max_runtime": "90m"}, id="a duration keeps its unit"),
        pytest.param("--max-runtime 90", {"max_runtime": 90}, id="bare seconds"),
        pytest.param("--timeout 2m --wait", {"timeout": 120.0, "wait": True}, id="a switch"),
        pytest.param("--cpus 0.5", {"cpus": 0.5}, id="a fraction of a core"),
        pytest.param("--memory 4Gb", {"memory": "4Gb"}, id="a size"),
        pytest.param(
            "--framework pytorch:2.8",
            {"framework": {"name": "pytorch", "version": "2.8"}},
            id="a framework with its version",
        ),
        pytest.param("--as t", {"as": "t"}, id="a name to bind"),
    ],
)
def test_a_line_says_what_it_says(line, values):
    assert parse(line).values == values


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("--gpu 1", ["--gpu", "--gpus"], id="a misspelt option names the right one"),
        pytest.param("--gpus two", ["--gpus two", "whole number", "--gpus 1"], id="no number"),
        pytest.param("--gpus -1", ["--gpus -1", "whole number"], id="below zero"),
        pytest.param("--learners 0", ["--learners 0", "from 1"], id="no learner"),
        pytest.param("--cpus nan", ["--cpus nan"], id="a number that is none"),
        pytest.param("--memory 4", ["--memory 4", "unit", "4Gb"], id="a size without its unit"),
        pytest.param("--max-runtime soon", ["--max-runtime soon", "90m"], id="no duration"),
        pytest.param("--max-runtime 0", ["--max-runtime 0"], id="no time at all"),
        pytest.param("--param lr", ["--param lr", "K=V", "lr=0.1"], id="no assignment"),
        pytest.param("--param 1x=2", ["1x", "Python name"], id="no Python name"),
        pytest.param("--param class=2", ["class", "Python name"], id="a Python word"),
        pytest.param("--framework torch", ["torch", "pytorch"], id="an unknown framework"),
        pytest.param("--cells all", ["--cells all", "this"], id="cells that do not go yet"),
        pytest.param("--backend moon", ["--backend moon", "local"], id="an unknown backend"),
        pytest.param("--name", ["--name needs a value"], id="a value is missing"),
        pytest.param("--wait=1", ["--wait takes no value"], id="a switch with a value"),
        pytest.param('--name "open', ["quotes"], id="open quotes"),
        pytest.param("--as 1", ["--as 1", "Python name"], id="not a name to bind"),
        pytest.param("--env 'A B=1'", ["A B", "variable"], id="not the name of a variable"),
    ],
)
def test_what_cannot_be_understood_names_option_value_and_remedy(line, words):
    with pytest.raises(BadInput) as error:
        parse(line)
    said = str(error.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_a_secret_typed_by_mistake_is_not_repeated():
    with pytest.raises(BadInput) as error:
        parse("--secret HF_TOKEN=hf_abcdef")
    assert "hf_abcdef" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("0.1", 0.1, id="float"),
        pytest.param("3", 3, id="integer"),
        pytest.param("1e-3", 1e-3, id="exponent"),
        pytest.param("inf", float("inf"), id="infinity"),
        pytest.param("True", True, id="truth"),
        pytest.param("None", None, id="nothing"),
        pytest.param("[1, 2]", [1, 2], id="list"),
        pytest.param("adam", "adam", id="a word"),
        pytest.param("'3'", "3", id="quoted"),
        pytest.param("__import__('os')", "__import__('os')", id="code is a text"),
    ],
)
def test_parameters_are_typed(text, value):
    assert literal(text) == value


def test_keywords_and_options_are_one_table():
    assert {option.key for option in TRAIN} >= set(BY_KEYWORD)
    assert keywords({"max_runtime": "90m", "param": {"lr": 0.1}, "gpus": 0}) == {
        "max_runtime": "90m",
        "param": {"lr": 0.1},
        "gpus": 0,
    }


def test_an_unknown_keyword_is_a_type_error_that_names_the_valid_ones():
    with pytest.raises(TypeError, match=r"'gpu'; valid are: .*gpus"):
        keywords({"gpu": 1})


def test_a_keyword_of_none_is_not_given():
    assert keywords({"gpus": None}) == {}


def test_the_help_tells_of_every_option():
    text = help_text()
    assert all(option.flag in text for option in TRAIN)


@pytest.mark.parametrize(
    ("line", "matches"),
    [
        pytest.param("--gp", ["--gpus", "--gpu-type"], id="options"),
        pytest.param("--gpus 1 --gp", ["--gpu-type"], id="an option is offered once"),
        pytest.param("--param a=1 --par", ["--param"], id="a repeatable one again"),
        pytest.param("--cells ", ["this"], id="values"),
        pytest.param("--framework py", ["pytorch", "pytorchmpi"], id="values that begin so"),
        pytest.param("train", [], id="files are not ours to complete"),
    ],
)
def test_tab_completes(line, matches):
    assert complete(line)[0] == matches
