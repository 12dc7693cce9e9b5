from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_ffdl.learner.environment import (
    base_environment,
    masked,
    secret_looking,
    user_environment,
)

SPEC = {
    "training_id": "training-abc",
    "command": "python train.py",
    "interpreter": "/opt/venv/bin/python",
    "learners": 1,
    "gpus": 0,
    "cpus": None,
    "framework_name": "custom",
}


def environment(spec=None, **changes):
    arguments = {
        "base": {"PATH": "/usr/bin:/bin", "HOME": "/home/me"},
        "job_dir": "/s/job",
        "model_dir": "/s/job/model-code",
        "log_dir": "/s/job/logs",
        "data_dirs": ["/data/in"],
        "result_dir": "/s/results",
        "result_bucket_dir": "/s/bucket",
        "checkpoint_dir": "/s/checkpoints",
        "learner": 1,
        "addresses": ["127.0.0.1"],
        "master_port": 20001,
        "learner_uuid": "0f0f",
        "gpu_uuids": [],
        "hook_dir": "/s/hook",
        "learner_dir": "/s/attempts/1/learner-1",
        "secrets": {},
        **changes,
    }
    return user_environment({**SPEC, **(spec or {})}, **arguments)


ALONE = {
    "CHECKPOINT_DIR": "/s/checkpoints",
    "CUDA_VISIBLE_DEVICES": "",
    "DATA_DIR": "/data/in",
    "DOWNWARD_API_POD_NAME": "learner-0f0f-0",
    "DOWNWARD_API_POD_NAMESPACE": "default",
    "FFDL_LEARNER_DIR": "/s/attempts/1/learner-1",
    "GPU_COUNT": "0.000000",
    "HOME": "/home/me",
    "JOB_STATE_DIR": "/s/job",
    "LEARNER_ID": "1",
    "LEARNER_NAME_PREFIX": "learner-0f0f",
    "LOG_DIR": "/s/job/logs",
    "MODEL_DIR": "/s/job/model-code",
    "NUM_LEARNERS": "1",
    "PATH": "/opt/venv/bin:/usr/local/bin/:/usr/bin:/bin",
    "PWD": "/s/job/model-code",
    "PYTHONPATH": "/s/hook:/s/job/model-code",
    "PYTHONUNBUFFERED": "1",
    "RESULT_BUCKET_DIR": "/s/bucket",
    "RESULT_DIR": "/s/results",
    "TRAINING_COMMAND": "python train.py",
    "TRAINING_ID": "training-abc",
}


def test_one_learner_sees_exactly_this():
    assert environment() == ALONE


@pytest.mark.parametrize(
    ("spec", "changes", "expected"),
    [
        pytest.param(
            {"gpus": 2},
            {"gpu_uuids": ["GPU-a", "MIG-b"]},
            {"GPU_COUNT": "2.000000", "CUDA_VISIBLE_DEVICES": "GPU-a,MIG-b"},
            id="GPUs by UUID",
        ),
        pytest.param({"cpus": 2.5}, {}, {"OMP_NUM_THREADS": "2"}, id="given cpus, whole part"),
        pytest.param({"cpus": 0.5}, {}, {"OMP_NUM_THREADS": "1"}, id="at least one thread"),
        pytest.param(
            {},
            {"data_dirs": ["/a", "/b", "/c"]},
            {"DATA_DIR": "/a", "DATA_DIR_2": "/b", "DATA_DIR_3": "/c"},
            id="further data stores",
        ),
        pytest.param(
            {"command": "a \\\r\n  b\nc"},
            {},
            {"TRAINING_COMMAND": "a \\   b c"},
            id="line breaks become one blank",
        ),
        pytest.param(
            {},
            {"base": {"PYTHONPATH": "/mine", "PATH": "/bin"}},
            {
                "PYTHONPATH": "/s/hook:/mine:/s/job/model-code",
                "PATH": "/opt/venv/bin:/usr/local/bin/:/bin",
            },
            id="the caller's PYTHONPATH before the code",
        ),
        pytest.param(
            {"framework_name": "horovod"},
            {"base": {"PYTHONPATH": "/mine"}},
            {"PYTHONPATH": "/s/hook:/s/job/model-code"},
            id="MPI: without the caller's PYTHONPATH",
        ),
        pytest.param(
            {"interpreter": None},
            {},
            {"PATH": "/usr/local/bin/:/usr/bin:/bin"},
            id="no interpreter given",
        ),
        pytest.param(
            {},
            {"base": {}},
            {"PATH": f"/opt/venv/bin:/usr/local/bin/:{os.defpath}"},
            id="a caller without PATH",
        ),
        pytest.param(
            {},
            {"secrets": {"WANDB_API_KEY": "s3cret"}},
            {"WANDB_API_KEY": "s3cret"},
            id="secrets are exported",
        ),
        pytest.param(
            {},
            {"base": {"HF_TOKEN": "given by name"}},
            {"HF_TOKEN": "given by name"},
            id="what was passed by name stays",
        ),
        pytest.param(
            {},
            {"secrets": {"TRAINING_ID": "x"}},
            {"TRAINING_ID": "training-abc"},
            id="nothing overrides the contract",
        ),
    ],
)
def test_a_setting_shows_in_the_environment(spec, changes, expected):
    env = environment(spec, **changes)
    assert {name: env[name] for name in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "ALERTMANAGER_URL",
        "DLAAS_URL",
        "ETCD_ADDRESS",
        "GRAFANA_X",
        "HOSTNAME",
        "KUBERNETES_SERVICE_HOST",
        "MONGO_URI",
        "PUSHGATEWAY",
        "TRAINING_JOB",
        "DATA_STORE_PASSWORD",
        "RESULT_STORE_APIKEY",
        "OLDPWD",
        "SHLVL",
        "_",
    ],
)
def test_the_services_own_variables_never_reach_user_code(name):
    assert name not in environment(base={name: "x"})


@pytest.mark.parametrize("name", ["MASTER_ADDR", "WORLD_SIZE", "RANK", "PET_NNODES", "TF_CONFIG"])
def test_one_learner_gets_no_distributed_variable(name):
    assert name not in environment()


def test_several_learners_find_each_other():
    env = environment({"learners": 2, "gpus": 2}, learner=2, addresses=["127.1.2.3", "127.1.2.4"])
    added = {name: value for name, value in env.items() if ALONE.get(name) != value}
    tf_config = json.loads(added.pop("TF_CONFIG"))
    assert added == {
        "DOWNWARD_API_POD_NAME": "learner-0f0f-1",
        "GPU_COUNT": "2.000000",
        "LEARNER_ID": "2",
        "NUM_LEARNERS": "2",
        "MASTER_ADDR": "127.1.2.3",
        "MASTER_PORT": "20001",
        "WORLD_SIZE": "2",
        "RANK": "1",
        "NODE_RANK": "1",
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_MASTER_ADDR": "127.1.2.3",
        "PET_MASTER_PORT": "20001",
        "PET_NPROC_PER_NODE": "2",
    }
    assert tf_config == {
        "cluster": {"worker": ["127.1.2.3:2222", "127.1.2.4:2222"]},
        "task": {"type": "worker", "index": 1},
    }


def test_parameter_servers_make_their_own_cluster():
    spec = {"learners": 2, "command": "PS_HOSTS_COUNT=1 ./launcher.py"}
    assert "TF_CONFIG" not in environment(spec, addresses=["127.0.0.2", "127.0.0.3"])


def test_learners_on_one_address_get_different_tensorflow_ports():
    env = environment({"learners": 2}, addresses=["127.0.0.1"] * 2)
    assert json.loads(env["TF_CONFIG"])["cluster"]["worker"] == ["127.0.0.1:2222", "127.0.0.1:2223"]


def test_what_a_submitter_passes_on_is_named():
    kept, omitted = base_environment(
        {
            "PATH": "/bin",
            "JUPYTER_TOKEN": "x",
            "JPY_PARENT_PID": "1",
            "FFDL_TOKEN": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "KUBERNETES_PORT": "x",
            "LANG": "C",
        }
    )
    assert kept == {"PATH": "/bin", "LANG": "C"}
    assert omitted == [
        "AWS_SECRET_ACCESS_KEY",
        "FFDL_TOKEN",
        "JPY_PARENT_PID",
        "JUPYTER_TOKEN",
        "KUBERNETES_PORT",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "WANDB_API_KEY",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "PGPASSWORD",
        "MYSQL_PWD",
        "db_password",
        "apiKey",
        "OPENAI_APIKEY",
        "KAGGLE_KEY",
        "GITHUB_PAT",
        "SENTRY_DSN",
        "NPM_AUTH",
        "accessToken",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSH_PASSPHRASE",
        "CLIENT_SECRET",
    ],
)
def test_a_secret_looks_like_one(name):
    assert secret_looking(name)


@pytest.mark.parametrize(
    "name",
    [
        "PWD",
        "OLDPWD",
        "PATH",
        "TOKENIZERS_PARALLELISM",
        "MAX_TOKENS",
        "KEYBOARD",
        "MONKEY_SIZE",
        "SSH_AUTH_SOCK",
        "PASSED_TESTS",
        "COMPASS",
        "PATIENCE",
        "OMP_NUM_THREADS",
        "_",
        "",
        "KEY_FRAMES",
    ],
)
def test_what_only_sounds_like_a_secret_is_none(name):
    assert not secret_looking(name)


def test_printing_stars_secrets_and_passwords_in_addresses():
    shown = masked(
        {"HF_TOKEN": "abc", "URL": "postgres://me:pw@db/x", "PLAIN": "v", "WORD": "hidden"},
        secrets={"WORD"},
    )
    assert shown == {
        "HF_TOKEN": "****",
        "URL": "postgres://me:****@db/x",
        "PLAIN": "v",
        "WORD": "****",
    }


LEAVES = [
    f"jupyter_ffdl.{name}"
    for name in (
        "learner.environment",
        "learner.command",
        "learner.header",
        "learner.phases",
        "lifecycle.local.identity",
        "lifecycle.local.ownership",
        "lifecycle.local.containment",
        "lifecycle.local.processes",
        "lifecycle.local.memory",
        "lifecycle.local.gpus",
        "lifecycle.local.addresses",
        "lifecycle.local.mounts",
    )
]


@pytest.mark.parametrize("module", LEAVES)
def test_the_start_of_a_training_imports_the_standard_library_only(module):
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); " + script,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    others = set(ran.stdout.split()) - set(sys.stdlib_module_names) - {"__main__", "jupyter_ffdl"}
    assert others == set()
