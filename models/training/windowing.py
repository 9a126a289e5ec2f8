"""Group a table's rows into windows of a key's events, which become sequences as in a worker.

Shapes: N events, W windows, F features of an event, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.window_input import WindowInput
from forebay.models.training.row_files import write_rows
from forebay.models.training.table_coding import CodedTable

_WINDOWS_AT_ONCE: Final = 8_192


def as_windows(table: CodedTable, sequence_length: int, window_ms: int, folder: Path) -> CodedTable:
    """Return a table with a row for each tumbling window of a key: its last `sequence_length` events, oldest first.

    Key, time and label of a window are those of its last event. The table must have keys and times.
    """
    assert table.keys_N is not None and table.times_N is not None
    number_N = table.times_N // window_ms
    order_N = np.lexsort((table.times_N, number_N, table.keys_N))
    starts = np.flatnonzero(
        np.concatenate(([True], np.diff(table.keys_N[order_N]) != 0) if len(table) > 1 else ([True],))
        | np.concatenate(([True], np.diff(number_N[order_N]) != 0))
    )
    lengths_W = np.diff(np.append(starts, len(table)))
    last_W = order_N[starts + lengths_W - 1]
    signature = replace(table.signature, window=WindowInput(sequence_length=sequence_length))
    assert signature.window is not None
    window = signature.window

    def blocks() -> Iterator[FloatArray]:
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            lengths = lengths_W[first : first + _WINDOWS_AT_ONCE]
            rows = order_N[starts[first] : starts[first] + lengths.sum()]
            assert table.times_N is not None
            spans = np.full(len(lengths), window_ms)
            yield window.rows(np.ascontiguousarray(table.x_NF[rows]), table.times_N[rows], lengths, spans)

    return CodedTable(
        signature,
        write_rows(folder / "windows.f32", signature.row_width, blocks()),
        np.ascontiguousarray(table.y_N[last_W]),
        keys_N=table.keys_N[last_W],
        ids_N=None,
        times_N=table.times_N[last_W],
        dropped=table.dropped,
    )
