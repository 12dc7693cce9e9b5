"""Rebuild the extension while its sources change, with a JupyterLab that shows the result.

Reload the page to see a change. The watcher writes development builds into ``labextension/`` and
links the environment's copy to it: ``make generate`` makes the bundle that is committed, and every
preparation puts a copy in place of the link.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    subprocess.run(["npm", "run", "--silent", "build:dev"], cwd=ROOT, check=True)
    lab = ["jupyter", "lab", *sys.argv[1:]]
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
