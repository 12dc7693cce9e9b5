"""Renew the pictures of the documentation, from a real JupyterLab with an empty profile."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

import chromium

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "ui-tests"))

from lab import ARGUMENTS, Lab, open_lab, run_all_cells  # noqa: E402  (a folder of tests, no package)

IMAGES = ROOT / "docs" / "images"
NOTEBOOKS = ROOT / "examples" / "notebooks"
# Wide enough for a notebook beside the side panel, at the density of a laptop's screen.
SIZE: ViewportSize = {"width": 1280, "height": 860}
DONE_SECONDS = 60


def main() -> None:
    path = chromium.find()
    if path is None:
        sys.exit("screenshots: no Chromium here: `make screenshots` installs one")
    chromium.lend_node_to_playwright()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            lab.start()
            page = browser.new_page(viewport=SIZE, device_scale_factor=2, locale="en-US")
            _quickstart(page, lab)
        finally:
            browser.close()
            lab.stop()


def _quickstart(page: Page, lab: Lab) -> None:
    shutil.copy2(NOTEBOOKS / "quickstart.ipynb", lab.work)
    open_lab(page, lab, "quickstart.ipynb")
    run_all_cells(page)
    output = page.locator(".jp-OutputArea-output").filter(has_text="COMPLETED").first
    output.wait_for(timeout=DONE_SECONDS * 1000)
    output.scroll_into_view_if_needed()
    _save(page, "quickstart.png")


def _save(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / name)
    print(f"screenshots: {(IMAGES / name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
