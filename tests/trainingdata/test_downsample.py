import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ffdl.trainingdata.downsample import downsample

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(deadline=None)
@given(st.lists(numbers, max_size=200), st.integers(5, 60))
def test_first_last_extremes_and_first_broken_value_stay(values, max_points):
    value = np.array(values, float)
    kept = downsample(value, max_points)
    assert len(kept) <= max_points
    assert list(kept) == sorted(set(kept.tolist()))
    if not len(value):
        return
    assert kept[0] == 0
    assert kept[-1] == len(value) - 1
    finite = value[np.isfinite(value)]
    if len(finite):
        shown = value[kept][np.isfinite(value[kept])]
        assert shown.min() == finite.min()
        assert shown.max() == finite.max()
    broken = np.flatnonzero(~np.isfinite(value))
    if len(broken):
        assert broken[0] in kept


def test_a_spike_in_a_million_points_is_seen():
    value = np.zeros(1_000_000)
    value[123_456] = 1e9
    kept = downsample(value, 1000)
    assert 123_456 in kept
    assert len(kept) <= 1000


@pytest.mark.parametrize("max_points", [-1, 0, 1, 3])
def test_a_senseless_limit_still_gives_the_ends(max_points):
    kept = downsample(np.arange(10.0), max_points)
    assert kept[0] == 0
    assert kept[-1] == 9
