"""A real JupyterLab with an empty profile, and a page that shows it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

# The news pop-up covers what is tested, and asks the network.
QUIET = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
# Chromium in a container, as root, without a network of its own.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
]
START_SECONDS = 60
STOP_SECONDS = 15


class Lab:
    """One ``jupyter lab`` process; all it reads and writes lies under one folder."""

    def __init__(
        self, home: Path, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        self.work = home / "work"
        self.log = home / "jupyter.log"
        self._runtime = home / "runtime"
        for folder in (self.work, self._runtime):
            folder.mkdir(parents=True, exist_ok=True)
        config = home / "config"
        (config / "labconfig").mkdir(parents=True, exist_ok=True)
        (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(QUIET))
        self.token = secrets.token_hex(16)
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "JUPYTER_TOKEN": self.token,
            **(environment or {}),
        }
        self._options = [
            "--no-browser",
            "--ServerApp.port=0",  # the system picks a free one
            f"--ServerApp.root_dir={self.work}",
            "--LabApp.expose_app_in_browser=True",
            *(["--allow-root"] if os.geteuid() == 0 else []),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *self._options],
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        note = self._runtime / f"jpserver-{self.process.pid}.json"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, ValueError):
                self.url = json.loads(note.read_text())["url"]
                self.get("api/status")
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()}")

    def get(self, path: str) -> Any:
        """Return the JSON that the server answers under its base URL."""
        request = urllib.request.Request(  # only http: the server is ours
            urllib.parse.urljoin(self.url, path), headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End the server as a user does, then whatever is left of its session."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def page_url(self, notebook: str | None = None) -> str:
        """Return where a browser finds Lab, without what an earlier page left open."""
        path = f"lab/tree/{urllib.parse.quote(notebook)}" if notebook else "lab"
        return urllib.parse.urljoin(self.url, f"{path}?reset&token={self.token}")


def open_lab(page: Page, lab: Lab, notebook: str | None = None) -> None:
    """Show Lab, with a notebook of its working folder open, and wait until it is ready."""
    page.goto(lab.page_url(notebook))
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.evaluate("() => window.jupyterapp.restored")
    if notebook:
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context !== undefined")


def run_all_cells(page: Page, *, wait: bool = True) -> None:
    """Run the cells of the open notebook; with ``wait``, until the last one is done.

    Waiting for the kernel's idle mark and pressing Shift+Enter loses the output in one of ten
    runs: the mark shows before the page has its own connection to the kernel.
    """
    page.evaluate(
        """async wait => {
          const app = window.jupyterapp;
          const widget = app.shell.currentWidget;
          await widget.revealed;
          await widget.context.ready;
          await widget.sessionContext.ready;
          await widget.sessionContext.session.kernel.info;
          const done = app.commands.execute('notebook:run-all-cells');
          if (wait) {
            await done;
          }
        }""",
        wait,
    )


def run_from_palette(page: Page, label: str) -> None:
    """Choose a command in the palette, as a user does."""
    page.keyboard.press("Control+Shift+C")
    field = page.locator(".lm-CommandPalette-input")
    field.wait_for()
    field.fill(label)
    page.locator(".lm-CommandPalette-item", has_text=label).first.wait_for()
    field.press("Enter")
