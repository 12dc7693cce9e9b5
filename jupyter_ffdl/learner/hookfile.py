"""The hook's copy in a training folder, which no upgrade of this package changes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from . import hook


def place(directory: Path) -> None:
    """Copy the hook to ``directory/sitecustomize.py``, with its compiled code if there is some.

    Most kernels run our own version, and where ``PYTHONDONTWRITEBYTECODE`` is set, as in many
    images, nobody would compile it for keeps: each start would cost 4 ms more. Compiled code
    counts for the source's time and size, which the copy has too.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    shutil.copy2(hook.__file__, directory / "sitecustomize.py")
    compiled = Path(hook.__spec__.cached or "")
    if compiled.is_file():
        cache = directory / "__pycache__"
        cache.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(compiled, cache / f"sitecustomize.{sys.implementation.cache_tag}.pyc")
