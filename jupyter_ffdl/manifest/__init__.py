"""Manifests: text to value and back, with every rule of FfDL's grammar. Pure.

``parse`` is the way in. The modules: ``source`` (YAML with places), ``section`` (typed reading),
``sizes``, ``framework``, ``stores``, ``metrics``, ``command``, ``manifest`` (all fields, and the
order of checks), ``model`` (the API's JSON), ``masking`` and ``writing`` (text again).
"""

from __future__ import annotations

from .command import mentions_literal_paths, script_kind, workers
from .framework import Framework
from .manifest import Manifest, parse
from .masking import masked_text
from .metrics import EvaluationMetrics
from .model import to_model
from .section import Note
from .sizes import Size
from .stores import DataStore
from .writing import to_yaml

__all__ = [
    "DataStore",
    "EvaluationMetrics",
    "Framework",
    "Manifest",
    "Note",
    "Size",
    "masked_text",
    "mentions_literal_paths",
    "parse",
    "script_kind",
    "to_model",
    "to_yaml",
    "workers",
]
