"""The manifest's grammar, fields and order of checks (FfDL contract §1.1, §1.2, §1.6, §1.9)."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest import Manifest, parse

EXAMPLES = sorted((Path(__file__).parent / "manifests").glob("*.yml"))
LEAST = "name: n\nframework: {name: custom, version: python:3, command: python3 a.py}\n"
STORE = """\
data_stores:
  - id: os
    type: mount_cos
    training_data: {container: in}
    training_results: {container: out}
    connection: {auth_url: http://s3, user_name: test, password: test}
"""


def refusal(text: str | bytes, **checks: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse(text, **checks)
    return caught.value


def messages(manifest: Manifest) -> list[str]:
    return [note.message for note in manifest.warnings]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_of_ffdl_is_accepted_without_a_warning(path):
    manifest = parse(path.read_bytes())
    assert manifest.warnings == ()
    assert manifest.data_stores


def test_the_reference_manifest_is_read_as_ffdl_read_it():
    path = Path(__file__).parent / "manifests" / "tf-model.yml"
    manifest = parse(path.read_bytes())
    assert (manifest.name, manifest.version) == ("tf_convolutional_network_tutorial", "1.0")
    assert (manifest.cpus, manifest.gpus, manifest.learners) == (0.5, 0, 1)
    assert manifest.memory.bytes == 1_048_576_000
    assert manifest.given == {"cpus", "gpus", "learners", "memory"}
    assert manifest.framework.image == "tensorflow/tensorflow:1.5.0-py3"
    assert manifest.framework.command.endswith("0.001\n  --trainingIters 2000\n")
    (store,) = manifest.data_stores
    assert (store.data, store.results) == ("tf_training_data", "tf_trained_model")
    assert manifest.evaluation_metrics.in_path == "$JOB_STATE_DIR/logs/tb"
    assert manifest.checkpoints == "shared"


# §1.1


@pytest.mark.parametrize(
    ("written", "text"),
    [
        pytest.param("1.10", "1.10", id="a version keeps its zero"),
        pytest.param("yes", "yes", id="yes is no boolean"),
        pytest.param("true", "true", id="true is text"),
        pytest.param("0123", "0123", id="a leading zero stays"),
        pytest.param("123", "123", id="a number is text"),
        pytest.param("1_000", "1_000", id="underscores stay"),
        pytest.param("2001-01-01", "2001-01-01", id="a date is text"),
        pytest.param("null", "", id="null is nothing"),
        pytest.param("~", "", id="a tilde is nothing"),
        pytest.param("", "", id="nothing is nothing"),
        pytest.param('"null"', "null", id="null in quotes is text"),
        pytest.param("!!str null", "null", id="null with a tag is text"),
        pytest.param("'it''s'", "it's", id="quotes are undone"),
        pytest.param('"a\\tb"', "a\tb", id="escapes are undone"),
        pytest.param("|\n  a\n  b", "a\nb\n", id="a block keeps its lines"),
        pytest.param(">\n  a\n  b", "a b\n", id="folded text is folded"),
    ],
)
def test_text_is_kept_as_it_is_written(written, text):
    assert parse(f"{LEAST}description: {written}\n").description == text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        pytest.param("0.5", 0.5, id="a fraction"),
        pytest.param("0x10", 16.0, id="hexadecimal"),
        pytest.param("010", 8.0, id="octal, as in YAML 1.1"),
        pytest.param("0o10", 8.0, id="octal, as in YAML 1.2"),
        pytest.param("1e1", 10.0, id="an exponent without a point"),
        pytest.param("1_0", 10.0, id="underscores between digits"),
        pytest.param(".5", 0.5, id="no digit before the point"),
        pytest.param("+2", 2.0, id="a sign"),
        pytest.param('!!float "2"', 2.0, id="quoted with a number's tag"),
        pytest.param("0", 5.0, id="zero is the default"),
        pytest.param("~", 5.0, id="null is the default"),
    ],
)
def test_a_number_is_what_yaml_says(written, value):
    assert parse(f"{LEAST}cpus: {written}\n").cpus == value


@pytest.mark.parametrize(
    ("written", "error", "hint"),
    [
        ('"0.5"', "cpus must be a number, not '0.5'", "Remove the quotes: 0.5"),
        ("many", "cpus must be a number, not 'many'", "Write a plain number, such as 2"),
        ("!!str 1", "cpus must be a number, not '1'", "Remove the quotes: 1"),
        (".inf", "cpus must be a number, not '.inf'", ""),
        (".nan", "cpus must be a number, not '.nan'", ""),
        ("1e400", "cpus must be a number, not '1e400'", ""),
        ("1:30", "cpus must be a number, not '1:30'", ""),
        ("0x", "cpus must be a number, not '0x'", ""),
        ("[1]", "cpus must be a number, not a list", ""),
        ("{a: 1}", "cpus must be a number, not a map", ""),
        ("-1", "cpus must not be negative: -1", ""),
        ("9" * 30, "cpus is too large: " + "9" * 30, ""),
        ("9" * 5000, "cpus must be a number, not '" + "9" * 57 + "...'", ""),
    ],
)
def test_what_is_no_number_is_refused(written, error, hint):
    caught = refusal(f"{LEAST}cpus: {written}\n")
    assert (caught.message, caught.code) == (error, "C104")
    assert (caught.field, caught.line) == ("cpus", 3)
    assert caught.hint.startswith(hint)
    assert caught.hint


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        pytest.param("", "The manifest is empty", None, id="nothing"),
        pytest.param("# only this\n", "The manifest is empty", None, id="a comment"),
        pytest.param("---\n", "The manifest is empty", None, id="an empty document"),
        pytest.param("[a]", "The manifest must be a map of keys and values", 1, id="a list"),
        pytest.param("word", "The manifest must be a map of keys and values", 1, id="a word"),
        pytest.param(
            LEAST + "a: b: c\n",
            "line 3: mapping values are not allowed in this context",
            3,
            id="what PyYAML cannot read",
        ),
        pytest.param(
            "name: [x]\n", "line 1: name must be text, not a list", 1, id="a list for a text"
        ),
        pytest.param("\nframework: x\n", "line 2: framework must be a map, not text", 2, id="text"),
        pytest.param(
            "data_stores: {a: b}\n", "line 1: data_stores must be a list, not a map", 1, id="a map"
        ),
        pytest.param(
            "data_stores: [x]\n",
            "line 1: data_stores[0] must be a map, not text",
            1,
            id="a text in a list of maps",
        ),
        pytest.param(
            "environment: {A: [1]}\n",
            "line 1: environment.A must be text, not a list",
            1,
            id="a list as a variable",
        ),
        pytest.param("a: *b\n", "line 1: found undefined alias 'b'", 1, id="an unknown alias"),
        pytest.param("a: &a [*a]\n", "line 1: alias 'a' stands inside itself", 1, id="a loop"),
        pytest.param("[a]: b\n", "line 1: a key must be text", 1, id="a list as a key"),
        pytest.param("<<: 5\n", "line 1: << needs a map or a list of maps", 1, id="a bad merge"),
        pytest.param('name: "a\\0b"\n', "line 1: a character that no text may hold", 1, id="a NUL"),
        pytest.param(
            "name: \ud800\n",
            "The manifest holds half of a surrogate pair, which is no character",
            1,
            id="half a surrogate pair",
        ),
        pytest.param(
            b"name: a\nb: \xff\n",
            "The manifest is not UTF-8 text: byte 11 cannot be decoded",
            2,
            id="another encoding",
        ),
        pytest.param(
            "a: " + "[" * 70 + "]" * 70, "line 1: nested deeper than 64 levels", 1, id="depth"
        ),
        pytest.param(
            "#" * 1024 * 1024 + "\n", "The manifest is larger than 1 MiB", None, id="size"
        ),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(text, error, line):
    caught = refusal(text)
    assert (caught.message, caught.line) == (error, line)
    assert (caught.code, caught.description) == ("C101", "Incorrect manifest")
    assert caught.http_status == 400


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(encoding):
    assert parse((LEAST + "description: grün\n").encode(encoding)).description == "grün"


@pytest.mark.parametrize(
    ("addition", "warning", "field", "line"),
    [
        ("foo: 1\n", "Unknown key 'foo' is ignored", "foo", 3),
        ("gpu: 1\n", "Unknown key 'gpu' is ignored: did you mean 'gpus'?", "gpu", 3),
        ("Cpus: 1\n", "Unknown key 'Cpus' is ignored: did you mean 'cpus'?", "Cpus", 3),
        ("cpus: 1\ncpus: 2\n", "Key 'cpus' is given twice, the last one counts", "cpus", 4),
        ("---\nname: [\n", "Only the first YAML document counts", "", 3),
        ("memory: 0Gb\n", "memory 0 means the default, 8 GB", "memory", 3),
        (
            "evaluation_metrics:\n  image_tag: x\n",
            "image_tag has no effect: extractors are built in",
            "evaluation_metrics.image_tag",
            4,
        ),
        (
            "evaluation_metrics:\n  type: tensorboard\n  event_types: [scalars, images]\n",
            "Only scalars are read, not images",
            "evaluation_metrics.event_types",
            5,
        ),
    ],
)
def test_what_has_no_effect_is_accepted_with_a_warning(addition, warning, field, line):
    (note,) = parse(LEAST + addition).warnings
    assert note.to_json() == {
        "message": warning,
        "line": line,
        **({"field": field} if field else {}),
    }


def test_the_last_of_two_equal_keys_counts():
    assert parse(LEAST + "cpus: 1\ncpus: 2\n").cpus == 2


def test_warnings_are_bounded():
    manifest = parse(LEAST + "".join(f"unknown{n}: 1\n" for n in range(5000)))
    assert len(manifest.warnings) == 101
    assert manifest.warnings[-1].message == "4900 more warnings are left out"


def test_anchors_aliases_and_merges_work():
    manifest = parse("""\
x-base: &base {version: python:3, command: from the base, name: custom}
x-more: &more {<<: *base, command: from more}
name: &n shared
description: *n
framework:
  <<: [*more, *base]
  version: "own"
""")
    assert manifest.description == "shared"
    assert manifest.framework.version == "own"
    assert manifest.framework.command == "from more"


def laughs(levels: int, merge: str) -> str:
    lines = ["l0: &l0 {a: x, b: y}"]
    for n in range(1, levels):
        nine = ", ".join([f"*l{n - 1}"] * 9)
        lines.append(f"l{n}: &l{n} {merge.format(nine)}")
    return LEAST + "\n".join(lines) + "\n"


@pytest.mark.timeout(10)
def test_a_billion_laughs_end_nothing():
    assert parse(laughs(30, "[{}]")).name == "n"
    as_parameters = laughs(30, "[{}]") + "parameters: {p: *l29}\n"
    assert "holds more than 10000 values" in refusal(as_parameters).message
    merged = laughs(30, "{{<<: [{}]}}") + "environment: {<<: *l29}\n"
    assert "too much to merge" in refusal(merged).message
    wide = "".join(f"k{n}: v\n" for n in range(20_000)).replace("\n", "\n  ")
    copies = ", ".join(["*w"] * 2000)
    text = f"{LEAST}w: &w\n  {wide}\nparameters: {{p: [{copies}]}}\n"
    assert "values" in refusal(text).message


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "unit", ["- ", "? ", "[", "{a: ", "&a ", "!!x ", "a: &a *a\n", "%", "|\n "]
)
def test_a_megabyte_of_anything_is_judged_in_seconds(unit):
    text = unit * (1024 * 1024 // len(unit))
    assert refusal(text)


# §1.2


def test_what_is_left_out_has_ffdls_defaults():
    manifest = parse(LEAST)
    assert (manifest.cpus, manifest.gpus, manifest.learners) == (5.0, 0, 1)
    assert (manifest.memory.bytes, manifest.storage.bytes) == (8_388_608_000, 10_737_418_240)
    assert (manifest.memory.value, manifest.memory.unit) == (8, "GB")
    assert manifest.queue_gpu_type == "nvidia-TeslaK80"
    assert manifest.gpu_type == ""
    assert manifest.given == frozenset()
    assert (manifest.completion, manifest.checkpoints) == ("workers", "job")
    assert manifest.evaluation_metrics is None
    assert (manifest.max_runtime, manifest.max_retries) == (None, None)


def test_no_gpus_is_an_amount_but_no_cpus_is_none():
    assert parse(LEAST + "gpus: 0\ncpus: 0\nlearners: 0\nmemory: 0Gb\n").given == {"gpus"}


@pytest.mark.parametrize(
    ("addition", "error", "code", "field"),
    [
        ("gpus: 0.5", "gpus must be a whole number, not 0.5", "C104", "gpus"),
        ("learners: 1.5", "learners must be a whole number, not 1.5", "C104", "learners"),
        ("learners: -1", "learners must not be negative: -1", "C104", "learners"),
        ("max_retries: x", "max_retries must be a number, not 'x'", "C104", "max_retries"),
        ("max_runtime: 1w", "max_runtime must be a duration, not '1w'", "C104", "max_runtime"),
        ("max_runtime: 0", "max_runtime must be a duration, not '0'", "C104", "max_runtime"),
        ("memory: 512", "memory must be a size, not '512'", "C104", "memory"),
        ("memory: [1]", "memory must be a size, not a list or a map", "C104", "memory"),
        ("storage: lots", "storage must be a size, not 'lots'", "C104", "storage"),
        (
            "completion: any",
            "completion must be one of workers, all, master, first, not 'any'",
            "C101",
            "completion",
        ),
        (
            "checkpoints: x",
            "checkpoints must be one of shared, job, not 'x'",
            "C101",
            "checkpoints",
        ),
        (
            "environment: {a-b: 1}",
            "environment has a name that no variable can have: 'a-b'",
            "C101",
            "environment.a-b",
        ),
        (
            "secrets: [OK, 1X]",
            "secrets[1] must be the name of a variable, not '1X'",
            "C101",
            "secrets",
        ),
        ('requirements: [""]', "requirements[0] is empty", "C101", "requirements"),
    ],
)
def test_a_field_out_of_its_range_is_refused_by_name(addition, error, code, field):
    caught = refusal(f"{LEAST}{addition}\n")
    assert (caught.message, caught.code, caught.field) == (error, code, field)
    assert caught.line == 3


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90m", 5400), ("12h", 43200), ("2d", 172800), ("3600", 3600), ("30s", 30), ('"1.5h"', 5400)],
)
def test_a_duration_is_read(written, seconds):
    assert parse(f"{LEAST}max_runtime: {written}\n").max_runtime == seconds


def test_whole_numbers_may_be_written_with_a_point():
    assert parse(LEAST + "gpus: 2.0\n").gpus == 2


def test_the_keys_that_ffdl_lacks_are_read():
    manifest = parse(f"""{LEAST}
max_retries: 2
backend: local
queue: long
data: ./digits
results: out
environment: {{A: 1.10, B: }}
parameters: {{lr: 1e-3, steps: 10, deep: {{on: true, name: no, none: ~}}, list: [1, "1"]}}
requirements: [numpy>=2]
secrets: [WANDB_API_KEY]
completion: master
""")
    assert manifest.max_retries == 2
    assert (manifest.backend, manifest.queue) == ("local", "long")
    assert (manifest.data, manifest.results) == ("./digits", "out")
    assert manifest.environment == {"A": "1.10", "B": ""}
    assert manifest.parameters == {
        "lr": 0.001,
        "steps": 10,
        "deep": {"on": True, "name": "no", "none": None},
        "list": [1, "1"],
    }
    assert manifest.requirements == ("numpy>=2",)
    assert manifest.secrets == ("WANDB_API_KEY",)
    assert manifest.completion == "master"
    assert manifest.warnings == ()


# §1.6


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("tensorflow", "tensorflow/tensorflow:V"),
        ("caffe", "bvlc/caffe:V"),
        ("caffe2", "caffe2ai/caffe2:V"),
        ("pytorch", "pytorch/pytorch:V"),
        ("h2o3", "opsh2oai/h2o3-ffdl:V"),
        ("horovod", "uber/horovod:V"),
        ("pytorchmpi", "tomcli/pytorch:V"),
        ("custom", "V"),
        ("TensorFlow", "tensorflow/tensorflow:V"),
    ],
)
def test_a_framework_names_its_image(name, image):
    text = f"name: n\nframework: {{name: {name}, version: V, command: c}}\n"
    assert parse(text).framework.image == image


def test_an_image_tag_is_accepted_with_a_warning():
    text = LEAST.replace("{name", "{image_tag: x, name")
    assert messages(parse(text)) == ["image_tag has no effect: the version names the image's tag"]


# §1.9

FRAMEWORK = {"name": "custom", "version": "v", "command": "c"}


def manifest_text(without: str = "", **changed: str) -> str:
    framework = {**FRAMEWORK, **changed}
    framework.pop(without, None)
    inner = ", ".join(f"{key}: {value}" for key, value in framework.items())
    return f"name: n\nframework: {{{inner}}}\n"


ORDER = [
    pytest.param("x: y\n", "Model definition name is not set", "name", id="rule 3: no name"),
    pytest.param("name: ''\n", "Model definition name is not set", "name", id="an empty name"),
    pytest.param("name: n\n", "Framework is not set", "framework", id="rule 4"),
    pytest.param(manifest_text("name"), "Framework name is not set", "framework.name", id="rule 5"),
    pytest.param(
        manifest_text("version"), "Framework version is not set", "framework.version", id="rule 6"
    ),
    pytest.param(
        manifest_text(name="keras"),
        "Framework 'keras' is not supported",
        "framework.name",
        id="rule 7",
    ),
    pytest.param(
        manifest_text("command"), "Training command is not set", "framework.command", id="rule 10"
    ),
    pytest.param(
        manifest_text() + "data_stores: []\n", "Data stores is empty", "data_stores", id="rule 12"
    ),
]


@pytest.mark.parametrize(("text", "error", "field"), ORDER)
def test_the_text_of_each_refusal_is_ffdls(text, error, field):
    caught = refusal(text)
    assert (caught.message, caught.field, caught.code) == (error, field, "C101")
    assert caught.hint


def test_the_first_rule_that_is_broken_is_named():
    """Mending one mistake after the other meets the rules in the order of §1.9."""
    assert refusal("cpus: x\nframework: [\n").description == "Incorrect manifest"
    assert refusal("cpus: x\nframework: []\n").description == "Incorrect manifest"
    assert refusal("cpus: x\nframework: {}\n").message == "Model definition name is not set"
    assert refusal("cpus: x\nname: n\n").message == "Framework is not set"
    assert refusal("cpus: x\nname: n\nframework: {}\n").message == "Framework name is not set"
    called = []

    def check_code(command: str) -> None:
        called.append(command)
        raise BadInput("Model definition content is not set", code="C101")

    assert refusal(manifest_text(name="keras"), check_code=check_code).field == "framework.name"
    assert called == []
    bad = manifest_text("command") + "cpus: x\ndata_stores: []\nevaluation_metrics: {type: x}\n"
    assert "Model definition" in refusal(bad, check_code=check_code).message
    assert called == [""]
    assert refusal(bad).message == "Training command is not set"
    bad = bad.replace("version: v", "version: v, command: c")
    assert refusal(bad).field == "cpus"
    bad = bad.replace("cpus: x", "cpus: 1")
    assert refusal(bad).message == "Data stores is empty"
    bad = bad.replace("data_stores: []\n", STORE)
    assert refusal(bad).field == "evaluation_metrics.type"


def test_stores_are_checked_before_the_metrics_and_data_before_results():
    seen = []

    def check_store(store, role):
        seen.append((store.id, role))

    text = LEAST + STORE + "evaluation_metrics: {type: x}\n"
    assert refusal(text, check_store=check_store).field == "evaluation_metrics.type"
    assert seen == [("os", "input"), ("os", "output")]


# The rule beside the tables: whatever comes in, the answer is a manifest or a refusal.

FRAGMENTS = [
    *(path.read_text() for path in EXAMPLES),
    LEAST,
    STORE,
    "evaluation_metrics: {type: regex_extractor, groups: {g: {regex: '%{INT:a', etimes: [], ",
]
PIECES = st.sampled_from(
    [
        *("-", ":", "*a", "&a", "<<: ", "{", "}", "[", "]", "|", ">", '"', "'", "#", "~", "? "),
        *("!!int ", "...", "---", "%YAML", "\n", "  ", "\t", "\0", "\x85", "\u2028", "\ud800"),
        *("\U0001f600", ": ", "- ", "0x", "-1", "1e999", "Gb", "name", "framework", "data_stores"),
    ]
)


def judged(text: str | bytes) -> Manifest | BadInput:
    try:
        return parse(text)
    except BadInput as e:
        return e


def accepted_or_refused(text: str | bytes) -> None:
    found = judged(text)
    if isinstance(found, Manifest):
        assert found.name.strip()
    else:
        assert found.http_status == 400
        assert found.message
        assert found.line is None or found.line >= 1


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.binary(), st.lists(PIECES).map("".join)))
def test_no_text_ends_in_another_error(text):
    accepted_or_refused(text)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(FRAGMENTS), st.randoms(use_true_random=False), st.lists(PIECES, max_size=6))
def test_no_damaged_manifest_ends_in_another_error(text, chance: random.Random, pieces):
    for piece in pieces:
        at = chance.randrange(len(text) + 1)
        text = text[:at] + piece + text[at + chance.randrange(12) :]
    accepted_or_refused(text)


def test_reading_manifests_needs_yaml_only_when_it_reads_one():
    code = (
        "import sys; import jupyter_ffdl.manifest as m; assert 'yaml' not in sys.modules;"
        "m.to_yaml({'name': 'n'}); assert 'yaml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
