"""A model that was read from its library's format and is not yet published.

Shapes: R golden rows, W values in a row as events or windows give it, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature


@dataclass(frozen=True, slots=True)
class ConversionNote:
    """What became of one part of the original model, such as a step of a pipeline.

    Parts that cannot be converted at all are refused with a ModelError instead.
    """

    part: str
    result: Literal["frozen", "approximated"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in the form that a backend reads.

    backend, files, architecture, params, outputs: as in `Draft`.
    expected: returns what the original library gives for rows [R, W], as the raw outputs [R, O] of the backend; None if the
        backend itself is the authority. The published model must agree within `tolerance`.
    notes: what became of each part of the original.
    tolerance: None for one that suits the outputs.
    """

    backend: str
    files: Mapping[str, bytes]
    signature: Signature
    preprocessing: Preprocessing
    outputs: OutputKind | None = None
    params: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    expected: Callable[[FloatArray], FloatArray] | None = None
    notes: tuple[ConversionNote, ...] = ()
    tolerance: Tolerance | None = None
    architecture: str = ""
