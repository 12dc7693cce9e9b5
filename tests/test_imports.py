"""What loads when, and who may know whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jupyter_ffdl

PACKAGE = Path(jupyter_ffdl.__file__).parent


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        pytest.param(
            "import jupyter_ffdl", {"tornado", "kubernetes", "numpy", "yaml"}, id="the package"
        ),
        pytest.param(
            "from jupyter_ffdl import train",
            {"tornado", "yaml", "pydantic", "numpy", "psutil", "traitlets"},
            id="the client: a kernel has IPython and the standard library only",
        ),
        pytest.param(
            "import jupyter_ffdl.lifecycle.local.supervisor",
            {"tornado", "yaml", "pydantic", "numpy", "psutil", "traitlets", "tensorboard"},
            id="the supervisor: a person waits for the first line",
        ),
        pytest.param(
            "import jupyter_ffdl.api.app",
            {"pydantic", "numpy", "tensorboard"},
            id="the server extension: the rest comes once the server is up",
        ),
    ],
)
def test_nothing_heavy_is_loaded_early(statement, absent):
    found = loaded_by(statement)
    assert not {name for name in found if name.split(".")[0] in absent}


def imports(path: Path) -> set[str]:
    """Return the names of what a module imports, ours with the whole path."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            name = ".".join(filter(None, [base, node.module]))
            found |= {name} | {f"{name}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("part", "never"),
    [
        ("learner", ("tornado", "jupyter_server", "jupyter_ffdl.api", "jupyter_ffdl.trainer",
                     "jupyter_ffdl.lifecycle", "kubernetes", "pydantic", "yaml")),
        ("lifecycle", ("tornado", "jupyter_server", "jupyter_ffdl.api", "pydantic", "yaml")),
        ("trainingdata", ("tornado", "jupyter_server", "jupyter_ffdl.api", "pydantic")),
        ("trainer", ("tornado", "jupyter_server", "jupyter_ffdl.api", "pydantic")),
        ("diagnosis", ("os", "subprocess", "tornado", "jupyter_ffdl.trainer",
                       "jupyter_ffdl.lifecycle")),
        ("notebook", ("tornado", "jupyter_server", "jupyter_ffdl.trainer", "jupyter_ffdl.lifecycle",
                      "pydantic", "numpy", "yaml")),
    ],
)  # fmt: skip
def test_nobody_calls_back_into_a_layer_to_its_left(part, never):
    for path in sorted((PACKAGE / part).rglob("*.py")):
        below = tuple(f"{name}." for name in never)
        known = {name for name in imports(path) if name in never or name.startswith(below)}
        if path.name == "supervisor.py":
            # Whoever ends a training starts the next one: the queue is all it knows of the trainer.
            known -= {"jupyter_ffdl.trainer", "jupyter_ffdl.trainer.queue"}
        assert not known, f"{path.relative_to(PACKAGE)} knows {known}"
