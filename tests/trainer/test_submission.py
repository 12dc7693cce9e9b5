"""What a client says of its kernel is checked before anything exists."""

from __future__ import annotations

import pytest

from jupyter_ffdl.errors import BadInput
from trainings import state_directory


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"interpreter": "/nope/python"}, "context.interpreter"),
        ({"interpreter": "/tmp"}, "context.interpreter"),
        ({"interpreter": "\0"}, "context.interpreter"),
        ({"environment": {"A": "\ud800"}}, "context.environment"),
        ({"environment": {"A=B": "x"}}, "context.environment"),
        ({"environment": {"": "x"}}, "context.environment"),
        ({"environment": {"A": "a\0b"}}, "context.environment"),
        ({"secrets": {"A": "a\0b"}}, "context.secrets"),
    ],
)
def test_what_no_process_can_have_is_refused(tmp_path, context, field):
    with state_directory(tmp_path) as trainings:
        with pytest.raises(BadInput) as refused:
            trainings.submit("print(1)", context=context)
        assert refused.value.field == field
        assert list((tmp_path / "state" / "trainings").iterdir()) == []
