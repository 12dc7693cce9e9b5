"""Bundles, manifests as text, the environment, git: what is submitted."""

from __future__ import annotations

import json
import subprocess
import zipfile

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.notebook.authoring import bundle, environment, git, manifest


def test_equal_files_give_equal_zips(tmp_path):
    files = {"b.py": b"2", "a/c.py": b"1"}
    bundle.write_zip(files, tmp_path / "one.zip")
    bundle.write_zip(dict(reversed(files.items())), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_script_that_can_be_executed_stays_so(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    bundle.write_zip({"run.sh": path, "a.txt": b""}, tmp_path / "z.zip")
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {"run.sh": 0o755, "a.txt": 0o644}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        pytest.param(["data.csv"], ["data.csv"], id="a file"),
        pytest.param(["sub/x.txt"], ["sub/x.txt"], id="below the notebook the path stays"),
        pytest.param(["sub"], ["sub/deep/y.txt", "sub/x.txt"], id="a folder, without its caches"),
        pytest.param(["./sub/../data.csv"], ["data.csv"], id="a roundabout path"),
        pytest.param(["sub/*.txt"], ["sub/x.txt"], id="a pattern"),
        pytest.param(["../out.txt"], ["out.txt"], id="from elsewhere by its own name"),
    ],
)
def test_files_that_go_along_keep_their_place(tmp_path, paths, names):
    base = tmp_path / "work"
    for name in ("data.csv", "sub/x.txt", "sub/deep/y.txt", "sub/__pycache__/z.pyc"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(name)
    (tmp_path / "out.txt").write_text("out")
    assert sorted(bundle.with_paths(paths, base)) == names


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match=r"--with nothing\.csv: there is no such file"):
        bundle.with_paths(["nothing.csv"], tmp_path)


_scalars = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.integers(-(10**9), 10**9)
    | st.booleans()
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), _scalars))
def test_a_written_manifest_reads_back(fields):
    text = manifest.dump({"name": "x", "environment": fields})
    read = yaml.safe_load(text)
    assert read["name"] == "x"
    assert (read["environment"] or {}) == fields


@pytest.mark.parametrize("word", ["yes", "1.10", "0123", "null", "a: b", "#", "\u2028", "\x85"])
def test_texts_stay_texts(word):
    assert yaml.safe_load(manifest.dump({"version": word})) == {"version": word}


MANIFEST = """\
# my model
name: tf   # the name
memory: 1Gb
framework:
  name: tensorflow
  version: "1.5"
  command: >
    python3 train.py
    --steps 10

# after
learners: 1
"""


def test_options_replace_whole_keys_and_leave_the_rest():
    text = manifest.override(MANIFEST, {"memory": "4Gb", "gpus": 1})
    read = yaml.safe_load(text)
    assert (read["memory"], read["gpus"], read["learners"]) == ("4Gb", 1, 1)
    assert read["framework"]["command"].startswith("python3 train.py --steps 10")
    assert "# my model" in text
    assert text.count("memory:") == 1


def test_a_replaced_map_goes_whole():
    text = manifest.override(MANIFEST, {"framework": {"name": "custom"}})
    assert yaml.safe_load(text)["framework"] == {"name": "custom"}
    assert yaml.safe_load(text)["learners"] == 1


def test_the_framework_of_a_manifest_is_seen():
    assert manifest.framework_of(MANIFEST) == {"name": "tensorflow", "version": "1.5"}


def test_a_manifest_in_flow_form_takes_no_options():
    with pytest.raises(BadInput, match="cannot be laid over"):
        manifest.override(json.dumps({"name": "x"}), {"gpus": 1})


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        pytest.param("PATH", True, id="the path"),
        pytest.param("OMP_NUM_THREADS", True, id="threads"),
        pytest.param("MONKEY", True, id="a monkey is no key"),
        pytest.param("KEYBOARD", True, id="nor is a keyboard"),
        pytest.param("HF_TOKEN", False, id="a token"),
        pytest.param("AWS_SECRET_ACCESS_KEY", False, id="a key"),
        pytest.param("WANDB_API_KEY", False, id="an API key"),
        pytest.param("PGPASSWORD", False, id="a password without a blank"),
        pytest.param("JUPYTER_TOKEN", False, id="Jupyter's"),
        pytest.param("JPY_PARENT_PID", False, id="the kernel's"),
        pytest.param("KUBERNETES_PORT", False, id="a cluster's"),
        pytest.param("FFDL_URL", False, id="ours"),
        pytest.param("MPLBACKEND", False, id="drawing into the notebook"),
    ],
)
def test_the_environment_goes_without_secrets(name, goes):
    kept, _ = environment.for_training({name: "value"})
    assert (name in kept) is goes


def test_what_looks_secret_is_named_and_its_value_is_not():
    kept, omitted = environment.for_training({"HF_TOKEN": "hf_1", "HOME": "/root"})
    assert (kept, omitted) == ({"HOME": "/root"}, ["HF_TOKEN"])


def test_git_tells_commit_branch_and_changes(tmp_path):
    def run(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    assert git.facts(tmp_path) is None
    run("init", "-b", "main")
    (tmp_path / "a.py").write_text("1")
    run("add", "a.py")
    run("commit", "-m", "one")
    facts = git.facts(tmp_path)
    assert facts is not None
    assert (facts["branch"], facts["dirty"], len(facts["commit"])) == ("main", False, 40)
    (tmp_path / "a.py").write_text("2")
    changed = git.facts(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True
