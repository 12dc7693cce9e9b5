"""Measurements print one table at their end: every figure beside a baseline of the same run."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil
import pytest


@dataclass
class Report:
    """Rows of the table."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, ours: str, baseline: str, ratio: str, target: str) -> None:
        """Note one figure; ``ratio`` is ours over the baseline."""
        self.rows.append((what, ours, baseline, ratio, target))
        print(f"\n  {what}: {ours}  (baseline {baseline}, ratio {ratio}; target {target})")

    def text(self) -> str:
        """Return the table as Markdown."""
        head = ("what", "ours", "baseline in the same run", "ratio", "target")
        lines = [head, tuple("---" for _ in head), *self.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in lines)


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    found = Report()
    yield found
    memory = psutil.virtual_memory().total / 2**30
    print(f"\n\n{platform.platform()}, Python {platform.python_version()}, ", end="")
    print(f"{psutil.cpu_count()} cores, {memory:.0f} GiB\n\n{found.text()}\n")


def percentile(values: Sequence[float], q: int) -> float:
    """Return the q-th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1]
