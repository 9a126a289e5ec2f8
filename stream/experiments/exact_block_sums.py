"""Exact sums by metric and block, and columns of numbers by block as JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError
from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.experiments.pair_metrics import LIMB_BITS, block_metrics, limb_scales
from forebay.stream.quality.counts import MAX_COUNT
from forebay.stream.quality.keys import Task

Integers = npt.NDArray[np.int64]

_TYPES: Final = ("i1", "i2", "i4", "i8")
_MAX_ROWS: Final = 1 << 18
"""Limbs of at most 45 bits of this many rows add up without overflow."""


class ExactBlockSums:
    """Sums of metrics by block, limbs x metrics x blocks. They do not depend on the order of what was added."""

    def __init__(self, task: Task, limbs: Integers | None = None) -> None:
        self._task = task
        shape = (len(limb_scales(task)), len(block_metrics(task)), NUM_BLOCKS)
        self._limbs: Integers = np.zeros(shape, np.int64) if limbs is None else limbs

    def add(self, blocks_B: npt.NDArray[Any], units_LMB: Integers, sign: int) -> None:
        """Add the metrics of pairs; subtract them with sign -1."""
        for start in range(0, len(blocks_B), _MAX_ROWS):
            rows = slice(start, start + _MAX_ROWS)
            index_B = blocks_B[rows].astype(np.intp)
            for limb, units_MB in zip(self._limbs, units_LMB, strict=True):
                for sums, units_B in zip(limb, units_MB, strict=True):
                    np.add.at(sums, index_B, sign * units_B[rows])
            self._carry()

    def merge(self, other: ExactBlockSums) -> None:
        """Add other sums of the same task."""
        self._limbs += other._limbs
        self._carry()

    def _carry(self) -> None:
        """Move what exceeds a limb to the next one, so that equal sums have equal limbs."""
        for lower in range(len(self._limbs) - 1, 0, -1):
            self._limbs[lower - 1] += self._limbs[lower] >> LIMB_BITS
            self._limbs[lower] &= (1 << LIMB_BITS) - 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactBlockSums):
            return NotImplemented
        return self._task is other._task and np.array_equal(self._limbs, other._limbs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def filled(self) -> npt.NDArray[np.bool_]:
        """The blocks with a sum that is not zero."""
        filled: npt.NDArray[np.bool_] = np.asarray(self._limbs.any(axis=(0, 1)))
        return filled

    def values(self) -> npt.NDArray[np.float64]:
        """Return the sums as floating-point numbers, metrics x blocks."""
        scaled = [limb * scale for limb, scale in zip(self._limbs, limb_scales(self._task), strict=True)]
        total: npt.NDArray[np.float64] = np.sum(scaled, axis=0)
        return total

    def to_dict(self, blocks: npt.NDArray[Any]) -> dict[str, list[str]]:
        """Return the sums of some blocks as JSON values: by metric, the column of each limb."""
        names = block_metrics(self._task)
        return {
            name: [encode_column(limb[metric, blocks]) for limb in self._limbs] for metric, name in enumerate(names)
        }

    @classmethod
    def read(cls, task: Task, document: object, blocks: npt.NDArray[Any], place: str) -> Self:
        """Return the sums of JSON values. Raises DataError; place: what they are, for the message."""
        found = cls(task)
        names = block_metrics(task)
        if not isinstance(document, Mapping) or set(document) != set(names):
            raise DataError(f"{place}: expected an object with {', '.join(names)}")
        for metric, name in enumerate(names):
            columns = document[name]
            if not isinstance(columns, list) or len(columns) != len(found._limbs):
                raise DataError(f"{place}: {name}: expected a list of {len(found._limbs)} columns")
            for limb, column in zip(found._limbs, columns, strict=True):
                limb[metric, blocks] = decode_column(column, len(blocks), f"{place}: {name}")
        return found


def encode_column(values: Integers) -> str:
    """Return whole numbers as text: the smallest type that holds them, and the base64 of their little-endian bytes."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    name = next(name for name in _TYPES if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
    return f"{name}:{base64.b64encode(values.astype(f'<{name}').tobytes()).decode()}"


def decode_column(text: object, size: int, place: str) -> Integers:
    """Return the whole numbers of a text. Raises DataError; place: what it is, for the message."""
    if not isinstance(text, str) or text[:2] not in _TYPES or text[2:3] != ":":
        raise DataError(f"{place}: expected a column such as i2:AQACAA==, found {str(text)[:40]!r}")
    try:
        data = base64.b64decode(text[3:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{place}: not base64: {error}") from None
    width = int(text[1])
    if len(data) != size * width:
        raise DataError(f"{place}: {len(data)} bytes; expected {size} numbers of {width} bytes")
    return np.frombuffer(data, f"<{text[:2]}").astype(np.int64)


def decode_counts(text: object, size: int, place: str) -> Integers:
    """Return the counts of a text, which may be negative. Raises DataError; place: what they are, for the message."""
    counts = decode_column(text, size, place)
    if size and (counts.min() < -MAX_COUNT or counts.max() > MAX_COUNT):
        raise DataError(f"{place}: a count is beyond {MAX_COUNT}")
    return counts


def read_blocks(text: object, size: object, place: str) -> npt.NDArray[np.intp]:
    """Return ascending numbers of blocks. Raises DataError."""
    if type(size) is not int or not 0 <= size <= NUM_BLOCKS:
        raise DataError(f"{place}: num_blocks is {size!r}; expected 0 to {NUM_BLOCKS}")
    blocks = decode_column(text, size, f"{place}: blocks").astype(np.intp)
    if size and (blocks[0] < 0 or blocks[-1] >= NUM_BLOCKS or (np.diff(blocks) <= 0).any()):
        raise DataError(f"{place}: blocks: expected ascending numbers below {NUM_BLOCKS}")
    return blocks


def read_task(document: object, place: str) -> tuple[Task, Mapping[str, Any]]:
    """Return the task of JSON values, and the values as an object. Raises DataError."""
    if not isinstance(document, Mapping):
        raise DataError(f"{place}: expected an object")
    try:
        return Task(document.get("task", "")), document
    except ValueError:
        raise DataError(
            f"{place}: task is {document.get('task')!r}; expected one of {', '.join(task.value for task in Task)}"
        ) from None
