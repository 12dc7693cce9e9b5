"""Whose turn it is (FfDL contract §4.6)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.trainer.queue import PASSED_OVER_MS, Demand, Limits, decide, never_fits, type_key


def wants(training_id: str, submitted: int = 0, owner: str = "a", **amounts: object) -> Demand:
    return Demand(training_id, owner, submitted, **amounts)  # type: ignore[arg-type]


def test_order_of_arrival_within_a_user():
    started, waits = decide([wants("t2", 2), wants("t1", 1)], [], Limits(max_running=1), now=3)
    assert started == ["t1"]
    assert [(w.training_id, w.position) for w in waits] == [("t2", 1)]
    assert waits[0].reason == "1 trainings run, and max_running is 1"


def test_the_user_with_the_fewest_running_gpus_is_first():
    running = [wants("r", owner="a", gpus=2)]
    waiting = [wants("a1", 1, "a", gpus=1), wants("b1", 2, "b", gpus=1)]
    assert decide(waiting, running, Limits(gpus=3), now=3)[0] == ["b1"]


def test_what_does_not_fit_does_not_block_others():
    waiting = [wants("big", 1, gpus=4), wants("small", 2, gpus=1)]
    started, waits = decide(waiting, [wants("r", gpus=1)], Limits(gpus=4), now=3)
    assert started == ["small"]
    assert waits[0].reason == "Waits for 4 GPUs: 3 of 4 free"


def test_passed_over_for_an_hour_is_next():
    waiting = [wants("big", 1, gpus=4), wants("small", 2, gpus=1)]
    started, waits = decide(waiting, [wants("r", gpus=1)], Limits(gpus=4), now=PASSED_OVER_MS + 2)
    assert started == []
    assert "big has waited for an hour" in waits[1].reason


def test_without_gpus_nobody_waits_for_gpus():
    limits = Limits(gpus=0, gpu_types={"NVIDIA_TESLAK80": 0})
    assert decide([wants("t")], [], limits, now=1)[0] == ["t"]


def test_given_cpus_and_memory_count():
    limits = Limits(cpus=4, memory_bytes=100)
    waiting = [wants("c", 1, cpus=2.5), wants("d", 2, cpus=2), wants("m", 3, memory_bytes=100)]
    assert decide(waiting, [], limits, now=4)[0] == ["c", "m"]


def test_a_quota_counts_its_type_only():
    limits = Limits(gpu_types={type_key("nvidia-Tesla.K80"): 1})
    waiting = [wants("k", 1, gpus=2, gpu_type="nvidia-tesla.k80"), wants("v", 2, gpus=9)]
    assert decide(waiting, [], limits, now=3)[0] == ["v"]
    assert (
        never_fits(waiting[0], limits) == "Waits for 2 GPUs of type nvidia-tesla.k80: 1 of 1 free"
    )


amounts = st.integers(0, 4)
demands = st.lists(
    st.builds(
        Demand,
        training_id=st.uuids().map(str),
        owner=st.sampled_from("abc"),
        submitted=st.integers(0, 9),
        gpus=amounts,
        cpus=amounts,
        memory_bytes=amounts,
    ),
    max_size=12,
)


@given(demands, demands)
def test_no_decision_exceeds_a_limit_or_forgets_anybody(waiting, running):
    limits = Limits(max_running=5, gpus=6, cpus=6, memory_bytes=6)
    started, waits = decide(waiting, running, limits, now=10)
    assert sorted(started + [w.training_id for w in waits]) == sorted(
        d.training_id for d in waiting
    )
    chosen = [d for d in waiting if d.training_id in started]
    if chosen:
        assert len(running) + len(chosen) <= 5
        for kind in ("gpus", "cpus", "memory_bytes"):
            wanted = sum(getattr(d, kind) for d in chosen)
            used = sum(getattr(d, kind) for d in running)
            assert not wanted or used + wanted <= 6
