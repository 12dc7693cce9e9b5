"""The one table of transitions, and what counts of a status file."""

from __future__ import annotations

from itertools import product

import pytest

from jupyter_ffdl.training import LABELS, Status, StatusLine, history, may_follow, new_id, valid_id

S = Status


def line(status: Status, generation: int = 1, attempt: int = 1) -> dict[str, object]:
    return StatusLine(status, 1000, generation=generation, attempt=attempt).to_json()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, S.PENDING, id="there is room at once"),
        pytest.param(S.QUEUED, S.PENDING, id="its turn came"),
        pytest.param(S.PENDING, S.QUEUED, id="the hand-over to the backend failed"),
        pytest.param(S.PENDING, S.DOWNLOADING, id="the learner loads"),
        pytest.param(S.DOWNLOADING, S.PROCESSING, id="all is loaded"),
        pytest.param(S.PROCESSING, S.PROCESSING, id="something new is known"),
        pytest.param(S.PROCESSING, S.STORING, id="the command ended"),
        pytest.param(S.STORING, S.COMPLETED, id="all is stored"),
        pytest.param(S.QUEUED, S.HALTED, id="halted before its turn"),
    ],
)
def test_a_training_moves_forward(before, after):
    assert may_follow(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(S.QUEUED, S.PROCESSING, id="nothing runs before its hand-over"),
        pytest.param(S.QUEUED, S.COMPLETED, id="what never ran never completes"),
        pytest.param(S.STORING, S.PROCESSING, id="storing is not undone"),
        pytest.param(S.PROCESSING, S.PENDING, id="back only with the next attempt"),
    ],
)
def test_a_training_does_not_move_back(before, after):
    assert not may_follow(before, after)


def test_terminal_statuses_are_absorbing():
    for before, after in product((S.COMPLETED, S.FAILED, S.HALTED), Status):
        assert not may_follow(before, after)
        assert not may_follow(before, after, next_attempt=True)


def test_the_next_attempt_begins_at_pending():
    lines = [line(S.PENDING), line(S.DOWNLOADING), line(S.PROCESSING), line(S.PENDING, attempt=2)]
    assert [(x.status, x.attempt) for x in history(lines)][-1] == (S.PENDING, 2)


def test_a_late_completion_does_not_overwrite_a_halt():
    lines = [line(S.PENDING), line(S.HALTED), line(S.COMPLETED)]
    assert history(lines)[-1].status is S.HALTED


def test_lines_of_an_owner_that_was_taken_over_count_for_nothing():
    lines = [line(S.PENDING), line(S.PROCESSING, generation=2), line(S.COMPLETED, generation=1)]
    assert history(lines)[-1].status is S.PROCESSING


@pytest.mark.parametrize("junk", [{}, {"status": "SLEEPING"}, {"status": "PENDING"}, [], "x", 3])
def test_what_is_no_status_line_is_skipped(junk):
    assert [x.status for x in history([junk, line(S.PENDING)])] == [S.PENDING]


def test_a_line_survives_its_way_through_json():
    before = StatusLine(S.FAILED, 5, "137", "C201", 3, 2, {"exit_code": 137})
    assert StatusLine.from_json(before.to_json()) == before


def test_ids_are_valid_and_differ():
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(valid_id(x) for x in ids)


@pytest.mark.parametrize("text", ["", "short", "../../etc/passwd", "a" * 129, "training-ä23456"])
def test_what_could_leave_the_directory_is_no_id(text):
    assert not valid_id(text)


def test_every_status_has_a_word():
    assert set(LABELS) == set(Status)
