"""Structured pruning: neurons and channels leave a chain of layers, with all weights that lead to them and from them.

A unit's importance is the norm of the weights that lead to it times the norm of those that lead from it (Li et al., 2017, use
the first). What is left is a smaller dense net, which every runtime computes faster.

Shapes: I inputs, O outputs, K kernel size of a layer.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.compression.layers import Convolution, Dense, Flatten, Layer, Layers, has_weights, weight_of
from forebay.schemas.errors import ModelError

_MULTIPLE: Final = 4
"""Widths above this are rounded to multiples of it, which fill the registers of processors."""

Units = npt.NDArray[np.int64]


def prune_units(layers: Layers, ratio: float) -> Layers:
    """Return the layers without the least important `ratio` of the units of each hidden layer; one at least remains.

    Raises ModelError if there is no hidden layer, or channels are in groups.
    """
    chain = list(layers.chain)
    weighted = [index for index, layer in enumerate(chain) if has_weights(layer)]
    if len(weighted) < 2:
        raise _error("the net has no hidden layer, so that no neuron can leave", "quantise it instead")
    if any(isinstance(layer, Convolution) and layer.groups > 1 for layer in chain):
        raise _error("a convolution has groups of channels, which cannot leave one by one", "quantise it instead")
    for index, following in itertools.pairwise(weighted):
        positions = _positions(chain, index, following)
        kept = _most_important(chain[index], chain[following], positions, ratio)
        chain[index] = _with_outputs(chain[index], kept)
        chain[following] = _with_inputs(chain[following], kept, positions)
    return replace(layers, chain=tuple(chain))


def kept_units(width: int, ratio: float) -> int:
    """Return how many of `width` units remain."""
    count = max(1, round(width * (1 - ratio)))
    return count if count <= _MULTIPLE else int(min(width, round(count / _MULTIPLE) * _MULTIPLE))


def _positions(chain: list[Layer], index: int, following: int) -> int:
    """Return how many inputs of the following layer belong to each unit: the positions of a channel that was flattened."""
    if not any(isinstance(layer, Flatten) for layer in chain[index:following]):
        return 1
    return len(weight_of(chain[following])) // len(weight_of(chain[index]))


def _most_important(layer: Layer, following: Layer, positions: int, ratio: float) -> Units:
    weight = weight_of(layer)
    incoming_O = _norm(weight.T if isinstance(layer, Dense) else weight)
    after = weight_of(following)
    if isinstance(following, Dense):
        outgoing_O = _norm(after.reshape(len(incoming_O), positions, -1))
    else:
        outgoing_O = _norm(np.swapaxes(after, 0, 1))
    count = kept_units(len(incoming_O), ratio)
    order_O = np.argsort(-(incoming_O * outgoing_O), kind="stable")
    return np.sort(order_O[:count])


def _norm(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    norms: npt.NDArray[np.float64] = np.sqrt((flat * flat).sum(axis=1))
    return norms


def _with_outputs(layer: Layer, kept: Units) -> Layer:
    match layer:
        case Dense():
            return replace(layer, weight_IO=np.ascontiguousarray(layer.weight_IO[:, kept]), bias_O=layer.bias_O[kept])
        case Convolution():
            return replace(layer, weight_OIKK=np.ascontiguousarray(layer.weight_OIKK[kept]), bias_O=layer.bias_O[kept])
    return layer


def _with_inputs(layer: Layer, kept: Units, positions: int) -> Layer:
    match layer:
        case Dense():
            weight_IO = layer.weight_IO
            blocks = weight_IO.reshape(len(weight_IO) // positions, positions, -1)[kept]
            return replace(layer, weight_IO=np.ascontiguousarray(blocks.reshape(-1, weight_IO.shape[1])))
        case Convolution():
            return replace(layer, weight_OIKK=np.ascontiguousarray(layer.weight_OIKK[:, kept]))
    return layer


def _error(problem: str, remedy: str) -> ModelError:
    return ModelError(f"structured pruning: {problem}", kind="compression", remedy=remedy)
