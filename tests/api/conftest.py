"""One real Jupyter server for most tests of the API; those that need another start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with serving(home, "--Trainer.max_running=0", base="/some base/".replace(" ", "%20")) as server:
        yield server


@pytest.fixture(scope="session")
def finished(server: Server) -> str:
    """A training that has completed, with a log, results and scalars."""
    training_id = server.submit(FINISHED, manifest=FINISHED_MANIFEST)
    assert server.wait(training_id) == "COMPLETED", server.status(training_id)
    return training_id


FINISHED = """\
import json, os
for step in range(30):
    print("step", step, "über", flush=True)
results = os.environ["RESULT_DIR"]
os.makedirs(results + "/a")
open(results + "/a/weights.bin", "wb").write(bytes(range(256)) * 100)
records = open(os.environ["LOG_DIR"] + "/evaluation-metrics.txt", "a")
for step in range(40):
    values = {"loss": 1 / (step + 1), "bad": float("nan") if step == 7 else step}
    etimes = {"iteration": step}
    records.write(json.dumps({"etimes": etimes, "grouplabel": "train", "values": values}) + "\\n")
records.close()
"""
FINISHED_MANIFEST = """\
name: finished
description: wrote all that can be read
framework:
  name: custom
  version: python
  command: python -u train.py
evaluation_metrics:
  type: emetrics_file
"""
