"""Renew the pictures of the documentation, from a real JupyterLab with an empty profile.

Each notebook is run once and pictured while its training runs and when it has ended, in
JupyterLab's light theme and in its dark one.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

import chromium

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "ui-tests"))

from lab import ARGUMENTS, Lab, open_lab, run_all_cells  # noqa: E402  (a folder of tests, no package)

IMAGES = ROOT / "docs" / "images"
NOTEBOOKS = ROOT / "examples" / "notebooks"
# Wide enough for a notebook beside the side panel, at the density of a laptop's screen.
SIZE: ViewportSize = {"width": 1280, "height": 860}
DONE_SECONDS = 60
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def main() -> None:
    path = chromium.find()
    if path is None:
        sys.exit("screenshots: no Chromium here: `make screenshots` installs one")
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
    _collapse_sidebar(page)
    run_all_cells(page, wait=False)
    view = page.locator(".jp-OutputArea-output").filter(has_text="training-")
    running = view.filter(has_text="epoch 12/").first
    running.wait_for(timeout=DONE_SECONDS * 1000)
    _save(page, running, "quickstart-running.png")
    ended = view.filter(has_text="Completed after").first
    ended.wait_for(timeout=DONE_SECONDS * 1000)
    for name, theme in THEMES.items():
        _theme(page, theme)
        _save(page, ended, f"quickstart-{name}.png")


def _collapse_sidebar(page: Page) -> None:
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")


def _theme(page: Page, name: str) -> None:
    page.evaluate(
        "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
    )
    light = "true" if "Light" in name else "false"
    page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def _save(page: Page, view: Locator, name: str) -> None:
    """Take a picture with the view in the middle of the page."""
    view.evaluate("node => node.scrollIntoView({block: 'center'})")
    page.screenshot(path=IMAGES / name)
    print(f"screenshots: {(IMAGES / name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
