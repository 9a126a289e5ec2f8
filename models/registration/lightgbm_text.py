"""Read the text format in which LightGBM saves models: its header, trees, parameters and the categories of pandas columns.

Shapes: S splits and S + 1 leaves of a tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import ModelError

_REMEDY: Final = "save the model again with Booster.save_model of LightGBM 3 or 4"
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_SHIFT, _MISSING_MASK = 2, 3
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class TextTree:
    """A tree of the file. A child >= 0 is a split, a child < 0 is the leaf `~child`.

    missing_S: MISSING_NONE, MISSING_ZERO or MISSING_NAN: which values follow the split's default.
    categories: for each categorical split the codes that go left; `threshold_S` of such a split is the index in it.
    """

    feature_S: npt.NDArray[np.int64]
    threshold_S: npt.NDArray[np.float64]
    left_S: npt.NDArray[np.int64]
    right_S: npt.NDArray[np.int64]
    is_categorical_S: npt.NDArray[np.bool_]
    is_default_left_S: npt.NDArray[np.bool_]
    missing_S: npt.NDArray[np.int64]
    leaf_values: npt.NDArray[np.float64]
    categories: tuple[npt.NDArray[np.int64], ...]
    is_linear: bool


@dataclass(frozen=True, slots=True, eq=False)
class LightGBMText:
    """A model of LightGBM. The trees of an iteration follow each other, one for each output.

    objective: the objective and its parameters, such as ("binary", {"sigmoid": "1"}); empty for a custom objective.
    feature_infos: for each feature "[minimum:maximum]", the codes of its categories "0:2:1", or "none" if it is constant.
    categorical_columns: the features with category codes.
    pandas_categories: the categories of the columns of dtype category, in the order of these columns.
    """

    feature_names: tuple[str, ...]
    feature_infos: tuple[str, ...]
    trees: tuple[TextTree, ...]
    trees_per_iteration: int
    is_average: bool
    objective: tuple[str, Mapping[str, str]]
    categorical_columns: tuple[int, ...]
    pandas_categories: tuple[Sequence[object], ...]


def parse_lightgbm(text: str, place: str) -> LightGBMText:
    """Return the model in the text. place: the start of messages. Raises ModelError if it is not such a text."""
    head, _, rest = text.partition("\nTree=")
    lines = head.splitlines()
    if not lines or lines[0].strip() != "tree":
        raise _error(
            f'{place}: the first line is {lines[0][:40] if lines else ""!r}; a model of LightGBM starts with "tree"'
        )
    if "\nend of trees" not in text:
        raise _error(f'{place}: the line "end of trees" is missing: the file is truncated')
    body, _, tail = rest.partition("\nend of trees")
    header = _pairs(lines[1:])
    try:
        trees = tuple(_read_tree(part, f"{place}: tree {number}") for number, part in enumerate(_tree_parts(body)))
        columns = _parameter(tail, "categorical_feature")
        pandas = re.search(r"^pandas_categorical:(.*)$", tail, re.MULTILINE)
        return LightGBMText(
            feature_names=tuple(header["feature_names"].split(" ")),
            feature_infos=tuple(header["feature_infos"].split(" ")),
            trees=trees,
            trees_per_iteration=int(header["num_tree_per_iteration"]),
            is_average="average_output" in header,
            objective=_objective(header.get("objective", "")),
            categorical_columns=tuple(int(column) for column in columns.split(",") if column.strip().isdigit()),
            pandas_categories=tuple(json.loads(pandas.group(1)) or ()) if pandas else (),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise _error(f"{place}: it cannot be read as a model of LightGBM ({type(error).__name__}: {error})") from None


def _tree_parts(body: str) -> Iterator[str]:
    """Yield the lines of each tree; `body` starts after the first "Tree="."""
    if body:
        yield from body.split("\nTree=")


def _pairs(lines: Sequence[str]) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines) if key.strip()}


def _parameter(tail: str, name: str) -> str:
    found = re.search(rf"^\[{name}: (.*)\]$", tail, re.MULTILINE)
    return found.group(1) if found else ""


def _objective(value: str) -> tuple[str, dict[str, str]]:
    name, *parts = value.split(" ") if value else [""]
    # A part without a value is a flag, as in "regression sqrt".
    return name, {key: setting for key, _, setting in (part.partition(":") for part in parts)}


def _read_tree(part: str, place: str) -> TextTree:
    values = _pairs(part.splitlines()[1:])
    num_leaves = int(values["num_leaves"])
    num_splits = num_leaves - 1

    def numbers(key: str, count: int, dtype: type[np.generic]) -> npt.NDArray[np.generic]:
        words = values.get(key, "").split()
        if len(words) != count:
            raise _error(f"{place}: {key} has {len(words)} values; there must be {count}")
        return np.array([float(word) for word in words]).astype(dtype)

    kind_S = numbers("decision_type", num_splits, np.int64).astype(np.int64)
    num_bitsets = int(values.get("num_cat", "0"))
    bitsets: tuple[npt.NDArray[np.int64], ...] = ()
    if num_bitsets:
        bounds = numbers("cat_boundaries", num_bitsets + 1, np.int64).astype(np.int64)
        words = numbers("cat_threshold", int(bounds[-1]), np.uint32).astype(np.uint32)
        bitsets = tuple(_codes(words[start:end]) for start, end in pairwise(bounds))
    return TextTree(
        feature_S=numbers("split_feature", num_splits, np.int64).astype(np.int64),
        threshold_S=numbers("threshold", num_splits, np.float64).astype(np.float64),
        left_S=numbers("left_child", num_splits, np.int64).astype(np.int64),
        right_S=numbers("right_child", num_splits, np.int64).astype(np.int64),
        is_categorical_S=(kind_S & _CATEGORICAL) > 0,
        is_default_left_S=(kind_S & _DEFAULT_LEFT) > 0,
        missing_S=(kind_S >> _MISSING_SHIFT) & _MISSING_MASK,
        leaf_values=numbers("leaf_value", num_leaves, np.float64).astype(np.float64),
        categories=bitsets,
        is_linear=values.get("is_linear", "0") != "0",
    )


def _codes(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the numbers of the bits that are set."""
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits).astype(np.int64)


def _error(message: str) -> ModelError:
    return ModelError(message, kind="conversion", remedy=_REMEDY)
