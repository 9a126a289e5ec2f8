"""The model that methods change: what a version consists of, and its parts that can be changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import BACKENDS, ONNX_FILE, TREES_FILE
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.golden import GoldenRows, Tolerance, check_finite
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.manifest import OutputKind, Provenance
from forebay.models.artefacts.preparation import prepared_shape, shaped_rows
from forebay.models.artefacts.publication import Draft, publish_version
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.catalogue import find_backend
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.compression.layer_reading import NotAChain, read_layers
from forebay.models.compression.layers import Layers
from forebay.models.serving.scoring import scores_of
from forebay.schemas.errors import ModelError

_QUANTISED_TOLERANCE: Final = 0.02
"""Of the largest output: where a processor rounds one value to the next integer, outputs differ by about this."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model in the form that a backend reads, with what a method can change of it.

    draft: of the version; its provenance is replaced when it is published.
    layers: the net as a chain of layers, whose graph `draft` is; None if it is not one, or has been quantised.
    not_layers: why there are none. ensemble: the trees; None for a net.
    is_quantised: whether values are integers, so that processors may round differently.
    notes: what methods found out.
    """

    draft: Draft
    layers: Layers | None = None
    not_layers: str = ""
    ensemble: TreeEnsemble | None = None
    is_quantised: bool = False
    notes: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """The size of the files that the backend reads."""
        return sum(len(data) for data in self.draft.files.values())

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a prepared row."""
        return prepared_shape(self.draft.signature, self.draft.preprocessing)

    def with_graph(self, data: bytes, layers: Layers | None, *, is_quantised: bool = False) -> Subject:
        """Return the subject as an ONNX graph."""
        draft = replace(self.draft, backend="onnx", files={ONNX_FILE: data}, params={}, architecture="")
        reason = "" if layers is not None else "it has been quantised"
        return replace(self, draft=draft, layers=layers, not_layers=reason, is_quantised=is_quantised)

    def with_trees(self, ensemble: TreeEnsemble, data: bytes | None = None) -> Subject:
        """Return the subject with other trees. data: the bytes of their file; None for the usual ones."""
        files = {TREES_FILE: ensemble.dump() if data is None else data}
        return replace(self, draft=replace(self.draft, files=files), ensemble=ensemble)

    def with_note(self, note: str) -> Subject:
        """Return the subject with one more note."""
        return replace(self, notes=(*self.notes, note))

    def required_layers(self, what: str) -> Layers:
        """Return the layers. Raises ModelError that says why a method cannot change them."""
        if self.layers is None:
            raise ModelError(
                f"{what}: the model is not a chain of layers: {self.not_layers}",
                kind="compression",
                remedy="choose another method, such as --quantize int8",
            )
        return self.layers

    def required_trees(self, what: str) -> TreeEnsemble:
        """Return the trees. Raises ModelError for a model of another kind."""
        if self.ensemble is None:
            raise ModelError(
                f"{what}: the model is not an ensemble of trees",
                kind="compression",
                remedy="choose --prune, --quantize or --distill for a net",
            )
        return self.ensemble


def subject_of(artefact: Artefact) -> Subject:
    """Return the model of a version. Raises ModelError for a model that brings code, which cannot be changed."""
    manifest = artefact.manifest
    if BACKENDS[manifest.backend].runs_code:
        raise ModelError(
            f"{manifest.name}@{manifest.version} runs code of its own (backend {manifest.backend}), which cannot be compressed",
            kind="compression",
            remedy="export the module to ONNX, and register that",
        )
    draft = Draft(
        manifest.name,
        manifest.backend,
        files=dict(artefact.contents),
        signature=manifest.signature,
        preprocessing=manifest.preprocessing,
        provenance=manifest.provenance,
        outputs=manifest.outputs,
        architecture=manifest.architecture,
        params=manifest.params,
        calibration=manifest.calibration,
        threshold=manifest.threshold,
    )
    if manifest.backend == "trees":
        place = str(artefact.directory)
        rules = EnsembleRules.from_params(manifest.params, place)
        ensemble = TreeEnsemble.read(artefact.contents[TREES_FILE], rules, place)
        return Subject(draft, not_layers="it is an ensemble of trees", ensemble=ensemble)
    try:
        return Subject(draft, layers=read_layers(artefact))
    except NotAChain as reason:
        return Subject(draft, not_layers=str(reason))


def raw_outputs(subject: Subject, x_NG: FloatArray) -> FloatArray:
    """Return the outputs [N, O] of the subject for prepared rows [N, G]."""
    runner = find_backend(subject.draft.backend).build(_artefact(subject), RunOptions())
    return runner.run(np.ascontiguousarray(x_NG.reshape(-1, *subject.row_shape)))


def publish(subject: Subject, repository: str, provenance: Provenance, rows_NW: FloatArray) -> int:
    """Publish the subject as the next version of its model; return the version.

    rows_NW: rows as events give them, to draw golden rows from.

    Raises ModelError if the backend does not take it, or its outputs are not finite; StorageError.
    """
    draft = replace(subject.draft, provenance=provenance)
    signature, preprocessing = draft.signature, draft.preprocessing
    rows_RW = draw_golden_rows(draft.name, signature, preprocessing, rows_NW)
    artefact = _artefact(subject)
    backend = find_backend(draft.backend)
    backend.check(artefact.manifest, draft.name)
    outputs_RO = backend.build(artefact, RunOptions()).run(shaped_rows(signature, preprocessing, rows_RW))
    check_finite(draft.name, outputs_RO)
    tolerance = Tolerance.suited_to(outputs_RO)
    if subject.is_quantised:
        largest = float(np.abs(outputs_RO).max(initial=0.0))
        tolerance = Tolerance(tolerance.relative, max(tolerance.absolute, _QUANTISED_TOLERANCE * largest))
    golden = GoldenRows(rows_RW, outputs_RO, tolerance, _scores(draft.calibration, outputs_RO, signature, artefact))
    return int(publish_version(repository, draft, golden).name)


def _scores(
    calibration: Calibration | None, outputs_RO: FloatArray, signature: Signature, artefact: Artefact
) -> FloatArray | None:
    if calibration is None:
        return None
    kind: OutputKind = artefact.manifest.outputs
    return calibration.apply(scores_of(outputs_RO, signature.task, kind).values_BO)


def _artefact(subject: Subject) -> Artefact:
    draft = replace(subject.draft, provenance=replace(subject.draft.provenance, parent=None))
    width = draft.signature.row_width
    empty = GoldenRows(np.zeros((1, width), np.float32), np.zeros((1, 0), np.float32), Tolerance(0.0, 0.0))
    return Artefact(draft.manifest(empty), Path(draft.name), dict(draft.files), golden=None)
