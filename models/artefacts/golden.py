"""Golden rows: rows with the outputs that the model gave when it was published, compared again wherever it is loaded.

Digests show that the files are unchanged. Golden rows show that this library, on this device, computes the same from them.

Shapes: R golden rows, W values in a row as events or windows give it, O outputs before sigmoid or softmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import safetensors.numpy

from forebay.models.artefacts.argument_checks import number
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.storage import COPY_AGAIN
from forebay.schemas.errors import ModelError

MAX_ROWS: Final = 1024
# Wide enough for another order of summation, and for the shorter mantissa that GPUs use for matrix products.
_DEFAULT_RELATIVE: Final = 1e-2
_DEFAULT_ABSOLUTE: Final = 1e-3  # of the largest output: small outputs may be sums of large values
_LEAST_ABSOLUTE: Final = 1e-6
_SCORE_TOLERANCE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest allowed difference between an output and the golden one: `absolute + relative * |golden output|`.

    Both are finite and not negative, and `relative` is below 1. Raises ModelError(kind="golden") for other values.
    """

    relative: float
    absolute: float

    def __post_init__(self) -> None:
        for name, below in (("relative", 1.0), ("absolute", math.inf)):
            value = number(getattr(self, name), f"the tolerance's {name}", _wrong_tolerance)
            if not 0 <= value < below:
                allowed = "from 0 to below 1" if below == 1.0 else "a finite number from 0"
                raise _wrong_tolerance(f"the tolerance's {name} is {value}; allowed is {allowed}")
            object.__setattr__(self, name, value)

    @classmethod
    def suited_to(cls, outputs_RO: FloatArray) -> Tolerance:
        """Return the tolerance for outputs of this size: 1 % of an output, plus 0.1 % of the largest of them."""
        largest = float(np.abs(outputs_RO).max(initial=0.0))
        return cls(_DEFAULT_RELATIVE, max(_DEFAULT_ABSOLUTE * largest, _LEAST_ABSOLUTE))

    def to_dict(self) -> dict[str, object]:
        """Return the tolerance as JSON values."""
        return {"relative": self.relative, "absolute": self.absolute}

    @classmethod
    def read(cls, fields: JsonObject) -> Tolerance:
        """Return the tolerance in one object of a manifest. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"relative", "absolute"})
        try:
            return cls(fields.number("relative"), fields.number("absolute"))
        except ModelError as error:
            if error.kind != "golden":
                raise
            raise fields.error(error.message) from None


@dataclass(frozen=True, slots=True, eq=False)
class GoldenRows:
    """Rows and the outputs that a model must give for them.

    rows_RW: float32 [R, W] before preprocessing; NaN means missing.
    outputs_RO: float32 [R, O], all finite.
    scores_RO: float32 [R, O], the scores that these outputs lead to, of a version with a calibration; None if they were not
        stored.
    """

    rows_RW: FloatArray
    outputs_RO: FloatArray
    tolerance: Tolerance
    scores_RO: FloatArray | None = None

    def check(self, found_RO: FloatArray, place: str) -> None:
        """Raise ModelError(kind="golden") unless all outputs [R, O] are finite and within the tolerance.

        place: the file with the golden rows and the device, for the message.
        """
        golden_RO = self.outputs_RO.astype(np.float64)
        allowed_RO = self.tolerance.absolute + self.tolerance.relative * np.abs(golden_RO)
        with np.errstate(invalid="ignore", over="ignore"):
            is_right_RO = np.abs(found_RO.astype(np.float64) - golden_RO) <= allowed_RO  # false for NaN
        if is_right_RO.all():
            return
        row, column = (int(index) for index in np.argwhere(~is_right_RO)[0])
        found, golden, allowed = found_RO[row, column], golden_RO[row, column], allowed_RO[row, column]
        others = int((~is_right_RO.all(axis=1)).sum()) - 1
        raise ModelError(
            f"{place}: for golden row {row} the model's output {column} is {found:.7g}, but it was {golden:.7g} when the model "
            f"was published; allowed is a difference of at most {allowed:.2g}"
            + (f" ({others} more rows differ)" if others else ""),
            kind="golden",
            remedy="serve the model with the version of Forebay and torch, and on the kind of device, that it was published "
            "for; or publish it again, with a wider tolerance if that difference is harmless",
        )

    def check_scores(self, found_RO: FloatArray, place: str) -> None:
        """Raise ModelError(kind="golden") unless the scores [R, O] computed from `outputs_RO` are those that were stored.

        They do not depend on the device: the tolerance is that of float32. place: as for `check`.
        """
        if self.scores_RO is None:
            return
        is_right_RO = np.abs(found_RO.astype(np.float64) - self.scores_RO) <= _SCORE_TOLERANCE  # false for NaN
        if is_right_RO.all():
            return
        row, column = (int(index) for index in np.argwhere(~is_right_RO)[0])
        raise ModelError(
            f"{place}: for golden row {row} the calibrated score {column} is {found_RO[row, column]:.7g}, but it was "
            f"{self.scores_RO[row, column]:.7g} when the model was published",
            kind="golden",
            remedy="the manifest has another calibration, or this version of Forebay computes it differently: copy the version "
            "again, or calibrate its parent again",
        )


def check_finite(name: str, outputs_RO: FloatArray) -> None:
    """Raise ModelError(kind="golden") if an output that a model gave for golden rows is not finite.

    name: of the model, for the message.
    """
    is_wrong_RO = ~np.isfinite(outputs_RO)
    if is_wrong_RO.any():
        row, column = (int(index) for index in np.argwhere(is_wrong_RO)[0])
        raise ModelError(
            f"model {name!r}: output {column} for golden row {row} is {outputs_RO[row, column]}; allowed are finite outputs",
            kind="golden",
            remedy="train again with a lower learning rate or scaled features, or give training rows as golden_rows",
        )


def dump_golden(golden: GoldenRows) -> bytes:
    """Return the golden rows as the bytes of a safetensors file."""
    tensors = {"rows": golden.rows_RW, "outputs": golden.outputs_RO}
    return safetensors.numpy.save(tensors if golden.scores_RO is None else tensors | {"scores": golden.scores_RO})


def load_golden(data: bytes, signature: Signature, tolerance: Tolerance, file: str) -> GoldenRows:
    """Return the golden rows in the bytes of a file. Raises ModelError that names `file` if they do not fit the signature."""
    try:
        tensors = safetensors.numpy.load(data)
    except Exception as error:  # which ones depends on the release, and the content is not trusted
        raise ModelError(
            f"{file}: this is not a safetensors file of float32: {error}", kind="golden", remedy=COPY_AGAIN
        ) from None
    if set(tensors) - {"scores"} != {"rows", "outputs"}:
        names = ", ".join(sorted(tensors))[:200] or "nothing"
        raise _wrong_file(file, f"the file holds {names}; allowed are exactly outputs and rows, and scores")
    rows_RW, outputs_RO, scores_RO = tensors["rows"], tensors["outputs"], tensors.get("scores")
    num_rows = len(rows_RW) if rows_RW.ndim else 0
    if not 1 <= num_rows <= MAX_ROWS:
        raise _wrong_file(file, f"rows has the shape {list(rows_RW.shape)}; allowed are from 1 to {MAX_ROWS} rows")
    arrays = [("rows", rows_RW, signature.row_width), ("outputs", outputs_RO, signature.output_dim)]
    arrays += [] if scores_RO is None else [("scores", scores_RO, signature.output_dim)]
    for name, array, width in arrays:
        if array.dtype != np.float32 or array.shape != (num_rows, width):
            raise _wrong_file(
                file, f"{name} is {array.dtype} {list(array.shape)}; allowed is float32 {[num_rows, width]}"
            )
        is_wrong_RX = np.isinf(array) if name == "rows" else ~np.isfinite(array)
        if is_wrong_RX.any():
            row, column = (int(index) for index in np.argwhere(is_wrong_RX)[0])
            allowed = "a finite number or NaN (missing)" if name == "rows" else "a finite number"
            raise _wrong_file(file, f"{name}[{row}, {column}] is {array[row, column]}; allowed is {allowed}")
    return GoldenRows(rows_RW, outputs_RO, tolerance, scores_RO)


def _wrong_file(file: str, problem: str) -> ModelError:
    return ModelError(f"{file}: {problem}", kind="golden", remedy="publish the model again")


def _wrong_tolerance(message: str) -> ModelError:
    return ModelError(
        message, kind="golden", remedy="give forebay.Tolerance(relative=0.01, absolute=0.001), for example"
    )
