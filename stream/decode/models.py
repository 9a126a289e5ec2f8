"""The models that events are decoded for."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.models.artefacts.signature import Signature
from forebay.stream.core.model_ref import ModelRef


@dataclass(frozen=True, slots=True)
class DecodedModel:
    """A served model as the decoder knows it.

    topics: full names of the topics whose events are for this model unless they name another one.
    """

    ref: ModelRef
    signature: Signature
    topics: frozenset[str] = frozenset()
