"""Inference of one micro-batch, with an outcome for every row.

If the model raises on a batch, bisection finds the failing rows: the halves are tried again, down to single rows, so that k bad
rows of B cost about k·log2(B) further calls and the other rows are predicted. The same happens if the device runs out of
memory. Before rows count as failed, the warm-up row and then the failing rows are run again, because a device that is
unavailable, or was for a moment, fails on every row. Runs on the device thread and is independent of Kafka.

Rows that the model's preparation rejects need no bisection: it names them, and the others run together without them.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import RowsRejected
from forebay.models.backends.protocol import Model, Scores
from forebay.schemas.aggregates import MAX_STACK_CHARS
from forebay.schemas.errors import DeviceLostError, ModelError
from forebay.schemas.failures import FAILURES, FailureKind, Scope
from forebay.stream.core.records import FloatMatrix, MicroBatch, RowFailure
from forebay.stream.core.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Inference:
    """The model's result for B rows. Rows in `failures` have no prediction; their entries in the arrays are undefined.

    values_BO: float32 [B, O].
    classes_B: int64 [B] or None.
    confidences_B: float32 [B] or None.
    decisions_B: uint8 [B], the codes of `core.decisions`; None if all predictions go to one topic.
    """

    values_BO: FloatMatrix
    classes_B: npt.NDArray[np.int64] | None
    confidences_B: npt.NDArray[np.float32] | None
    failures: dict[int, RowFailure]
    decisions_B: npt.NDArray[np.uint8] | None = None


class ModelFault(Exception):
    """The model fails for every input. The rows are kept and tried again."""


def infer_batch(model: Model, batch: MicroBatch, *, wall_ms: int) -> Inference:
    """Run the rows of a micro-batch whose deadline has not passed; the others fail.

    Raises ModelFault if the model cannot run, and DeviceLostError.
    """
    x_BF = batch.features()
    expired = expired_rows(batch, wall_ms)
    if not expired:
        return _confirm_failures(model, x_BF, infer(model, x_BF))
    rows = [row for row in range(len(x_BF)) if row not in expired]
    return _among(_confirm_failures(model, x_BF[rows], infer(model, x_BF[rows])), rows, expired)


def _among(inference: Inference, rows: list[int], others: dict[int, RowFailure]) -> Inference:
    """Return the result of `rows` as that of all rows; `others` are the failures of the others."""
    num_rows = len(rows) + len(others)
    values_BO = np.zeros((num_rows, inference.values_BO.shape[1]), dtype=np.float32)
    values_BO[rows] = inference.values_BO
    classes_B = confidences_B = None
    if inference.classes_B is not None and inference.confidences_B is not None:
        classes_B = np.zeros(num_rows, dtype=np.int64)
        confidences_B = np.zeros(num_rows, dtype=np.float32)
        classes_B[rows] = inference.classes_B
        confidences_B[rows] = inference.confidences_B
    failures = others | {rows[row]: failure for row, failure in inference.failures.items()}
    return Inference(values_BO, classes_B, confidences_B, failures)


def expired_rows(batch: MicroBatch, wall_ms: int) -> dict[int, RowFailure]:
    """Return the failures of the rows whose deadline has passed."""
    expired: dict[int, RowFailure] = {}
    first_row = 0
    for chunk in batch.chunks:
        for row, deadline_ms in chunk.deadlines.items():
            if deadline_ms < wall_ms:
                message = f"the deadline was {wall_ms - deadline_ms} ms ago"
                expired[first_row + row] = RowFailure(FailureKind.DEADLINE_EXCEEDED, message)
        first_row += chunk.num_rows
    return expired


def _confirm_failures(model: Model, x_BF: FloatMatrix, first: Inference) -> Inference:
    """Run the rows again on which the model raised, and keep the failures that repeat.

    Raises ModelFault if the model fails on the warm-up row as well.
    """
    raised = [row for row, failure in first.failures.items() if FAILURES[failure.kind].scope is not Scope.ROW]
    if not raised:
        return first
    try:
        model.warm_up([1])
    except DeviceLostError:
        raise
    except Exception as error:
        # The message is logged, and a model may quote its input.
        raise ModelFault(Redactor().message(_message(error))) from error
    second = infer(model, x_BF[raised])
    failures = {row: failure for row, failure in first.failures.items() if row not in set(raised)}
    failures |= {raised[row]: failure for row, failure in second.failures.items()}
    if len(second.failures) == len(raised):
        return replace(first, failures=failures)
    return _merge(first, raised, second, failures)


def _merge(first: Inference, rows: list[int], second: Inference, failures: dict[int, RowFailure]) -> Inference:
    """Return `first` with `rows` replaced by the results of `second`."""
    values_BO = first.values_BO.copy()
    values_BO[rows] = second.values_BO
    if second.classes_B is None or second.confidences_B is None:
        return Inference(values_BO, None, None, failures)
    classes_B, confidences_B = np.zeros(len(values_BO), dtype=np.int64), np.zeros(len(values_BO), dtype=np.float32)
    if first.classes_B is not None and first.confidences_B is not None:
        classes_B[:], confidences_B[:] = first.classes_B, first.confidences_B
    classes_B[rows], confidences_B[rows] = second.classes_B, second.confidences_B
    return Inference(values_BO, classes_B, confidences_B, failures)


def infer(model: Model, x_BF: FloatMatrix) -> Inference:
    """Prepare and predict B rows, float32 [B, F]. Raises no other `Exception` than DeviceLostError."""
    try:
        return _infer(model, x_BF)
    except RowsRejected as rejected:
        others = {row: RowFailure(FailureKind.OUTLIER, reason) for row, reason in rejected.reasons.items()}
    rows = [row for row in range(len(x_BF)) if row not in others]
    return _among(infer(model, x_BF[rows]), rows, others)


def _infer(model: Model, x_BF: FloatMatrix) -> Inference:
    """Return the result of `infer`. Raises RowsRejected and DeviceLostError."""
    failures: dict[int, RowFailure] = {}
    pieces: list[tuple[int, Scores]] = []
    stack = [(0, len(x_BF))]
    while stack:
        start, stop = stack.pop()
        if start == stop:
            continue
        try:
            scores = _call(model, x_BF[start:stop])
        except RowsRejected as rejected:
            raise rejected.renumbered(np.arange(start, stop)) from None
        except DeviceLostError:
            raise
        except Exception as error:
            if stop - start == 1:
                failures[start] = _failure(error)
            else:
                middle = (start + stop) // 2
                stack.append((middle, stop))
                stack.append((start, middle))
        else:
            pieces.append((start, scores))
    inference = _assemble(pieces, len(x_BF), model.signature.output_dim, failures)
    _find_not_finite(inference)
    return inference


def inference_of(scores: Scores) -> Inference:
    """Return the result of rows that the model ran in one call: those with values that are not finite fail."""
    inference = Inference(scores.values_BO, scores.classes_B, scores.confidences_B, {})
    _find_not_finite(inference)
    return inference


class _PrepareFault(Exception):
    """Preprocessing raised. The cause is the chained exception."""


def _call(model: Model, x_BF: FloatMatrix) -> Scores:
    try:
        prepared = model.prepare(x_BF)
    except RowsRejected:
        raise
    except Exception as error:
        raise _PrepareFault from error
    scores = model.forward(prepared)
    expected = (len(x_BF), model.signature.output_dim)
    if scores.values_BO.shape != expected:
        raise ModelError(
            f"the output has shape {scores.values_BO.shape}; the signature requires {expected}", kind="output_shape"
        )
    return scores


def _failure(error: Exception) -> RowFailure:
    if isinstance(error, _PrepareFault):
        cause = error.__cause__ or error
        return RowFailure(FailureKind.PREPARE_ERROR, _message(cause), _stack(cause))
    if isinstance(error, ModelError):
        if error.kind == "out_of_memory":
            return RowFailure(FailureKind.OUT_OF_MEMORY, error.message)
        if error.kind == "output_shape":
            return RowFailure(FailureKind.OUTPUT_SHAPE, error.message)
    return RowFailure(FailureKind.MODEL_ERROR, _message(error), _stack(error))


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _stack(error: BaseException) -> str:
    """Return the stack trace without the message, which may contain feature values."""
    return "".join(traceback.format_tb(error.__traceback__))[-MAX_STACK_CHARS:]


def _assemble(
    pieces: list[tuple[int, Scores]], num_rows: int, output_dim: int, failures: dict[int, RowFailure]
) -> Inference:
    if len(pieces) == 1 and not failures:
        scores = pieces[0][1]
        return Inference(scores.values_BO, scores.classes_B, scores.confidences_B, failures)
    values_BO = np.zeros((num_rows, output_dim), dtype=np.float32)
    classified = any(scores.classes_B is not None for _, scores in pieces)
    classes_B = np.zeros(num_rows, dtype=np.int64) if classified else None
    confidences_B = np.zeros(num_rows, dtype=np.float32) if classified else None
    for start, scores in pieces:
        rows = slice(start, start + len(scores.values_BO))
        values_BO[rows] = scores.values_BO
        if classes_B is not None and scores.classes_B is not None:
            classes_B[rows] = scores.classes_B
        if confidences_B is not None and scores.confidences_B is not None:
            confidences_B[rows] = scores.confidences_B
    return Inference(values_BO, classes_B, confidences_B, failures)


def _find_not_finite(inference: Inference) -> None:
    finite = np.isfinite(inference.values_BO)
    if finite.all():
        return
    for row in np.flatnonzero(~finite.all(axis=1)).tolist():
        if row not in inference.failures:
            outputs = np.flatnonzero(~finite[row]).tolist()
            inference.failures[row] = RowFailure(
                FailureKind.OUTPUT_NOT_FINITE, f"output {', '.join(map(str, outputs[:5]))} is NaN or infinite"
            )
