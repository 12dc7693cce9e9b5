"""Manifests as text and as JSON: masked, written, shown; and what a command tells."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.learner.environment import joined
from jupyter_ffdl.manifest import (
    masked_text,
    mentions_literal_paths,
    parse,
    script_kind,
    to_model,
    to_yaml,
    workers,
)
from jupyter_ffdl.masking import looks_secret, mask_url

LEAST = "name: n\nframework: {name: custom, version: python:3, command: python3 a.py}\n"
STORE = """\
data_stores:
  - id: os
    type: mount_cos
    training_data: {container: in}
    training_results: {container: out}
    connection: {auth_url: http://s3, user_name: test, password: test}
"""

# Masking (§10)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("password: s3cret # why\n", 'password: "****" # why\n', id="a plain password"),
        pytest.param("{password: '1 2', a: b}\n", '{password: "****", a: b}\n', id="in quotes"),
        pytest.param("password: 0123\n", 'password: "****"\n', id="of digits"),
        pytest.param(
            "a: 1\npassword: |\n  s3\n  cret\nb: 2\n",
            'a: 1\npassword: "****"\nb: 2\n',
            id="a block",
        ),
        pytest.param(
            "password: &p !!str x\nb: *p\n", 'password: &p !!str "****"\nb: *p\n', id="anchor"
        ),
        pytest.param("b: &p x\npassword: *p\n", 'b: &p "****"\npassword: *p\n', id="by an alias"),
        pytest.param(
            "password: one\npassword: two\n",
            'password: "****"\npassword: "****"\n',
            id="a repeated key that does not count",
        ),
        pytest.param(
            "a: 1\n---\npassword: x\n", 'a: 1\n---\npassword: "****"\n', id="document two"
        ),
        pytest.param("api_key: {x: [a, b]}\n", 'api_key: {x: ["****", "****"]}\n', id="all below"),
        pytest.param(
            "auth_url: http://me:pw@s3/x\n", 'auth_url: "http://me:****@s3/x"\n', id="in a URL"
        ),
        pytest.param("secrets: [HF_TOKEN]\n", "secrets: [HF_TOKEN]\n", id="names of secrets stay"),
        pytest.param("pad_token: 0\n", "pad_token: 0\n", id="a number that is a parameter stays"),
        pytest.param("password:\n", "password:\n", id="nothing to mask"),
        pytest.param("ä: ü\npassword: x\n", 'ä: ü\npassword: "****"\n', id="after other letters"),
    ],
)
def test_secrets_are_masked_and_all_else_stays(text, masked):
    assert masked_text(text) == masked
    assert masked_text(text.encode()) == masked
    assert masked_text(masked) == masked


def test_what_is_no_yaml_is_not_shown_at_all():
    with pytest.raises(BadInput):
        masked_text("password: [")


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=5))
def test_no_password_survives(password):
    assume(password.strip("* "))
    text = yaml.safe_dump({"name": "n", "connection": {"password": password}, "z": [1]})
    assert yaml.safe_load(masked_text(text)) == {
        "name": "n",
        "connection": {"password": "****"},
        "z": [1],
    }


@pytest.mark.parametrize(
    "name",
    [
        *("password", "DB_PASSWORD", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"),
        *("apiKey", "GITHUB_PAT", "ssh_key", "AWS_ACCESS_KEY_ID", "OPENAI_KEY2", "BASIC_AUTH"),
    ],
)
def test_a_name_that_looks_secret(name):
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "user_name", "auth_url", "key_dim", ""],
)
def test_a_name_that_does_not_look_secret(name):
    assert not looks_secret(name)


def test_a_url_keeps_its_user():
    assert mask_url("see https://u:p@h/x?y=a:b@c") == "see https://u:****@h/x?y=a:b@c"


# Writing


def test_a_written_manifest_is_what_a_person_would_write():
    text = to_yaml(
        {
            "framework": {
                "name": "custom",
                "version": "python-3.11",
                "command": "cd src\npython train.py --lr 1e-3\n",
            },
            "name": "mnist",
            "gpus": 1,
            "memory": "2Gb",
            "environment": {"MODE": "yes", "A": "1"},
            "parameters": {"lr": 0.001, "tags": ["a", "b: c"], "deep": {"x": None}},
            "requirements": [],
            "description": None,
        }
    )
    assert (
        text
        == """\
name: mnist
gpus: 1
memory: "2Gb"
framework:
  name: custom
  version: python-3.11
  command: |
    cd src
    python train.py --lr 1e-3
environment:
  MODE: "yes"
  A: "1"
parameters:
  lr: 0.001
  tags:
    - a
    - "b: c"
  deep:
    x: null
"""
    )
    assert parse(text).framework.literal


def test_a_key_that_no_manifest_has_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="sise"):
        to_yaml({"sise": 1})


WORDS = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    st.text(st.sampled_from(" \n\tab-:#|>'\"\\{}[]&*!%@`,?~=<.\r\x85\u2028\ufeff\x7f\x1b0e")),
    st.sampled_from(
        ["null", "~", "yes", "1e3", "0x10", ".inf", "<<", "- a", "a: b", "\n", " \n a"]
    ),
)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.booleans())
VALUES = st.recursive(
    st.one_of(WORDS, NUMBERS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS, st.dictionaries(WORDS, VALUES, max_size=4), st.lists(WORDS, max_size=3))
def test_what_is_written_is_read_back(description, command, parameters, requirements):
    assume(command.strip() and all(text.strip() for text in requirements))
    fields = {
        "name": "n",
        "description": description,
        "framework": {"name": "custom", "version": "v", "command": command},
        "parameters": parameters,
        "requirements": requirements,
    }
    manifest = parse(to_yaml(fields))
    assert manifest.description == description
    assert manifest.framework.command == command
    assert manifest.parameters == parameters
    assert manifest.requirements == tuple(requirements)
    assert manifest.warnings == ()


def test_odd_numbers_are_read_back():
    parameters = {"a": math.inf, "b": -math.inf, "c": 1e-300, "d": 10**50}
    assert parse(to_yaml({**MINIMUM, "parameters": parameters})).parameters == parameters
    (nan,) = parse(to_yaml({**MINIMUM, "parameters": {"x": math.nan}})).parameters.values()
    assert math.isnan(nan)


MINIMUM = {"name": "n", "framework": {"name": "custom", "version": "v", "command": "c"}}

# The API's JSON (§2.4)


def test_a_model_shows_what_ffdl_showed_and_no_secret():
    manifest = parse(
        LEAST.replace("python3 a.py", '"python3 train.py\\n"')
        + STORE.replace("password: test", "password: hunter2")
        + "cpus: 0.5\nmemory: 1Gb\ngpus: 0\ndescription: small net\n"
    )
    connection = {"auth_url": "http://s3", "user_name": "test", "password": "****"}
    assert to_model(manifest) == {
        "name": "n",
        "description": "small net",
        "framework": {"name": "custom", "version": "python:3"},
        "data_stores": [
            {
                "data_store_id": "os-input",
                "type": "mount_cos",
                "connection": {**connection, "bucket": "in"},
            },
            {
                "data_store_id": "os-output",
                "type": "mount_cos",
                "connection": {**connection, "bucket": "out"},
            },
        ],
        "training": {
            "command": "python3 train.py\n",
            "cpus": 0.5,
            "memory": 1,
            "memory_unit": "GB",
            "memory_bytes": 1_048_576_000,
            "storage_bytes": 10_737_418_240,
            "learners": 1,
            "input_data": ["os-input"],
            "output_data": ["os-output"],
        },
        "warnings": [],
    }


def test_a_model_always_has_what_the_old_command_line_needs():
    model = to_model(parse(LEAST))
    assert model["data_stores"] == []
    assert model["framework"]
    assert (model["training"]["memory_unit"], model["training"]["learners"]) == ("GB", 1)
    assert "gpus" not in model["training"]
    assert "description" not in model


# Commands (§1.7, §5.5, §5.1)


def accepts(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("command", "literal", "kind"),
    [
        pytest.param("python a.py", False, "line", id="one line"),
        pytest.param("python a.py\n", True, "line", id="one line in a block"),
        pytest.param("a\nb\n", False, "joined", id="folded lines are joined"),
        pytest.param("a\nb\n", True, "script", id="a block is a script"),
        pytest.param("if x\nthen y\nfi\n", True, "script", id="an if over lines"),
        pytest.param(
            "python a.py\n  --lr 1\n", True, "joined", id="options on a line of their own"
        ),
        pytest.param("python a.py \\\n  --lr 1\n", True, "script", id="a continued line"),
        pytest.param("a\r\nb\r\n", True, "script", id="line ends of Windows"),
    ],
)
def test_how_a_command_runs(command, literal, kind):
    assert script_kind(command, literal=literal, accepts=accepts) == kind


def test_what_bash_does_not_accept_is_joined():
    assert script_kind("a (\nb\n", literal=True, accepts=lambda _: False) == "joined"


def test_joining_puts_one_blank_for_each_line_end():
    assert joined("a\r\n  b\n\nc\n") == "a   b  c "


@pytest.mark.parametrize(
    ("framework", "command", "rest", "expected"),
    [
        pytest.param("custom", "c", "learners: 3", (1, 2, 3), id="everyone works"),
        pytest.param("custom", "c", "", (1,), id="one alone"),
        pytest.param("horovod", "c", "learners: 3", (1,), id="MPI waits for the first"),
        pytest.param("PyTorchMPI", "c", "learners: 3", (1,), id="MPI in any case"),
        pytest.param("custom", "PS_HOSTS_COUNT=1 ./l.py", "learners: 3", (2, 3), id="one server"),
        pytest.param("custom", "a; export PS_HOSTS_COUNT='2'", "learners: 3", (3,), id="two"),
        pytest.param("custom", "XPS_HOSTS_COUNT=1 a", "learners: 2", (1, 2), id="another name"),
        pytest.param("custom", "PS_HOSTS_COUNT=2 a", "learners: 2", (1, 2), id="servers only"),
        pytest.param(
            "horovod", "c", "learners: 2\ncompletion: all", (1, 2), id="all, because it is said"
        ),
        pytest.param("custom", "c", "learners: 2\ncompletion: master", (1,), id="the master"),
    ],
)
def test_who_must_succeed(framework, command, rest, expected):
    text = f'name: n\nframework: {{name: {framework}, version: v, command: "{command}"}}\n{rest}\n'
    assert workers(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ls /job",
        "--data=/mnt/data/b",
        'open("/mnt/results/x")',
        "file:///job/$TRAINING_ID",
        'source: "/mnt/data/tf_training_data/train"',
        b"\xff /job/master_node.txt",
    ],
)
def test_a_literal_path_is_found(text):
    assert mentions_literal_paths({"a": "nothing", "b": text}) == ("b",)


@pytest.mark.parametrize(
    "text",
    [
        "./job",
        "/home/job",
        "$X/job",
        "${X}/mnt/data",
        "/jobs",
        "/job-1",
        "/mnt/database",
        "http://h/job",
    ],
)
def test_another_path_is_not(text):
    assert mentions_literal_paths({"a": text}) == ()
