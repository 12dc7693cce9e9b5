"""A real Jupyter server with a real kernel, and the client pointed at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernels import Kernel
from serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("notebook")
    with serving(home, "--Trainer.max_running=0", base="/a%20base/") as started:
        yield started


@pytest.fixture(scope="session")
def session_kernel(server: Server) -> Iterator[Kernel]:
    kernel = Kernel(server)
    kernel.ok("%load_ext jupyter_ffdl\nopen('one.py', 'w').write('print(1)');")
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(session_kernel: Kernel) -> Kernel:
    """The kernel of the session: kernels take a second to start."""
    return session_kernel


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The Python client in this process, as any program would use it."""
    from jupyter_ffdl.notebook import client as module

    monkeypatch.setenv("FFDL_URL", f"http://127.0.0.1:{server.port}{server.base}ffdl")
    monkeypatch.setenv("FFDL_TOKEN", server.token)
    monkeypatch.setattr(module, "_service", None)
    monkeypatch.chdir(tmp_path)
    return module
