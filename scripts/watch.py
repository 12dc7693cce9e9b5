"""Rebuild the extension while its sources change, with a JupyterLab that shows the result.

Reload the page to see a change. The watcher writes development builds into ``labextension/``:
``make generate`` turns them into the bundle that is committed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    # Folders named here come before the environment's own copy of the bundle.
    served = ROOT / "build" / "watch" / "labextensions"
    served.mkdir(parents=True, exist_ok=True)
    link = served / "jupyter-ffdl"
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT / "labextension", target_is_directory=True)

    subprocess.run(["npm", "run", "--silent", "build:dev"], cwd=ROOT, check=True)
    lab = ["jupyter", "lab", f"--LabServerApp.extra_labextensions_path={served}", *sys.argv[1:]]
    commands = (
        ["npm", "run", "--silent", "watch:ts"],
        ["npm", "run", "--silent", "watch:lab"],
        lab,
    )
    running = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    try:
        # Jupyter is the one that the user ends.
        with contextlib.suppress(KeyboardInterrupt):
            running[-1].wait()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        print("watch: `make generate` builds the bundle to commit")


if __name__ == "__main__":
    main()
