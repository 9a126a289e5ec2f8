"""The imports before the fork: what all children need, so that they share its memory. Nothing here starts a thread."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable
from typing import Final

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.location import is_url
from forebay.schemas.errors import ForebayError
from forebay.stream.config.models_section import ServedModelSettings

_TORCH_BACKENDS: Final = frozenset(("torch", "torch-module", "torch-export"))
"""Backends whose library is imported before the fork: it has some 300 MiB of memory of its own, and no thread before the first
operator. The library of the others starts a thread when it is imported, and has little to share."""


def import_for_children(models: Iterable[ServedModelSettings]) -> None:
    """Import the worker, and torch if a model needs it. A model that cannot be found is left to the children to report."""
    importlib.import_module("forebay.stream.worker.start")
    for served in models:
        section = served.model
        with contextlib.suppress(ForebayError, OSError):
            if is_url(section.repository):
                continue
            stored = read_version(section.repository, section.name, section.version)
            if stored.manifest.backend in _TORCH_BACKENDS:
                importlib.import_module("forebay.models.backends.torch.backend")
                importlib.import_module("torch")
                return
