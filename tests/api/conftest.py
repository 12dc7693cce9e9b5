"""One real Jupyter server for most tests of the API; those that need another start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving import Server, serving


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with serving(home, "--Trainer.max_running=0", base="/some%20base/") as server:
        yield server


@pytest.fixture
def server(session_server: Server) -> Iterator[Server]:
    yield session_server
    session_server.close_sockets()


@pytest.fixture(scope="session")
def finished(session_server: Server) -> str:
    """A training that has completed, with a log, results and scalars."""
    training_id = session_server.submit(FINISHED, manifest=FINISHED_MANIFEST)
    assert session_server.wait(training_id) == "COMPLETED", session_server.status(training_id)
    return training_id


FINISHED = """\
import os
for step in range(40):
    bad = "nan" if step == 7 else step
    print("step", step, "loss", 1 / (step + 1), "bad", bad, "über", flush=True)
results = os.environ["RESULT_DIR"]
os.makedirs(results + "/a")
open(results + "/a/weights.bin", "wb").write(bytes(range(256)) * 100)
"""
FINISHED_MANIFEST = """\
name: finished
description: wrote all that can be read
framework:
  name: custom
  version: python
  command: python -u train.py
evaluation_metrics:
  type: regex_extractor
  line_lookahead: 1
  groups:
    train:
      regex: 'step (?P<step>\\d+) loss (?P<loss>\\S+) bad (?P<bad>\\S+)'
      scalars:
        loss: {type: FLOAT, value: $loss}
        bad: {type: FLOAT, value: $bad}
      etimes:
        iteration: {type: INT, value: $step}
"""
