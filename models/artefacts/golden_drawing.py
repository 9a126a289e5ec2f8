"""Draw golden rows: from the training rows, or, without them, from what the fitted preprocessing says about the columns.

Nothing is random: the same arguments give the same rows.

Shapes: R rows drawn, N rows given, W values in a row, F features of an event, T steps of a sequence.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import describe
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.date_parts import parts_of
from forebay.models.artefacts.preparation import prepare, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.typical_values import typical_values
from forebay.schemas.errors import ModelError

NUM_ROWS: Final = 32
# Fewer rows are drawn if rows, outputs or prepared rows are wide: they must stay small in the repository and in memory.
MAX_VALUES: Final = 262_144
_MISSING_RATE: Final = 0.1
_YEAR_2020: Final = 1_577_836_800_000_000
_THREE_YEARS: Final = 94_608_000_000_000
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


def draw_golden_rows(
    name: str, signature: Signature, preprocessing: Preprocessing, rows_NW: object = None
) -> FloatArray:
    """Return up to 32 rows [R, W] that are finite after the preprocessing; some have missing values if it replaces them.

    rows_NW: rows to draw from, evenly over all of them; None to make rows.

    Raises ModelError(kind="golden") that names the model if these are not float32 [N, W], or if no row remains finite.
    """
    widest = max(signature.row_width, prepared_width(signature, preprocessing), signature.output_dim)
    count = max(1, min(NUM_ROWS, MAX_VALUES // widest))
    if rows_NW is None:
        plain_RW, with_missing_RW = _make_rows(signature, preprocessing, count)
        is_usable_R = _is_finite(signature, preprocessing, with_missing_RW)
        candidates_RW = np.where(is_usable_R[:, None], with_missing_RW, plain_RW)
    else:
        candidates_RW = _spread(_checked(name, signature, rows_NW), 4 * count)
    usable_RW = candidates_RW[_is_finite(signature, preprocessing, candidates_RW)]
    if not len(usable_RW):
        origin = "made from the preprocessing" if rows_NW is None else "drawn from golden_rows"
        raise _error(
            f"model {name!r}: none of the {len(candidates_RW)} rows {origin} is finite after the preprocessing",
            "impute missing values, and give training rows as golden_rows",
        )
    return np.ascontiguousarray(_spread(usable_RW, count))


def _checked(name: str, signature: Signature, rows_NW: object) -> FloatArray:
    wanted = f"a float32 array [N, {signature.row_width}] with at least one row"
    if not isinstance(rows_NW, np.ndarray):
        raise _error(f"model {name!r}: golden_rows is {describe(rows_NW)}", f"give {wanted}")
    if rows_NW.dtype != np.float32 or rows_NW.ndim != 2 or rows_NW.shape[1] != signature.row_width or not len(rows_NW):
        raise _error(f"model {name!r}: golden_rows is {rows_NW.dtype} {list(rows_NW.shape)}", f"give {wanted}")
    return rows_NW


def _spread(rows_NW: FloatArray, count: int) -> FloatArray:
    """Return at most `count` of the rows, evenly over all of them."""
    count = min(count, len(rows_NW))
    return rows_NW[np.arange(count) * len(rows_NW) // count]


def _is_finite(signature: Signature, preprocessing: Preprocessing, rows_RW: FloatArray) -> npt.NDArray[np.bool_]:
    is_finite_R = np.isfinite(prepare(signature, preprocessing, rows_RW)).all(axis=1)
    has_infinite_R = np.isinf(rows_RW).any(axis=1)  # a worker rejects such events, whatever preprocessing makes of them
    return np.logical_and(is_finite_R, np.logical_not(has_infinite_R))


def _make_rows(signature: Signature, preprocessing: Preprocessing, count: int) -> tuple[FloatArray, FloatArray]:
    """Return rows without missing values, and the same with some."""
    random = np.random.default_rng(0)
    window = signature.window
    if window is None or not window.sequence_length:
        return _make_vectors(signature, preprocessing, random, count)
    steps, width = window.row_shape(signature.num_features)
    plain_NF, with_missing_NF = _make_vectors(signature, preprocessing, random, count * steps)
    lengths_R = 1 + np.arange(count) * steps // count  # from the shortest to almost the longest
    lengths_R[-1] = steps
    is_event_RT = np.arange(steps) < lengths_R[:, None]
    sequences = []
    for x_NF in (plain_NF, with_missing_NF):
        x_RTW = np.zeros((count, steps, width), dtype=np.float32)
        x_RTW[is_event_RT, :-1] = x_NF.reshape(count, steps, width - 1)[is_event_RT]
        x_RTW[is_event_RT, -1] = 1.0
        sequences.append(x_RTW.reshape(count, -1))
    return sequences[0], sequences[1]


def _make_vectors(
    signature: Signature, preprocessing: Preprocessing, random: np.random.Generator, count: int
) -> tuple[FloatArray, FloatArray]:
    window = signature.window
    is_event = window is None or bool(window.sequence_length)
    width = signature.num_features if is_event else signature.row_width
    typical = typical_values(preprocessing, width)
    centre_F, scale_F, sizes_F = typical.centre_F, typical.scale_F, typical.sizes_F
    is_nullable_F = np.zeros(width, dtype=np.bool_)
    if is_event and signature.features:
        features = signature.column_features
        sizes_F[:] = [feature.num_codes or size for feature, size in zip(features, sizes_F, strict=True)]
        is_nullable_F[:] = [feature.nullable for feature in features]
    else:
        is_nullable_F |= typical.is_imputed_F
    with np.errstate(over="ignore"):
        x_NF = centre_F + scale_F * random.standard_normal((count, width)).clip(-3, 3)
    x_NF = x_NF.clip(-_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
    codes_NF = np.floor(random.random((count, width)) * sizes_F).astype(np.float32)
    plain_NF = np.where(sizes_F > 0, codes_NF, x_NF)
    for column, values in typical.values.items():
        if not (is_event and signature.features and signature.column_features[column].is_text):
            plain_NF[:, column] = random.choice(np.array(values, dtype=np.float32), size=count)
    if is_event:
        _add_times(signature, plain_NF, random)
    is_missing_NF = is_nullable_F & (random.random((count, width)) < _MISSING_RATE)
    return plain_NF, np.where(is_missing_NF, np.float32(np.nan), plain_NF)


def _add_times(signature: Signature, x_NF: FloatArray, random: np.random.Generator) -> None:
    """Set the columns of timestamps to the parts of times of a few years."""
    column = 0
    for feature in signature.features:
        width = len(feature.columns)
        if feature.parts:
            start = feature.reference_time or _YEAR_2020
            time_N = start + random.integers(0, _THREE_YEARS, size=len(x_NF), dtype=np.int64)
            x_NF[:, column : column + width] = parts_of(time_N, feature.parts, feature.reference_time)
        column += width


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="golden", remedy=remedy)
