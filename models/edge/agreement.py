"""Compare the ONNX file of a version with the model that a worker serves.

Shapes: R rows, F features, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.golden import GoldenRows, Tolerance
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preprocessing import RowsRejected
from forebay.models.backends.onnx.session import create_session
from forebay.models.backends.protocol import RunOptions
from forebay.models.edge.single_graph import INPUT, OUTPUTS, SCORES
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ModelError

MAX_DIFFERENCE: Final = 1e-4
"""The allowed difference between the file and the worker's model: of an output, and again of the largest output. Both compute
in float32, but sum in other orders. On devices, the tolerance of the version counts, because they may round otherwise."""

_SCORE_ROUNDING: Final = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class WorkerOutputs:
    """Rows of events with what a worker makes of them: outputs before the scores, and the scores, float32 [R, O]."""

    rows_RF: FloatArray
    outputs_RO: FloatArray
    scores_RO: FloatArray


def compare(graph: bytes, served: ServedModel, artefact: Artefact) -> WorkerOutputs:
    """Return the rows on which the file and the worker's model were compared, without those that both reject.

    The rows are the golden rows of the version, and as many that are drawn from its preprocessing.

    Raises ModelError(kind="edge") unless both reject the same rows, and agree on the others within `MAX_DIFFERENCE`.
    """
    manifest = artefact.manifest
    place = f"{manifest.name}@{manifest.version}: as one ONNX file, compared with the model that a worker serves"
    parts = [draw_golden_rows(manifest.name, manifest.signature, manifest.preprocessing)]
    if artefact.golden is not None:
        parts.insert(0, artefact.golden.rows_RW)
    rows_RF = np.concatenate(parts)
    session, _ = create_session(graph, RunOptions())
    found_RO, found_scores_RO = session.run([OUTPUTS, SCORES], {INPUT: rows_RF})
    is_rejected_R = _rejected(served, rows_RF)
    if (~np.isnan(found_RO[is_rejected_R])).any() or is_rejected_R.all():
        problem = "every row is rejected" if is_rejected_R.all() else "a row that the preparation rejects is predicted"
        raise ModelError(f"{place}: {problem}", kind="edge", remedy="serve this model with a worker")
    kept_RF = rows_RF[~is_rejected_R]
    prepared_RG = served.prepare(kept_RF)
    outputs_RO, scores_RO = served.raw_outputs(prepared_RG), served.forward(prepared_RG).values_BO
    allowed = Tolerance(MAX_DIFFERENCE, MAX_DIFFERENCE * float(np.abs(outputs_RO).max()))
    GoldenRows(kept_RF, outputs_RO, allowed).check(found_RO[~is_rejected_R], place)
    # A score never differs by more than the outputs that it is made of, apart from rounding and a calibration.
    rounding = allowed.absolute + _SCORE_ROUNDING
    GoldenRows(kept_RF, scores_RO, Tolerance(MAX_DIFFERENCE, rounding)).check(found_scores_RO[~is_rejected_R], place)
    return WorkerOutputs(kept_RF, outputs_RO, scores_RO)


def _rejected(served: ServedModel, rows_RF: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows the preparation rejects. A step sees only the rows that the steps before it accept."""
    is_rejected_R = np.zeros(len(rows_RF), dtype=np.bool_)
    while not is_rejected_R.all():
        left_R = np.flatnonzero(~is_rejected_R)
        try:
            served.prepare(rows_RF[left_R])
        except RowsRejected as rejected:
            is_rejected_R[left_R[list(rejected.reasons)]] = True
        else:
            break
    return is_rejected_R
