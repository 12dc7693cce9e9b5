"""Fewer points that look the same: the least and the greatest of each bucket."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def downsample(value: npt.NDArray[np.float64], max_points: int) -> npt.NDArray[np.intp]:
    """Return the ascending indices to keep, at most ``max(max_points, 5)``.

    Kept are the first and the last point, each bucket's extremes, and where values are NaN or
    infinite also the first such one of each bucket: "became NaN at step 812" stays true.
    """
    count = len(value)
    max_points = max(max_points, 5)
    if count <= max_points:
        return np.arange(count)
    finite = np.isfinite(value)
    per_bucket = 2 if finite.all() else 3
    buckets = max(1, (max_points - 2) // per_bucket)
    width = -(-count // buckets)
    padded = buckets * width
    low = _padded(np.where(finite, value, np.inf), padded, np.inf).reshape(buckets, width)
    high = _padded(np.where(finite, value, -np.inf), padded, -np.inf).reshape(buckets, width)
    begins = np.arange(buckets) * width
    wanted = [
        np.array([0, count - 1]),
        (begins + low.argmin(axis=1))[np.isfinite(low.min(axis=1))],
        (begins + high.argmax(axis=1))[np.isfinite(high.max(axis=1))],
    ]
    if per_bucket == 3:
        broken = _padded(~finite, padded, fill=False).reshape(buckets, width)
        wanted.append((begins + broken.argmax(axis=1))[broken.any(axis=1)])
    kept: npt.NDArray[np.intp] = np.unique(np.concatenate(wanted))
    return kept


def _padded(values: npt.NDArray[Any], length: int, fill: float) -> npt.NDArray[Any]:
    return np.concatenate([values, np.full(length - len(values), fill, values.dtype)])
