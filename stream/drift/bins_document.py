"""The bins of a model version as JSON, for devices that count their rows themselves (`models/edge/device/report.py`)."""

from __future__ import annotations

import math

from forebay.stream.drift.bins import ColumnBins, ModelBins
from forebay.stream.drift.counts import ColumnCounts
from forebay.stream.drift.wire import column_document


def bins_document(bins: ModelBins, window_s: int) -> dict[str, object]:
    """Return the bins. window_s: length of the windows in which rows are counted, as that of the workers."""
    return {"window_s": window_s, "columns": [_column(column) for column in bins.columns]}


def _column(column: ColumnBins) -> dict[str, object]:
    return {
        "index": column.index,
        "edges": list(column.edges),
        "low": column.low if math.isfinite(column.low) else None,
        "high": column.high if math.isfinite(column.high) else None,
        "bins_of_codes": list(column.bins_of_codes),
        "num_bins": column.num_bins,
        "record": column_document(ColumnCounts.of(column)),
    }
