"""What operations cost on a device, and what a graph costs there: the model of prediction. Pure.

The time of one prediction of one row is the sum of a fixed part, a part for each node, and a part for each multiplication,
element and visited node of a tree. The memory is that of a process that serves an almost empty graph, and a multiple of the
weights and tree nodes. All factors are measured with small graphs (`probes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

CLASSES: Final = ("dense", "convolution", "recurrent", "dense_int8", "convolution_int8")
"""The classes of operators whose cost is counted in multiplications."""


class UnitCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Measured costs of a device.

    call_us: a prediction with an almost empty graph.
    node_us: each node.
    dense_ns, convolution_ns, recurrent_ns, dense_int8_ns, convolution_int8_ns: each multiplication, by class.
    element_ns: each element of an operator that works on elements.
    tree_visit_ns: each node of a tree on the path of a row.
    p99_ratio: the 99th percentile of the time of a prediction, divided by its median.
    process_bytes: resident memory of a process with an almost empty graph.
    bytes_per_weight_byte, bytes_per_tree_node: what these add to it.
    """

    call_us: float
    node_us: float
    dense_ns: float
    convolution_ns: float
    recurrent_ns: float
    dense_int8_ns: float
    convolution_int8_ns: float
    element_ns: float
    tree_visit_ns: float
    p99_ratio: float
    process_bytes: float
    bytes_per_weight_byte: float
    bytes_per_tree_node: float

    def scaled(self, clock: float, *, vector: float) -> UnitCosts:
        """Return the costs of a device whose processor is `clock` times as fast, and computes `vector` times as fast."""
        fixed = {name: getattr(self, name) / clock for name in self.__struct_fields__ if name.endswith("_us")}
        computed = {name: getattr(self, name) / vector for name in self.__struct_fields__ if name.endswith("_ns")}
        return msgspec.structs.replace(self, **fixed, **computed)


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """What one row costs in a graph.

    nodes: the nodes that run for a row.
    multiplications: by class (`CLASSES`).
    elements: that operators on elements write.
    tree_visits: the expected number of nodes on the paths of a row through all trees.
    weight_bytes: of all constants.
    tree_nodes: of all trees.
    """

    nodes: int
    multiplications: Mapping[str, float]
    elements: float
    tree_visits: float
    weight_bytes: int
    tree_nodes: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a version is expected to need on a device."""

    p50_ms: float
    p99_ms: float
    memory_bytes: float


def predict(counts: OperationCounts, costs: UnitCosts) -> Prediction:
    """Return the expected time and memory of a process that predicts one row at a time."""
    multiplied_ns = sum(number * float(getattr(costs, f"{name}_ns")) for name, number in counts.multiplications.items())
    other_ns = counts.elements * costs.element_ns + counts.tree_visits * costs.tree_visit_ns
    p50_ms = (costs.call_us + counts.nodes * costs.node_us) / 1e3 + (multiplied_ns + other_ns) / 1e6
    memory_bytes = (
        costs.process_bytes
        + counts.weight_bytes * costs.bytes_per_weight_byte
        + counts.tree_nodes * costs.bytes_per_tree_node
    )
    return Prediction(p50_ms, p50_ms * costs.p99_ratio, memory_bytes)
