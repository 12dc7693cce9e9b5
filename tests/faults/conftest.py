"""A real Jupyter server that tests may kill, and what makes sure that nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faulting import Mortal


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    found = Mortal(tmp_path_factory.mktemp("mortal"))
    try:
        yield found
    finally:
        found.close()
