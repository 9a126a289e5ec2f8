"""Divide a chunk among versions of its model, whose columns are equal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Chunk, Record
from forebay.stream.core.rows import RowRecords, as_rows, selected

Mask = npt.NDArray[np.bool_]


class DividedChunk:
    """A chunk of N records with the version of each of them.

    versions_N: in the order of the records, valid or not.
    """

    def __init__(self, chunk: Chunk, versions_N: npt.NDArray[np.int64]) -> None:
        self._chunk = chunk
        self._versions_N = versions_N
        self._is_valid_N: Mask | None = None
        self._records: Sequence[Record] = chunk.records
        if chunk.rejections:
            rejected = [rejection.index for rejection in chunk.rejections]
            self._is_valid_N = np.ones(chunk.num_records, np.bool_)
            self._is_valid_N[rejected] = False
            by_index = {rejection.index: rejection.record for rejection in chunk.rejections}
            valid = iter(chunk.records)
            events = (by_index[index] if index in by_index else next(valid) for index in range(chunk.num_records))
            self._records = as_rows(events) if isinstance(chunk.records, RowRecords) else list(events)

    def versions(self) -> list[int]:
        """Return the versions that have records, the one with most records last."""
        versions, counts = np.unique(self._versions_N, return_counts=True)
        found: list[int] = versions[np.argsort(counts, kind="stable")].tolist()
        return found

    def records_of(self, version: int) -> Sequence[Record]:
        """Return the records of a version, valid or not."""
        return selected(self._records, np.flatnonzero(self._mask(version)))

    def part_of(self, version: int, *, num_bytes: int | None = None) -> Chunk:
        """Return the records of a version, which must have some, as a chunk.

        num_bytes: their size, if it is known.
        """
        chunk, mask_N = self._chunk, self._mask(version)
        is_valid_N = self._is_valid_N
        mask_B = mask_N if is_valid_N is None else mask_N[is_valid_N]
        rows = np.flatnonzero(mask_B)
        last = int(np.flatnonzero(mask_N)[-1])
        new_index_N = np.cumsum(mask_N) - 1
        kept = rows.tolist() if chunk.keys or chunk.deadlines else ()
        return replace(
            chunk,
            model=ModelRef(chunk.model.name, version),
            records=selected(chunk.records, rows),
            ids=selected(chunk.ids, rows),
            timestamps=selected(chunk.timestamps, rows),
            x_BF=chunk.x_BF[rows],
            rejections=[
                replace(rejection, index=int(new_index_N[rejection.index]))
                for rejection in chunk.rejections
                if mask_N[rejection.index]
            ],
            num_records=int(mask_N.sum()),
            num_bytes=self.num_bytes_of(version) if num_bytes is None else num_bytes,
            next_offset=self.next_offset_after(last),
            keys={row: chunk.keys[old] for row, old in enumerate(kept) if old in chunk.keys},
            deadlines={row: chunk.deadlines[old] for row, old in enumerate(kept) if old in chunk.deadlines},
        )

    def num_bytes_of(self, version: int) -> int:
        """Return the size of the records of a version."""
        return sum(map(record_bytes, self.records_of(version)))

    def next_offset_after(self, index: int) -> int:
        """Return where reading resumes after a record: after the last one, where it does after the chunk."""
        if index == self._chunk.num_records - 1:
            return self._chunk.next_offset
        return self._records[index].offset + 1

    def _mask(self, version: int) -> Mask:
        mask_N: Mask = self._versions_N == version
        return mask_N
