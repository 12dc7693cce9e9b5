"""Write jupyter_ffdl/data/digits.npz from scikit-learn's copy (needs scikit-learn)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "jupyter_ffdl" / "data" / "digits.npz"


def main() -> None:
    """Write the file; fixed times in the zip make it the same byte for byte."""
    import numpy as np  # noqa: PLC0415
    from sklearn import datasets  # type: ignore[import-not-found]  # noqa: PLC0415

    digits: Any = datasets.load_digits()
    arrays = {
        "images": digits.images.astype(np.uint8),
        "labels": digits.target.astype(np.uint8),
    }
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content.getvalue(), compresslevel=9)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
