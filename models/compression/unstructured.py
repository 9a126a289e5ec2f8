"""Unstructured pruning: the smallest weights become zero. Nothing leaves, so that the file and the time stay as they are.

What it gives is a file that a compressor makes smaller: a zip file, or a compressed file system.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.compression.layers import Convolution, Dense, Layer, Layers


def zero_weights(layers: Layers, ratio: float) -> Layers:
    """Return the layers with the smallest `ratio` of the weights of each layer set to zero."""
    return replace(layers, chain=tuple(_zeroed(layer, ratio) for layer in layers.chain))


def _zeroed(layer: Layer, ratio: float) -> Layer:
    match layer:
        case Dense():
            return replace(layer, weight_IO=without_smallest(layer.weight_IO, ratio))
        case Convolution():
            return replace(layer, weight_OIKK=without_smallest(layer.weight_OIKK, ratio))
    return layer


def without_smallest(weights: FloatArray, ratio: float) -> FloatArray:
    """Return a copy in which the `ratio` of the elements with the smallest magnitude is zero."""
    flat = weights.reshape(-1).copy()
    count = round(len(flat) * ratio)
    flat[np.argsort(np.abs(flat), kind="stable")[:count]] = 0.0
    return flat.reshape(weights.shape)
