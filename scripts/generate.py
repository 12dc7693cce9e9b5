"""Renew the files that are generated from others, or check that they are up to date.

Everything is made in a copy of the sources first. The check compares the copy with the checkout
byte for byte, so a committed bundle is proved to be what its sources give, whoever built it.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import references

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    ".npmrc",
    "package-lock.json",
    "package.json",
    "schema",
    "src",
    "style",
    "tsconfig.json",
    "webpack.config.js",
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--check", action="store_true", help="change nothing, fail if outdated")
    check = options.parse_args().check

    (ROOT / "build").mkdir(exist_ok=True)
    # Inside the checkout, because hard links do not cross file systems; a folder of its own for
    # each run, because two may run at once.
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="generate-") as folder:
        copy = Path(folder)
        _copy_sources(copy)
        made = [_version(copy), *_wire(copy), *references.write(copy), _bundle(copy)]
        outdated = [path for path in made if _differs(copy / path, ROOT / path)]
        for path in outdated:
            if not check:
                _take_over(copy / path, ROOT / path)
            print(f"generate: {path} {'is out of date' if check else 'renewed'}")
    if check and outdated:
        sys.exit("generate: run `make generate` and commit what it changes")


def _copy_sources(copy: Path) -> None:
    for name in SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
    # Hard links, because a link to the folder would put the checkout's path into module ids.
    shutil.copytree(
        ROOT / "node_modules", copy / "node_modules", symlinks=True, copy_function=os.link
    )


def _version(copy: Path) -> str:
    """Write the version where TypeScript can import it: package.json is outside ``src``."""
    version = json.loads((copy / "package.json").read_text())["version"]
    note = "// Generated from package.json by `make generate`: change the version there.\n"
    (copy / "src" / "version.ts").write_text(f"{note}export const VERSION = '{version}';\n")
    return "src/version.ts"


def _wire(copy: Path) -> list[str]:
    """Write the OpenAPI file of the server's models, and the TypeScript types made from it."""
    (copy / "docs").mkdir()
    with (copy / "docs" / "openapi.json").open("wb") as file:
        subprocess.run([sys.executable, "-m", "jupyter_ffdl.api.openapi"], stdout=file, check=True)
    _run(
        copy,
        "npx",
        "--no-install",
        "openapi-typescript",
        "docs/openapi.json",
        "--output",
        "src/wire.ts",
    )
    return ["docs/openapi.json", "src/wire.ts"]


def _bundle(copy: Path) -> str:
    _run(copy, "npm", "run", "--silent", "build")
    return "labextension"


def _run(folder: Path, *command: str) -> None:
    """Run a command in a folder; what it says matters only when it fails."""
    done = subprocess.run(
        command, cwd=folder, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{done.stdout.decode(errors='replace')}\ngenerate: failed: {' '.join(command)}")


def _differs(made: Path, kept: Path) -> bool:
    if made.is_file():
        return not kept.is_file() or made.read_bytes() != kept.read_bytes()
    names = _files(made)
    if names != _files(kept):
        return True
    _, changed, unreadable = filecmp.cmpfiles(made, kept, names, shallow=False)
    return bool(changed or unreadable)


def _files(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


def _take_over(made: Path, kept: Path) -> None:
    if made.is_file():
        kept.parent.mkdir(exist_ok=True)
        shutil.copy2(made, kept)
    else:
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(made, kept)


if __name__ == "__main__":
    main()
