"""Why a training ended: what was observed goes in, a verdict for people comes out.

Pure and table-driven: files are read and processes watched elsewhere. The promise is that every
failure has a name, and that what cannot be named is said to be so (docs/how-it-works.md).
"""

from __future__ import annotations

from .endings import diagnose, first_to_fail
from .observation import Failure, Frame, Link, Observation
from .verdict import Cell, Remedy, SourceLine, Verdict, Where

__all__ = [
    "Cell",
    "Failure",
    "Frame",
    "Link",
    "Observation",
    "Remedy",
    "SourceLine",
    "Verdict",
    "Where",
    "diagnose",
    "first_to_fail",
]
