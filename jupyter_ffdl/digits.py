"""Handwritten digits for the first training: real, small, offline (see ``data/README.md``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATH = Path(__file__).with_name("data") / "digits.npz"
TRAIN = 1437
"""Images to train with; the other 360 are for the test."""


def load() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return ``train_x, train_y, test_x, test_y``.

    Images are rows of 64 numbers from 0 to 1 (8 × 8 pixels), labels are 0 to 9. The split is fixed,
    shuffled once, so that two trainings can be compared.
    """
    import numpy as np  # noqa: PLC0415  (only those who train need it)

    with np.load(PATH) as data:
        images = (data["images"].reshape(-1, 64) / 16).astype(np.float32)
        labels = data["labels"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:TRAIN], order[TRAIN:]
    return images[train], labels[train], images[test], labels[test]
