"""The environment of user code (FfDL contract §5.1): values in, values out.

Both backends build it here, so that a script finds on a laptop what it finds in a pod.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

UNSET_PREFIXES = (
    "ALERTMANAGER",
    "DLAAS",
    "ETCD",
    "GRAFANA",
    "HOSTNAME",
    "KUBERNETES",
    "MONGO",
    "PUSHGATEWAY",
)
"""Names of the service's own surroundings: never seen by user code, whoever sets them."""
_NEVER = ("DATA_STORE_", "RESULT_STORE_", "TRAINING_JOB")
_SERVER_PREFIXES = ("JUPYTER", "JPY_", "FFDL_")
_LEFT_BEHIND = frozenset({"OLDPWD", "SHLVL", "_"})

MPI_FRAMEWORKS = frozenset({"horovod", "pytorchmpi"})
TENSORFLOW_PORT = 2222
NAMESPACE = "default"
"""``DOWNWARD_API_POD_NAMESPACE`` where there are no namespaces."""
STARRED = "****"

_SECRET_WORDS = frozenset(
    {
        *("APIKEY", "COOKIE", "CREDENTIAL", "CREDENTIALS", "DSN", "PASS", "PASSPHRASE", "PASSWD"),
        *("PASSWORD", "PAT", "PWD", "SECRET", "SECRETS", "TOKEN"),
    }
)
_SECRET_ENDINGS = ("APIKEY", "PASSWD", "PASSWORD", "SECRET", "TOKEN")
_LAST_WORDS = frozenset({"AUTH", "KEY", "KEYS"})
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")


def secret_looking(name: str) -> bool:
    """Whether a variable of this name probably holds a secret.

    Looks at whole words, so that ``TOKENIZERS_PARALLELISM`` and ``MAX_TOKENS`` stay what they are.
    """
    if name in _NOT_SECRET:
        return False
    words = [word.upper() for word in _WORD.findall(name)]
    if not words:
        return False
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or any(word.endswith(_SECRET_ENDINGS) for word in words)
        or words[-1] in _LAST_WORDS
        or (words[-1] == "ID" and words[-2:-1] == ["KEY"])
    )


def masked(env: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """Return ``env`` for printing: secrets, secret-looking values and passwords in URLs starred."""
    return {
        name: STARRED
        if name in secrets or secret_looking(name)
        else _PASSWORD_IN_URL.sub(rf"\1:{STARRED}@", value)
        for name, value in env.items()
    }


def base_environment(caller: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what user code inherits of its submitter's environment, and the names left out."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith((*UNSET_PREFIXES, *_NEVER, *_SERVER_PREFIXES))
        and not secret_looking(name)
    }
    return kept, sorted(set(caller) - set(kept))


def user_environment(
    spec: Mapping[str, Any],
    *,
    base: Mapping[str, str],
    job_dir: Path | str,
    model_dir: Path | str,
    log_dir: Path | str,
    data_dirs: Sequence[Path | str],
    result_dir: Path | str,
    result_bucket_dir: Path | str,
    checkpoint_dir: Path | str,
    learner: int,
    addresses: Sequence[str],
    master_port: int,
    learner_uuid: str,
    gpu_uuids: Sequence[str],
    hook_dir: Path | str,
    learner_dir: Path | str,
    secrets: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of one learner's command.

    ``base``: as ``base_environment`` left it, with the manifest's own variables. ``addresses``:
    one per learner, used only for several. An empty ``gpu_uuids`` hides the machine's GPUs.
    Empty directories stand for those that the contract leaves empty.
    """
    inherited = {
        name: value
        for name, value in base.items()
        if not name.startswith((*UNSET_PREFIXES, *_NEVER)) and name not in _LEFT_BEHIND
    }
    learners = int(spec["learners"])
    prefix = f"learner-{learner_uuid}"
    env = {
        **inherited,
        **secrets,
        "DATA_DIR": str(data_dirs[0]),
        **{f"DATA_DIR_{n}": str(path) for n, path in enumerate(data_dirs[1:], start=2)},
        "RESULT_DIR": str(result_dir),
        "RESULT_BUCKET_DIR": str(result_bucket_dir),
        "CHECKPOINT_DIR": str(checkpoint_dir),
        "MODEL_DIR": str(model_dir),
        "LOG_DIR": str(log_dir),
        "JOB_STATE_DIR": str(job_dir),
        "TRAINING_ID": str(spec["training_id"]),
        "TRAINING_COMMAND": joined(str(spec["command"])),
        "GPU_COUNT": f"{float(spec.get('gpus') or 0):.6f}",
        "NUM_LEARNERS": str(learners),
        "LEARNER_ID": str(learner),
        "LEARNER_NAME_PREFIX": prefix,
        "DOWNWARD_API_POD_NAME": f"{prefix}-{learner - 1}",
        "DOWNWARD_API_POD_NAMESPACE": NAMESPACE,
        "PATH": _path(spec, inherited.get("PATH", "")),
        "PYTHONPATH": _python_path(spec, inherited.get("PYTHONPATH", ""), hook_dir, model_dir),
        # A log that is a file would else be written in blocks of 8 KiB: lines minutes too late.
        "PYTHONUNBUFFERED": "1",
        "PWD": str(model_dir),
        "CUDA_VISIBLE_DEVICES": ",".join(gpu_uuids),
        "FFDL_LEARNER_DIR": str(learner_dir),
    }
    if spec.get("cpus"):
        env["OMP_NUM_THREADS"] = str(max(1, int(spec["cpus"])))
    if learners > 1:
        env.update(_distributed(spec, learner, addresses, master_port))
    return env


_PS_HOSTS = re.compile(r"(?:^|[\s;&|({])(?:export\s+)?PS_HOSTS_COUNT=[\"']?(\d{1,9})\b")


def parameter_servers(command: str) -> int | None:
    """Return n where the command sets ``PS_HOSTS_COUNT=n`` (FfDL contract §5.5), else None."""
    match = _PS_HOSTS.search(command)
    return None if match is None else int(match[1])


def joined(command: str) -> str:
    """Return the command as one line: each line break becomes one blank (FfDL contract §1.7)."""
    return re.sub(r"\r?\n", " ", command)


def _path(spec: Mapping[str, Any], path: str) -> str:
    interpreter = spec.get("interpreter")
    parts = [os.path.dirname(interpreter)] if interpreter else []
    return os.pathsep.join([*parts, "/usr/local/bin/", path or os.defpath])


def _python_path(
    spec: Mapping[str, Any], path: str, hook_dir: Path | str, model_dir: Path | str
) -> str:
    mpi = str(spec.get("framework_name", "")).lower() in MPI_FRAMEWORKS
    parts = [str(hook_dir), "" if mpi else path, str(model_dir)]
    # An empty part would mean the working directory, twice and in the wrong place.
    return os.pathsep.join(part for part in parts if part)


def _distributed(
    spec: Mapping[str, Any], learner: int, addresses: Sequence[str], master_port: int
) -> dict[str, str]:
    learners, rank = int(spec["learners"]), str(learner - 1)
    env = {
        "MASTER_ADDR": addresses[0],
        "MASTER_PORT": str(master_port),
        "WORLD_SIZE": str(learners),
        "RANK": rank,
        "NODE_RANK": rank,
        "PET_NNODES": str(learners),
        "PET_NODE_RANK": rank,
        "PET_MASTER_ADDR": addresses[0],
        "PET_MASTER_PORT": str(master_port),
        "PET_NPROC_PER_NODE": str(max(int(spec.get("gpus") or 0), 1)),
    }
    if parameter_servers(str(spec["command"])) is None:
        env["TF_CONFIG"] = json.dumps(
            {
                "cluster": {"worker": _tensorflow_workers(addresses[:learners])},
                "task": {"type": "worker", "index": learner - 1},
            }
        )
    return env


def _tensorflow_workers(addresses: Sequence[str]) -> list[str]:
    # Where all learners share one address (macOS) their ports must differ.
    alone = len(set(addresses)) == len(addresses)
    return [
        f"{address}:{TENSORFLOW_PORT if alone else TENSORFLOW_PORT + n}"
        for n, address in enumerate(addresses)
    ]
