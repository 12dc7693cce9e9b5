"""Manifests: text to value and back, with every rule of FfDL's grammar. Pure.

``parse`` is the way in. The modules: ``source`` (YAML with places), ``section`` (typed reading),
``sizes``, ``framework``, ``stores``, ``metrics``, ``command``, ``manifest`` (all fields, and the
order of checks), ``model`` (the API's JSON), ``masking`` and ``writing`` (text again).
"""

from __future__ import annotations

from .command import joined, mentions_literal_paths, parameter_servers, script_kind, workers
from .framework import Framework
from .manifest import Manifest, parse
from .metrics import EvaluationMetrics
from .section import Note
from .sizes import Size
from .stores import DataStore

__all__ = [
    "DataStore",
    "EvaluationMetrics",
    "Framework",
    "Manifest",
    "Note",
    "Size",
    "joined",
    "mentions_literal_paths",
    "parameter_servers",
    "parse",
    "script_kind",
    "workers",
]
