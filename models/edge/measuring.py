"""Measure the unit costs of this machine: each probe runs in a process of its own, as an exported model does."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from forebay.models.backends.onnx.session import create_session
from forebay.models.backends.protocol import RunOptions
from forebay.models.edge.folder import GRAPH_FILE, write_folder
from forebay.models.edge.operation_counts import count_operations
from forebay.models.edge.probes import WIDTH, Probe, probes
from forebay.models.edge.programs import checked_files, device_programs
from forebay.models.edge.single_graph import INPUT, OUTPUTS, SCORES
from forebay.models.edge.unit_costs import OperationCounts, UnitCosts, predict
from forebay.models.edge.verification import verify_folder

Measured = Mapping[str, float]
"""p50_ms, p99_ms and peak_memory_bytes of a graph."""

_ROWS: Final = 16
_COUNTED: Final = {"dense_ns", "convolution_ns", "recurrent_ns", "dense_int8_ns", "convolution_int8_ns"}


def measure_unit_costs(*, python: str | None = None, on_probe: Callable[[str], None] | None = None) -> UnitCosts:
    """Measure all probes on this machine; takes about 20 seconds.

    python: the interpreter that runs exported models; None for this one.
    on_probe: called with the name of each cost before it is measured.
    """
    measured = []
    for probe in probes():
        if on_probe is not None:
            on_probe(probe.cost)
        measured.append((probe, _measure(probe, python)))
    return unit_costs(measured)


def unit_costs(measured: Iterable[tuple[Probe, Measured]]) -> UnitCosts:
    """Return the costs of measured probes, which are in the order of `probes`: each is what those before it do not explain."""
    names = [name for name in UnitCosts.__struct_fields__]
    costs = dict.fromkeys(names, 0.0)
    ratios = []
    for probe, found in measured:
        counts = count_operations(probe.graph)
        if probe.cost == "call_us":
            costs["process_bytes"] = found["peak_memory_bytes"]
        explained = predict(counts, UnitCosts(**costs))
        rest_us = max(0.0, 1e3 * (found["p50_ms"] - explained.p50_ms))
        costs[probe.cost] = rest_us / _divisor(probe.cost, counts)
        ratios.append(found["p99_ms"] / found["p50_ms"])
        rest_bytes = max(0.0, found["peak_memory_bytes"] - explained.memory_bytes)
        if probe.cost == "dense_ns":
            costs["bytes_per_weight_byte"] = rest_bytes / counts.weight_bytes
        elif probe.cost == "tree_visit_ns":
            costs["bytes_per_tree_node"] = rest_bytes / counts.tree_nodes
    costs["p99_ratio"] = median(ratios)
    return UnitCosts(**costs)


def _divisor(cost: str, counts: OperationCounts) -> float:
    """Return by what a time in microseconds is divided to give the cost in its unit."""
    if cost in _COUNTED:
        return counts.multiplications[cost.removesuffix("_ns")] / 1e3
    return {
        "call_us": 1.0,
        "node_us": float(counts.nodes),
        "element_ns": counts.elements / 1e3,
        "tree_visit_ns": counts.tree_visits / 1e3,
    }[cost]


def _measure(probe: Probe, python: str | None) -> Measured:
    rows = np.random.default_rng(1).normal(size=(_ROWS, WIDTH)).astype(np.float32)
    session, _ = create_session(probe.graph, RunOptions())
    outputs, scores = session.run([OUTPUTS, SCORES], {INPUT: rows})
    golden = io.BytesIO()
    np.savez(golden, rows=rows, outputs=outputs, scores=scores)
    about = {"name": probe.cost, "version": 0, "task": "regression", "num_features": WIDTH, "features": []}
    about |= {"tolerance": {"absolute": 1.0, "relative": 1.0}, "limits": {}, "labels": [], "threshold": 0.5}
    files = {GRAPH_FILE: probe.graph, "model.json": json.dumps(about).encode(), "golden.npz": golden.getvalue()}
    with tempfile.TemporaryDirectory(prefix="forebay-probe-") as scratch:
        folder = Path(scratch, "probe")
        write_folder(folder, checked_files({**files, **device_programs()}))
        return verify_folder(folder, python).document
