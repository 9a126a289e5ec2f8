"""A model that was read from its library's format and is not yet published.

Shapes: R golden rows, W values in a row as events or windows give it, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    A model with a refused part is not published: the notes are in the message of the ModelError.
    """

    part: str
    result: Literal["frozen", "approximated", "refused"]
    reason: str = ""


def conversion_table(notes: Sequence[ConversionNote]) -> str:
    """Return a line for each part, with its result and the reason."""
    width = max((len(note.part) for note in notes), default=0)
    return "\n".join(f"  {note.part:{width}}  {note.result:12}  {note.reason}".rstrip() for note in notes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in the form that a backend reads.

    backend, files, architecture, params, outputs: as in `Draft`.
    expected: returns what the original library gives for rows [R, W], as the raw outputs [R, O] of the backend; None if the
        backend itself is the authority. The published model must agree within `tolerance`.
    notes: what became of each part of the original.
    tolerance: None for one that suits the outputs.
    own_names: the names of the columns that the model was trained with; empty if it does not know them.
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
    own_names: tuple[str, ...] = ()
