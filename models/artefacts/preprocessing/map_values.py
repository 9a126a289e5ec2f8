"""Replace values by others from a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import sequence
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import (
    SameWidth,
    check_columns,
    check_count,
    check_finite,
    error,
    make_plain,
    number_lists,
    optional_numbers,
    picked,
)
from forebay.schemas.errors import ModelError

# 4 MiB.
_MAX_TABLE_VALUES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class MapValues(SameWidth):
    """Replaces `keys[i][k]` in column `columns[i]` by `values[i][k]`; NaN by `missing[i]`, and any other value by `unknown[i]`.

    keys: ascending float32 numbers, such as the codes of categories; may be empty.
    values, missing, unknown: None for NaN.
    """

    kind: ClassVar[str] = "map_values"
    width: int
    columns: tuple[int, ...]
    keys: tuple[tuple[float, ...], ...]
    values: tuple[tuple[float | None, ...], ...]
    missing: tuple[float | None, ...]
    unknown: tuple[float | None, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _table_KC: FloatArray | None = field(init=False, repr=False, compare=False)
    _keys: tuple[FloatArray, ...] = field(init=False, repr=False, compare=False)
    _values: tuple[FloatArray, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("keys",), number_lists)
        make_plain(self, ("missing", "unknown"), optional_numbers)
        make_plain(self, ("values",), _optional_number_lists)
        check_columns(self.kind, self.width, self.columns, {})
        for name, lists in (("keys", self.keys), ("values", self.values)):
            check_count(self.kind, f"lists of {name}", lists, self.columns)
        for name, others in (("missing", self.missing), ("unknown", self.unknown)):
            check_count(self.kind, name, others, self.columns)
            check_finite(self.kind, name, _present(others))
        for keys, values in zip(self.keys, self.values, strict=True):
            check_finite(self.kind, "keys", keys)
            check_finite(self.kind, "values", _present(values))
            if len(keys) != len(values):
                raise error(f"map_values: there are {len(values)} values for {len(keys)} keys")
            if any(np.float32(a) >= np.float32(b) for a, b in pairwise(keys)):
                raise error("map_values: the keys of a column must be different float32 numbers in ascending order")
        # One more key and value, for what comes after the last key.
        extended = tuple(np.array([*keys, np.inf], dtype=np.float32) for keys in self.keys)
        object.__setattr__(self, "_keys", extended)
        object.__setattr__(self, "_values", tuple(_array([*values, None]) for values in self.values))
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_table_KC", self._code_table())

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        if self._table_KC is not None:
            out_BF[:, self._picked] = self._look_up(x_BF[:, self._picked], self._table_KC)
            return out_BF
        missing_K, unknown_K = _array(self.missing), _array(self.unknown)
        for index, column in enumerate(self.columns):
            x_B = x_BF[:, column]
            keys, values = self._keys[index], self._values[index]
            # NaN is beyond all keys; the clip only keeps it within the table.
            place_B = np.minimum(np.searchsorted(keys, x_B), len(keys) - 1)
            is_known_B = (keys[place_B] == x_B) & (place_B < len(keys) - 1)
            mapped_B = np.where(is_known_B, values[place_B], unknown_K[index])
            out_BF[:, column] = np.where(np.isnan(x_B), missing_K[index], mapped_B)
        return out_BF

    def _code_table(self) -> FloatArray | None:
        """Return the values of all columns by code, then those of unknown and missing ones; None for other keys or if large.

        One look-up for all columns is faster than a search in each.
        """
        most = max(map(len, self.keys), default=0)
        are_codes = all(keys == tuple(range(len(keys))) for keys in self.keys)
        if not are_codes or not self.columns or most * len(self.columns) > _MAX_TABLE_VALUES:
            return None
        table_KC = np.repeat(_array(self.unknown)[:, None], most + 2, axis=1)
        table_KC[:, -1] = _array(self.missing)
        for index, values in enumerate(self.values):
            table_KC[index, : len(values)] = _array(values)
        return table_KC

    def _look_up(self, x_BK: FloatArray, table_KC: FloatArray) -> FloatArray:
        num_codes = table_KC.shape[1] - 2
        # NaN is not a code, so that it can be converted to an index below.
        is_code_BK = (x_BK >= 0) & (x_BK < num_codes) & (x_BK == np.floor(x_BK))
        place_BK = np.where(is_code_BK, x_BK, np.float32(num_codes)).astype(np.intp)
        np.copyto(place_BK, num_codes + 1, where=np.isnan(x_BK))
        found_BK: FloatArray = table_KC[np.arange(len(table_KC)), place_BK]
        return found_BK

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "keys": [list(keys) for keys in self.keys],
            "values": [list(values) for values in self.values],
            "missing": list(self.missing),
            "unknown": list(self.unknown),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> MapValues:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "keys", "values", "missing", "unknown"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            keys=number_lists(fields.array("keys"), "keys", error),
            values=_optional_number_lists(fields.array("values"), "values", error),
            missing=optional_numbers(fields.array("missing"), "missing", error),
            unknown=optional_numbers(fields.array("unknown"), "unknown", error),
        )


def _present(values: tuple[float | None, ...]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def _array(values: list[float | None] | tuple[float | None, ...]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float32)


def _optional_number_lists(
    value: object, name: str, error: Callable[[str], ModelError]
) -> tuple[tuple[float | None, ...], ...]:
    items = sequence(value, name, "lists of numbers", error)
    return tuple(optional_numbers(item, f"{name}[{index}]", error) for index, item in enumerate(items))
