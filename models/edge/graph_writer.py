"""Collect the nodes of an ONNX graph. Shapes: B rows, F columns, K chosen columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

FLOAT32: Final = int(TensorProto.FLOAT)
FLOAT64: Final = int(TensorProto.DOUBLE)
INT64: Final = int(TensorProto.INT64)
ML_DOMAIN: Final = "ai.onnx.ml"

_SMALL: Final = 1e-5
"""Below this, log(1 + x) and e**x - 1 are computed as polynomials, since 1 + x would round away most digits of x."""


class GraphWriter:
    """Nodes and constants with names of its own, in the order of the computation. Values are referred to by name.

    prefix: the start of all names.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Return the name of a new constant."""
        name = self._next("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = self._next(operator)
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def alias(self, value: str, name: str) -> None:
        """Give a value another name, such as that of an output of the graph."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=self._next("Identity")))

    def to_float64(self, value: str) -> str:
        return self.add("Cast", value, to=FLOAT64)

    def to_float32(self, value: str) -> str:
        return self.add("Cast", value, to=FLOAT32)

    def number(self, value: float) -> str:
        """Return the name of a constant of float64 without dimensions."""
        return self.constant(value, np.float64)

    def columns(self, x_BF: str, columns: Sequence[int]) -> str:
        """Return the columns [B, K] of a matrix."""
        return self.add("Gather", x_BF, self.constant(list(columns), np.int64), axis=1)

    def joined(self, *parts: str) -> str:
        """Return matrices side by side."""
        return self.add("Concat", *parts, axis=1)

    def replaced(self, x_BF: str, width: int, columns: Sequence[int], y_BK: str) -> str:
        """Return the matrix with `y_BK` in place of `columns`. width: F."""
        if list(columns) == list(range(width)):
            return y_BK
        order = list(range(width))
        for index, column in enumerate(columns):
            order[column] = width + index
        return self.columns(self.joined(x_BF, y_BK), order)

    def any_of_row(self, mask_BK: str) -> str:
        """Return whether any value of a row is true, [B, 1]."""
        count = self.add("ReduceSum", self.to_float32(mask_BK), self.constant([1], np.int64), keepdims=1)
        return self.add("Greater", count, self.constant(0, np.float32))

    def limited(self, x: str, low: str, high: str) -> str:
        """Return values raised to `low` and lowered to `high`. NaN is unchanged, which Clip does not promise."""
        raised = self.add("Where", self.add("Less", x, low), low, x)
        return self.add("Where", self.add("Greater", raised, high), high, raised)

    def log1p(self, x: str) -> str:
        """Return log(1 + x) of float64."""
        square = self.add("Mul", x, x)
        series = self.add("Sub", x, self.add("Mul", square, self.number(0.5)))
        series = self.add("Add", series, self.add("Mul", self.add("Mul", square, x), self.number(1 / 3)))
        plain = self.add("Log", self.add("Add", x, self.number(1.0)))
        return self.add("Where", self._is_small(x), series, plain)

    def expm1(self, x: str) -> str:
        """Return e**x - 1 of float64."""
        square = self.add("Mul", x, x)
        series = self.add("Add", x, self.add("Mul", square, self.number(0.5)))
        series = self.add("Add", series, self.add("Mul", self.add("Mul", square, x), self.number(1 / 6)))
        plain = self.add("Sub", self.add("Exp", x), self.number(1.0))
        return self.add("Where", self._is_small(x), series, plain)

    def sigmoid(self, x: str) -> str:
        """Return 1 / (1 + e**-x) of float64. The operator Sigmoid is not exact far from zero."""
        return self.add("Div", self.number(1.0), self.add("Add", self.number(1.0), self.add("Exp", self.add("Neg", x))))

    def interpolated(self, x_BK: str, points_PK: npt.NDArray[np.float64], levels_PK: npt.NDArray[np.float64]) -> str:
        """Return float64 [B, K] mapped through straight lines between points, constant beyond them.

        points_PK: ascending; at equal points the value is in the middle of the highest and the lowest of their levels.
        levels_PK: the value at each point.
        """
        width_PK, rise_PK = np.diff(points_PK, axis=0), np.diff(levels_PK, axis=0)
        is_jump_PK = width_PK == 0
        slope_PK = np.where(is_jump_PK, 0.0, rise_PK / np.where(is_jump_PK, 1.0, width_PK))
        jump_PK = np.where(is_jump_PK, 0.5 * rise_PK, 0.0)
        x_B1K = self.add("Unsqueeze", x_BK, self.constant([1], np.int64))
        beyond_BPK = self.add("Sub", x_B1K, self.constant(points_PK[None, :-1], np.float64))
        within_BPK = self.limited(beyond_BPK, self.number(0.0), self.constant(width_PK[None], np.float64))
        parts_BPK = self.add("Mul", within_BPK, self.constant(slope_PK[None], np.float64))
        if is_jump_PK.any():
            side_BPK = self.add("Add", self.add("Sign", beyond_BPK), self.number(1.0))
            jumps_BPK = self.add("Mul", side_BPK, self.constant(jump_PK[None], np.float64))
            parts_BPK = self.add("Add", parts_BPK, jumps_BPK)
        total_BK = self.add("ReduceSum", parts_BPK, self.constant([1], np.int64), keepdims=0)
        total_BK = self.add("Add", total_BK, self.constant(levels_PK[:1], np.float64))
        for place in (-1, 0):  # the first point always has the first level, also if it is the last one
            is_at_BK = self.add("Equal", x_BK, self.constant(points_PK[[place]], np.float64))
            total_BK = self.add("Where", is_at_BK, self.constant(levels_PK[[place]], np.float64), total_BK)
        return total_BK

    def _is_small(self, x: str) -> str:
        return self.add("Less", self.add("Abs", x), self.number(_SMALL))

    def _next(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what}_{self._count}"
