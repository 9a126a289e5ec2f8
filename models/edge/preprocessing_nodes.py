"""Write the frozen steps of the preprocessing as ONNX nodes, computed in float64 where the steps are.

Shapes: B rows, F columns, G columns after a step, K chosen columns, E edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.combine import Combine, Cyclic
from forebay.models.artefacts.preprocessing.impute import Impute
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.one_hot import OneHot
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.row_check import RowCheck
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.standardise import Standardise
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX, Step, spread
from forebay.models.artefacts.preprocessing.transform import Clip, Function
from forebay.models.edge.graph_writer import GraphWriter
from forebay.schemas.errors import ModelError

_OPERATIONS: Final = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
_DIRECT_FUNCTIONS: Final = {
    "abs": "Abs", "cos": "Cos", "exp": "Exp", "floor": "Floor", "log": "Log", "rint": "Round", "sin": "Sin", "sqrt": "Sqrt",
    "tanh": "Tanh",
}  # fmt: skip


def write_step(graph: GraphWriter, step: Step, x_BF: str, rejected: list[str]) -> str:
    """Write a step on float32 rows [B, F] and return the name of its output [B, G].

    rejected: gets the name of a mask [B, 1] for a step that rejects rows.

    Raises ModelError(kind="edge") for a step that has no nodes.
    """
    if isinstance(step, RowCheck):
        rejected.append(_row_check(graph, step, x_BF))
        return x_BF
    write = _WRITERS.get(type(step))
    if write is None or (isinstance(step, Interpolate) and step.distribution != "uniform"):
        what = f"{step.kind} with the distribution normal" if isinstance(step, Interpolate) else step.kind
        raise ModelError(
            f"the preprocessing has the step {what}, which has no form in ONNX",
            kind="edge",
            remedy="serve this model with a worker, or train it without the step",
        )
    return write(graph, step, x_BF)


def _impute(graph: GraphWriter, step: Impute, x_BF: str) -> str:
    fill_F = spread(step.width, step.columns, step.values, elsewhere=math.nan)
    return graph.add("Where", graph.add("IsNaN", x_BF), graph.constant(fill_F[None], np.float32), x_BF)


def _standardise(graph: GraphWriter, step: Standardise, x_BF: str) -> str:
    mean_F = spread(step.width, step.columns, step.means, elsewhere=0.0)
    factor_F = 1.0 / spread(step.width, step.columns, step.scales, elsewhere=1.0)
    z_BF = graph.add("Sub", graph.to_float64(x_BF), graph.constant(mean_F[None], np.float64))
    return graph.to_float32(graph.add("Mul", z_BF, graph.constant(factor_F[None], np.float64)))


def _clip(graph: GraphWriter, step: Clip, x_BF: str) -> str:
    low_F = spread(step.width, step.columns, step.minima, elsewhere=-math.inf)
    high_F = spread(step.width, step.columns, step.maxima, elsewhere=math.inf)
    return graph.limited(x_BF, graph.constant(low_F[None], np.float32), graph.constant(high_F[None], np.float32))


def _select_columns(graph: GraphWriter, step: SelectColumns, x_BF: str) -> str:
    return graph.columns(x_BF, step.columns)


def _one_hot(graph: GraphWriter, step: OneHot, x_BF: str) -> str:
    kept = [column for column in range(step.width) if column not in set(step.columns)]
    parts = [graph.columns(x_BF, kept)] if kept else []
    for column, size in zip(step.columns, step.sizes, strict=True):
        codes = graph.constant(np.arange(size)[None], np.float32)
        parts.append(graph.to_float32(graph.add("Equal", graph.columns(x_BF, [column]), codes)))
    return graph.joined(*parts)


def _map_values(graph: GraphWriter, step: MapValues, x_BF: str) -> str:
    parts = []
    for index, column in enumerate(step.columns):
        x_B1 = graph.columns(x_BF, [column])
        unknown = graph.constant(_float(step.unknown[index]), np.float32)
        mapped_B1 = unknown
        if step.keys[index]:
            is_key_BK = graph.add("Equal", x_B1, graph.constant([step.keys[index]], np.float32))
            values_1K = graph.constant([[_float(value) for value in step.values[index]]], np.float32)
            chosen_BK = graph.add("Where", is_key_BK, values_1K, graph.constant(0, np.float32))
            value_B1 = graph.add("ReduceSum", chosen_BK, graph.constant([1], np.int64), keepdims=1)
            mapped_B1 = graph.add("Where", graph.any_of_row(is_key_BK), value_B1, unknown)
        missing = graph.constant(_float(step.missing[index]), np.float32)
        parts.append(graph.add("Where", graph.add("IsNaN", x_B1), missing, mapped_B1))
    return graph.replaced(x_BF, step.width, step.columns, graph.joined(*parts)) if parts else x_BF


def _bin(graph: GraphWriter, step: Bin, x_BF: str) -> str:
    most = max(map(len, step.edges), default=0)
    edges_EK = np.full((max(most, 1), len(step.columns)), math.nan)  # no number reaches NaN
    for index, edges in enumerate(step.edges):
        edges_EK[: len(edges), index] = edges
    x_BK = graph.to_float64(graph.columns(x_BF, step.columns))
    x_B1K = graph.add("Unsqueeze", x_BK, graph.constant([1], np.int64))
    reached_BEK = graph.add("GreaterOrEqual", x_B1K, graph.constant(edges_EK[None], np.float64))
    count_BK = graph.add("ReduceSum", graph.to_float32(reached_BEK), graph.constant([1], np.int64), keepdims=0)
    missing = graph.constant(math.nan, np.float32)
    count_BK = graph.add("Where", graph.add("IsNaN", x_BK), missing, count_BK)
    return graph.replaced(x_BF, step.width, step.columns, count_BK)


def _function(graph: GraphWriter, step: Function, x_BF: str) -> str:
    x_BK = graph.to_float64(graph.columns(x_BF, step.columns))
    y_BK = graph.to_float32(_apply_function(graph, step.function, x_BK))
    return graph.replaced(x_BF, step.width, step.columns, y_BK)


def _apply_function(graph: GraphWriter, function: str, x: str) -> str:
    match function:
        case "square":
            return graph.add("Mul", x, x)
        case "log1p":
            return graph.log1p(x)
        case "expm1":
            return graph.expm1(x)
        case "log2" | "log10":
            base = math.log(2.0 if function == "log2" else 10.0)
            return graph.add("Div", graph.add("Log", x), graph.number(base))
        case "trunc":
            return graph.add("Mul", graph.add("Sign", x), graph.add("Floor", graph.add("Abs", x)))
        case "cbrt":
            root = graph.add("Pow", graph.add("Abs", x), graph.number(1 / 3))
            return graph.add("Mul", graph.add("Sign", x), root)
    return graph.add(_DIRECT_FUNCTIONS[function], x)


def _power_transform(graph: GraphWriter, step: PowerTransform, x_BF: str) -> str:
    lambdas_K = np.array(step.lambdas, dtype=np.float64)
    x_BK = graph.to_float64(graph.columns(x_BF, step.columns))
    if step.method == "box-cox":
        y_BK = _power(graph, graph.add("Log", x_BK), lambdas_K)
    else:
        log_BK = graph.log1p(graph.add("Abs", x_BK))
        negative_BK = graph.add("Neg", _power(graph, log_BK, 2.0 - lambdas_K))
        is_negative_BK = graph.add("Less", x_BK, graph.number(0.0))
        y_BK = graph.add("Where", is_negative_BK, negative_BK, _power(graph, log_BK, lambdas_K))
    if step.means:
        y_BK = graph.add("Sub", y_BK, graph.constant([step.means], np.float64))
        y_BK = graph.add("Div", y_BK, graph.constant([step.scales], np.float64))
    return graph.replaced(x_BF, step.width, step.columns, graph.to_float32(y_BK))


def _power(graph: GraphWriter, log_BK: str, lambdas_K: npt.NDArray[np.float64]) -> str:
    is_zero_K = lambdas_K == 0
    divisor = graph.constant(np.where(is_zero_K, 1.0, lambdas_K)[None], np.float64)
    power_BK = graph.add("Div", graph.expm1(graph.add("Mul", divisor, log_BK)), divisor)
    return graph.add("Where", graph.constant(is_zero_K[None], np.bool_), log_BK, power_BK)


def _interpolate(graph: GraphWriter, step: Interpolate, x_BF: str) -> str:
    x_BK = graph.to_float64(graph.columns(x_BF, step.columns))
    points_PK = np.array(step.points, dtype=np.float64).T
    levels_PK = np.repeat(np.array(step.levels, dtype=np.float64)[:, None], len(step.columns), axis=1)
    y_BK = graph.to_float32(graph.interpolated(x_BK, points_PK, levels_PK))
    return graph.replaced(x_BF, step.width, step.columns, y_BK)


def _is_outside(graph: GraphWriter, x_BK: str, minima: Sequence[float | None], maxima: Sequence[float | None]) -> str:
    """Return which values are outside, compared in float64. None for no limit. NaN is not outside."""
    low = graph.constant([[-math.inf if limit is None else limit for limit in minima]], np.float64)
    high = graph.constant([[math.inf if limit is None else limit for limit in maxima]], np.float64)
    value_BK = graph.to_float64(x_BK)
    return graph.add("Or", graph.add("Less", value_BK, low), graph.add("Greater", value_BK, high))


def _null_outside(graph: GraphWriter, step: NullOutside, x_BF: str) -> str:
    x_BK = graph.columns(x_BF, step.columns)
    is_outside_BK = _is_outside(graph, x_BK, step.minima, step.maxima)
    y_BK = graph.add("Where", is_outside_BK, graph.constant(math.nan, np.float32), x_BK)
    return graph.replaced(x_BF, step.width, step.columns, y_BK)


def _flag_outside(graph: GraphWriter, step: FlagOutside, x_BF: str) -> str:
    is_outside_BK = _is_outside(graph, graph.columns(x_BF, step.columns), step.minima, step.maxima)
    return graph.joined(x_BF, graph.to_float32(is_outside_BK))


def _flag_missing(graph: GraphWriter, step: FlagMissing, x_BF: str) -> str:
    return graph.joined(x_BF, graph.to_float32(graph.add("IsNaN", graph.columns(x_BF, step.columns))))


def _combine(graph: GraphWriter, step: Combine, x_BF: str) -> str:
    left_BK, right_BK = (graph.to_float64(graph.columns(x_BF, chosen)) for chosen in (step.columns, step.others))
    result_BK = graph.add(_OPERATIONS[step.operation], left_BK, right_BK)
    result_BK = graph.limited(result_BK, graph.number(-FLOAT32_MAX), graph.number(FLOAT32_MAX))
    if step.operation == "divide":
        is_zero_BK = graph.add("Equal", right_BK, graph.number(0.0))
        is_known_BK = graph.add("Not", graph.add("IsNaN", left_BK))
        at_zero = graph.number(_float(step.at_zero))
        result_BK = graph.add("Where", graph.add("And", is_zero_BK, is_known_BK), at_zero, result_BK)
    return graph.joined(x_BF, graph.to_float32(result_BK))


def _cyclic(graph: GraphWriter, step: Cyclic, x_BF: str) -> str:
    factor_K = 2 * np.pi / np.array(step.periods, dtype=np.float64)
    x_BK = graph.to_float64(graph.columns(x_BF, step.columns))
    angle_BK = graph.add("Mul", x_BK, graph.constant(factor_K[None], np.float64))
    sines, cosines = (graph.to_float32(graph.add(operator, angle_BK)) for operator in ("Sin", "Cos"))
    count = len(step.columns)
    alternating = [place for index in range(count) for place in (index, count + index)]
    return graph.joined(x_BF, graph.columns(graph.joined(sines, cosines), alternating))


def _row_check(graph: GraphWriter, step: RowCheck, x_BF: str) -> str:
    """Return which rows are rejected, [B, 1]."""
    x_BK = graph.columns(x_BF, step.columns)
    is_wrong_BK = _is_outside(graph, x_BK, step.minima, step.maxima)
    required = [not allowed for allowed in step.allow_missing]
    is_missing_BK = graph.add("And", graph.add("IsNaN", x_BK), graph.constant([required], np.bool_))
    return graph.any_of_row(graph.add("Or", is_wrong_BK, is_missing_BK))


def _float(value: float | None) -> float:
    return math.nan if value is None else value


_WRITERS: Final[Mapping[type, Callable[[GraphWriter, Any, str], str]]] = MappingProxyType(
    {
        Impute: _impute,
        Standardise: _standardise,
        Clip: _clip,
        SelectColumns: _select_columns,
        OneHot: _one_hot,
        MapValues: _map_values,
        Bin: _bin,
        Function: _function,
        PowerTransform: _power_transform,
        Interpolate: _interpolate,
        NullOutside: _null_outside,
        FlagOutside: _flag_outside,
        FlagMissing: _flag_missing,
        Combine: _combine,
        Cyclic: _cyclic,
    }
)
