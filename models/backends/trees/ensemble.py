"""An ensemble of decision trees as arrays, and the file that holds them.

Shapes: T trees, N nodes, L leaves, V values of a leaf, O outputs, C categorical splits, W words of their sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from forebay.models.artefacts.storage import COPY_AGAIN
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.validation import check_arrays
from forebay.schemas.errors import ModelError

Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LEAF: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class CategorySplits:
    """The categorical splits of an ensemble. A node refers to a split by its index; several nodes may share one.

    A value is truncated towards zero to a code. Codes from 0 below the split's size go to the left if their bit is set. Any
    other value that is not NaN goes to the left if `unknown_left_C` is set. NaN goes to the default side of the node.

    start_C: the first word of each split's set.
    size_C: the number of bits in it. Bit `code % 32` of word `start + code // 32` belongs to `code`.
    """

    start_C: Int32Array
    size_C: Int32Array
    unknown_left_C: BoolArray
    words_W: npt.NDArray[np.uint32]

    @classmethod
    def none(cls) -> CategorySplits:
        """Return the splits of an ensemble without any."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.bool_), words_W=np.zeros(0, np.uint32))


@dataclass(frozen=True, slots=True, eq=False)
class TreeEnsemble:
    """Trees as arrays. `TreeEnsemble.read` and `EnsembleBuilder` return checked ones.

    The nodes of a tree are consecutive, its root first; every child comes after its parent.

    roots_T: the root of each tree, ascending, from 0.
    feature_N: the column that a node compares; -1 for a leaf.
    threshold_N: of a numeric split; 0 for leaves and categorical splits.
    left_N, right_N: the children; -1 for a leaf.
    default_left_N: whether NaN goes to the left.
    zero_missing_N: whether values within 1e-35 of zero go where NaN goes.
    category_N: the index of a categorical split; -1 for leaves and numeric splits.
    values_LV: the values of the leaves, in the order of the nodes: all O outputs of a leaf, or one.
    output_T: the output that the trees contribute to, if leaves have one value; 0 if they have all.
    base_O: the base score of each output, added after the sum or average and before the link.
    """

    rules: EnsembleRules
    roots_T: Int32Array
    feature_N: Int32Array
    threshold_N: Float64Array
    left_N: Int32Array
    right_N: Int32Array
    default_left_N: BoolArray
    zero_missing_N: BoolArray
    category_N: Int32Array
    categories: CategorySplits
    values_LV: Float64Array
    output_T: Int32Array
    base_O: Float64Array

    @property
    def num_trees(self) -> int:
        return len(self.roots_T)

    @property
    def num_nodes(self) -> int:
        return len(self.feature_N)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays as the file holds them, by name."""
        return {
            "roots": self.roots_T,
            "feature": self.feature_N,
            "threshold": self.threshold_N,
            "left": self.left_N,
            "right": self.right_N,
            "default_left": self.default_left_N.astype(np.uint8),
            "zero_missing": self.zero_missing_N.astype(np.uint8),
            "category": self.category_N,
            "category_start": self.categories.start_C,
            "category_size": self.categories.size_C,
            "category_unknown_left": self.categories.unknown_left_C.astype(np.uint8),
            "category_words": self.categories.words_W,
            "values": self.values_LV,
            "output": self.output_T,
            "base": self.base_O,
        }

    def dump(self) -> bytes:
        """Return the arrays as the bytes of a safetensors file. The rules are in the manifest."""
        data: bytes = safetensors.numpy.save(
            {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        )
        return data

    @classmethod
    def read(cls, data: bytes, rules: EnsembleRules, file: str) -> TreeEnsemble:
        """Return the ensemble in the bytes of a file, checked. Raises ModelError that names `file` and the array."""
        try:
            arrays = safetensors.numpy.load(data)
        except Exception as error:  # which ones depends on the release, and the content is not trusted
            raise ModelError(
                f"{file}: this is not a safetensors file of trees: {error}", kind="trees", remedy=COPY_AGAIN
            ) from None
        return cls.from_arrays(arrays, rules, file)

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.generic]], rules: EnsembleRules, file: str) -> TreeEnsemble:
        """Return the ensemble of these arrays, named as in the file. Raises ModelError that names `file` and the array."""
        rules.check(file)
        check_arrays(arrays, rules, file)
        found: dict[str, npt.NDArray[np.generic]] = dict(arrays)
        return cls(
            rules=rules,
            roots_T=found["roots"].astype(np.int32, copy=False),
            feature_N=found["feature"].astype(np.int32, copy=False),
            threshold_N=found["threshold"].astype(np.float64, copy=False),
            left_N=found["left"].astype(np.int32, copy=False),
            right_N=found["right"].astype(np.int32, copy=False),
            default_left_N=found["default_left"].astype(np.bool_),
            zero_missing_N=found["zero_missing"].astype(np.bool_),
            category_N=found["category"].astype(np.int32, copy=False),
            categories=CategorySplits(
                start_C=found["category_start"].astype(np.int32, copy=False),
                size_C=found["category_size"].astype(np.int32, copy=False),
                unknown_left_C=found["category_unknown_left"].astype(np.bool_),
                words_W=found["category_words"].astype(np.uint32, copy=False),
            ),
            values_LV=found["values"].astype(np.float64, copy=False),
            output_T=found["output"].astype(np.int32, copy=False),
            base_O=found["base"].astype(np.float64, copy=False),
        )
