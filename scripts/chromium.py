"""Find the browser of the browser tests and screenshots."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Playwright's own names for where it keeps the browsers that it installs.
PLAYWRIGHT_FOLDERS = ("~/.cache/ms-playwright", "~/Library/Caches/ms-playwright")
PLAYWRIGHT_BINARIES = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
)


def find() -> str | None:
    """Return the path of a Chromium: the system's, else the newest one of Playwright's."""
    named = (shutil.which(name) for name in NAMES)
    return next((path for path in named if path), None) or _playwrights()


def lend_node_to_playwright() -> None:
    """Let Playwright run on our Node where its own cannot start, for want of libatomic."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    node = shutil.which("node", path=here)
    if node and not ctypes.util.find_library("atomic"):
        os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", node)


def _playwrights() -> str | None:
    places = [os.environ.get("PLAYWRIGHT_BROWSERS_PATH", ""), *PLAYWRIGHT_FOLDERS]
    found = [
        binary
        for place in places
        if place
        for pattern in PLAYWRIGHT_BINARIES
        for binary in Path(place).expanduser().glob(pattern)
    ]
    return str(max(found)) if found else None
