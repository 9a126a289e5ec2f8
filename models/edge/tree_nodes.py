"""Write an ensemble of trees as ONNX nodes: what `TreesRunner` computes around ONNX Runtime's walk, too.

Shapes: B rows, F columns, E columns that the trees compare, T trees, L leaves, V values of a leaf, O outputs.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.numeric_form import CategoryTable, NumericForm, numeric_form
from forebay.models.backends.trees.onnx_graph import INPUT, OUTPUT, encode_graph
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import output_divisors
from forebay.models.backends.trees.traversal import ZERO_RANGE
from forebay.models.edge.graph_writer import GraphWriter


def write_trees(graph: GraphWriter, ensemble: TreeEnsemble, x_BF: str, place: str) -> str:
    """Write an ensemble on float32 rows and return the name of its outputs, float32 [B, O].

    Raises ModelError that names `place` if the ensemble is too large.
    """
    rules = ensemble.rules
    has_vectors = ensemble.values_LV.shape[1] > 1
    form = numeric_form(ensemble, place, leaf_numbers_as_outputs=has_vectors)
    total_BO = _walk(graph, form, x_BF)
    if has_vectors:
        leaf_BT = graph.add("Cast", total_BO, to=onnx.TensorProto.INT64)
        value_BTV = graph.add("Gather", graph.constant(ensemble.values_LV, np.float64), leaf_BT, axis=0)
        total_BO = graph.add("ReduceSum", value_BTV, graph.constant([1], np.int64), keepdims=0)
    divisor_O = output_divisors(ensemble)
    if divisor_O is not None:
        total_BO = graph.add("Div", total_BO, graph.constant(divisor_O[None], np.float64))
    total_BO = graph.add("Add", total_BO, graph.constant(ensemble.base_O[None], np.float64))
    out_BO = graph.to_float32(_link(graph, rules, total_BO))
    if rules.missing == "refused":
        is_missing_B1 = graph.any_of_row(graph.add("IsNaN", x_BF))
        out_BO = graph.add("Where", is_missing_B1, graph.constant(math.nan, np.float32), out_BO)
    return out_BO


def _walk(graph: GraphWriter, form: NumericForm, x_BF: str) -> str:
    """Return the sums [B, outputs] of float64, or the numbers of the leaves [B, T]."""
    constant = graph.constant(form.constant_O[None], np.float64)
    if form.trees is None:
        rows = graph.add("Gather", graph.add("Shape", x_BF), graph.constant([0], np.int64), axis=0)
        shape = graph.add("Concat", rows, graph.constant([form.constant_O.size], np.int64), axis=0)
        return graph.add("Expand", constant, shape)
    parts = [graph.to_float64(graph.columns(x_BF, form.used.tolist()))] if len(form.used) else []
    if len(form.zeros):
        value_BZ = graph.to_float64(graph.columns(x_BF, form.zeros.tolist()))
        is_zero_BZ = graph.add("LessOrEqual", graph.add("Abs", value_BZ), graph.number(ZERO_RANGE))
        parts.append(graph.add("Where", is_zero_BZ, graph.number(math.nan), value_BZ))
    parts += [_look_up(graph, table, x_BF) for table in form.tables]
    columns_BE = graph.joined(*parts) if len(parts) > 1 else parts[0]
    (node,) = onnx.load_model_from_string(encode_graph(form.trees)).graph.node
    assert (list(node.input), list(node.output)) == ([INPUT], [OUTPUT]), "the graph has one node"
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    total_BO = graph.add(node.op_type, columns_BE, domain=node.domain, **attributes)
    return graph.add("Add", total_BO, constant)


def _look_up(graph: GraphWriter, table: CategoryTable, x_BF: str) -> str:
    value_B = graph.add("Gather", x_BF, graph.constant(table.column, np.int64), axis=1)
    unknown = graph.constant(len(table.table) - 2, np.float32)
    is_known_B = graph.add(
        "And",
        graph.add("GreaterOrEqual", value_B, graph.constant(0, np.float32)),
        graph.add("Less", value_B, unknown),
    )
    row_B = graph.add("Cast", graph.add("Where", is_known_B, value_B, unknown), to=onnx.TensorProto.INT64)
    is_missing_B = graph.add("Cast", graph.add("IsNaN", value_B), to=onnx.TensorProto.INT64)
    return graph.add("Gather", graph.constant(table.table, np.float64), graph.add("Add", row_B, is_missing_B), axis=0)


def _link(graph: GraphWriter, rules: EnsembleRules, z_BO: str) -> str:
    """Return the outputs for the aggregated leaves, as `trees.runner.apply_link` does."""
    match rules.link:
        case "identity":
            return z_BO
        case "exp":
            return graph.add("Exp", z_BO)
        case "sigmoid":
            return graph.sigmoid(z_BO)
        case "signed_square":
            return graph.add("Mul", graph.add("Sign", z_BO), graph.add("Mul", z_BO, z_BO))
        case "log1p_exp":
            positive = graph.add("Where", graph.add("Greater", z_BO, graph.number(0.0)), z_BO, graph.number(0.0))
            small = graph.add("Exp", graph.add("Neg", graph.add("Abs", z_BO)))
            return graph.add("Add", positive, graph.log1p(small))
        case "isolation":
            return graph.add("Exp", graph.add("Mul", z_BO, graph.number(-math.log(2.0) / rules.scale)))
