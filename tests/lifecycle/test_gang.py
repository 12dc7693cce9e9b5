"""When several learners are one training that ended (FfDL contract §5.5)."""

from __future__ import annotations

import pytest

from jupyter_ffdl.lifecycle.gang import Outcome, outcome


@pytest.mark.parametrize(
    ("exits", "completion", "workers", "expected"),
    [
        pytest.param({}, "workers", [1, 2], None, id="nobody ended"),
        pytest.param({1: 0}, "workers", [1, 2], None, id="one of two workers ended"),
        pytest.param({2: 0, 1: 0}, "workers", [1, 2], Outcome(0, 1), id="all workers ended"),
        pytest.param({2: 0}, "workers", [2], Outcome(0, 2), id="a parameter server runs on"),
        pytest.param({2: 3}, "workers", [1, 2], Outcome(3, 2), id="the first failure ends all"),
        pytest.param({1: 1}, "workers", [2], Outcome(1, 1), id="a failed parameter server too"),
        pytest.param({2: 0}, "all", [1, 2], None, id="all means all"),
        pytest.param({1: 0}, "master", [1], Outcome(0, 1), id="the master decides"),
        pytest.param({2: 0}, "master", [1], None, id="and nobody else"),
        pytest.param({2: 0}, "first", [1, 2], Outcome(0, 2), id="FfDL's way: whoever is first"),
        pytest.param({2: 0, 1: 9}, "workers", [1, 2], Outcome(9, 1), id="success, then failure"),
    ],
)
def test_how_a_gang_ends(exits, completion, workers, expected):
    assert outcome(exits, learners=2, workers=workers, completion=completion) == expected
