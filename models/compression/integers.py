"""Quantisation of weights to integers by one scale for a tensor: the plain method, against which the others are judged.

The scale is the largest magnitude by 127, a value becomes the nearest integer times the scale, and integers are clamped to
[-128, 127]. For bits below 8 the limits are smaller. Zero stays zero, so that no zero point is needed (Jacob et al., 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.schemas.errors import ModelError

MIN_BITS, MAX_BITS = 2, 8


@dataclass(frozen=True, slots=True, eq=False)
class QuantisedTensor:
    """Integers and the scale, such that values are about `integers * scale`.

    scale: a number for the whole tensor, or one for each output channel, in the shape of the tensor with sizes of 1.
    """

    integers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]

    def values(self) -> FloatArray:
        """Return the values that the integers stand for, float32."""
        found: FloatArray = self.integers.astype(np.float32) * self.scale
        return found


def quantise_tensor(weights: FloatArray, *, bits: int = 8, axis: int | None = None) -> QuantisedTensor:
    """Return the weights as integers.

    axis: of the output channels: each gets a scale of its own. None for one scale.

    Raises ModelError for other bits than from 2 to 8, and for weights that are not finite.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ModelError(
            f"quantisation to {bits} bits; allowed is from {MIN_BITS} to {MAX_BITS}",
            kind="compression",
            remedy="use 8 or 4",
        )
    if not np.isfinite(weights).all():
        raise ModelError("quantisation: a weight is not finite", kind="compression", remedy="train the model again")
    largest = 2 ** (bits - 1) - 1
    values = weights.astype(np.float64)
    axes = None if axis is None else tuple(other for other in range(weights.ndim) if other != axis)
    magnitude = np.abs(values).max(axis=axes, keepdims=True)
    # A tensor of zeros has any scale. float32 is what files hold: the integers are found with the scale that is stored.
    scale = np.where(magnitude > 0, magnitude / largest, 1.0).astype(np.float32)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    integers = np.clip(np.rint(values / scale), -largest - 1, largest).astype(np.int8)
    return QuantisedTensor(integers, scale if axis is not None else scale.reshape(()))


def pack_int4(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Return two integers of 4 bits in each byte, the first in the lower half, as ONNX stores the type INT4."""
    flat = np.bitwise_and(integers.reshape(-1).astype(np.uint8), 0x0F).astype(np.uint8)
    if len(flat) % 2:
        flat = np.append(flat, np.uint8(0))
    return np.bitwise_or(flat[0::2], np.left_shift(flat[1::2], 4)).astype(np.uint8)
