"""Prepare the rows that a signature describes for the net: rows of events, of sequences and of aggregates.

Shapes: B rows, F features of an event, G columns after preprocessing, T steps of a sequence, N events of all sequences.
"""

from __future__ import annotations

from math import prod

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing, RowsRejected
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError, TensorError


def prepared_shape(signature: Signature, preprocessing: Preprocessing) -> tuple[int, ...]:
    """Return the shape of a row as the net takes it. Raises ModelError if the preprocessing takes other rows.

    An image keeps its shape, since its preprocessing keeps the width; a sequence is (T, G + 1), aggregates are (G,).
    """
    window = signature.window
    if preprocessing.takes_sequences and (window is None or not window.sequence_length):
        raise ModelError(
            "the step fill_sequence of the preprocessing needs the events of a sequence, and each row is an event or a window",
            kind="preprocessing",
            remedy="replace missing values by constants, or give the signature a window with sequence_length",
        )
    if window is None:
        width = preprocessing.output_width(signature.num_features)
        return signature.shape if len(signature.shape) > 1 else (width,)
    if window.sequence_length:
        return (window.sequence_length, preprocessing.output_width(signature.num_features) + 1)
    return (preprocessing.output_width(signature.row_width),)


def prepared_width(signature: Signature, preprocessing: Preprocessing) -> int:
    """Return the number of values in a row as the net takes it."""
    if len(signature.shape) > 1:
        return preprocessing.output_width(signature.num_features)
    return prod(prepared_shape(signature, preprocessing))


def prepare(
    signature: Signature, preprocessing: Preprocessing, x_BF: FloatArray, *, checked: bool = False
) -> FloatArray:
    """Return the rows [B, row_width] as the net takes them: [B, prepared_width], float32, in new memory.

    checked: whether steps reject rows; an event of a sequence rejects the whole sequence.

    Raises TensorError for another type, and RowsRejected.
    """
    window = signature.window
    if window is None or not window.sequence_length:
        return preprocessing.apply(x_BF, checked=checked)
    if x_BF.dtype != np.float32:
        raise TensorError(f"the preprocessing takes float32; this is {x_BF.dtype}")
    x_BTW = x_BF.reshape(len(x_BF), *window.row_shape(signature.num_features))
    is_event_BT = x_BTW[:, :, -1] > 0
    x_BTG = np.zeros((len(x_BF), *prepared_shape(signature, preprocessing)), dtype=np.float32)
    sequences_N = np.nonzero(is_event_BT)[0]
    # Only events are preprocessed: padding stays zero, although the preprocessing may map zeros to other values.
    try:
        x_NF = np.ascontiguousarray(x_BTW[is_event_BT][:, :-1])
        x_NG = preprocessing.apply(x_NF, checked=checked, sequences_B=sequences_N)
    except RowsRejected as rejected:
        raise rejected.renumbered(sequences_N) from None
    x_BTG[is_event_BT, :-1] = x_NG
    x_BTG[is_event_BT, -1] = 1.0
    return x_BTG.reshape(len(x_BF), -1)


def shaped_rows(signature: Signature, preprocessing: Preprocessing, x_BF: FloatArray) -> FloatArray:
    """Return the prepared rows in the shape that a model takes: [B, *prepared_shape]."""
    return prepare(signature, preprocessing, x_BF).reshape(len(x_BF), *prepared_shape(signature, preprocessing))
