"""Write the conversion of outputs to scores as ONNX nodes: probabilities and their calibration, in float64.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

import numpy as np

from forebay.models.artefacts.calibration import LEAST, Calibration
from forebay.models.artefacts.manifest import Manifest
from forebay.models.edge.graph_writer import GraphWriter


def write_scores(graph: GraphWriter, manifest: Manifest, out_BO: str) -> str:
    """Return the name of the scores, float32 [B, O], that a worker makes of the outputs."""
    if manifest.signature.task == "regression":
        return out_BO
    p_BO = out_BO
    if manifest.outputs == "logits":
        logit_BO = graph.to_float64(out_BO)
        is_binary = manifest.signature.task == "binary"
        p_BO = graph.to_float32(graph.sigmoid(logit_BO) if is_binary else graph.add("Softmax", logit_BO, axis=1))
    if manifest.calibration is not None:
        p_BO = graph.to_float32(write_calibration(graph, manifest.calibration, graph.to_float64(p_BO)))
    return p_BO


def write_calibration(graph: GraphWriter, calibration: Calibration, p_BO: str) -> str:
    """Return the name of the calibrated probabilities. p_BO: float64, as the result."""
    match calibration.method:
        case "isotonic":
            points, levels = (np.array(numbers)[:, None] for numbers in (calibration.x, calibration.y))
            return graph.interpolated(p_BO, points, levels)
        case "platt":
            clipped = graph.limited(p_BO, graph.number(LEAST), graph.number(1 - LEAST))
            logit = graph.add("Sub", graph.add("Log", clipped), graph.log1p(graph.add("Neg", clipped)))
            shifted = graph.add("Mul", logit, graph.number(calibration.slope))
            return graph.sigmoid(graph.add("Add", shifted, graph.number(calibration.intercept)))
        case "temperature":
            log = graph.add("Log", graph.limited(p_BO, graph.number(LEAST), graph.number(1.0)))
            return graph.add("Softmax", graph.add("Div", log, graph.number(calibration.temperature)), axis=1)
