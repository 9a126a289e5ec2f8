"""The part of the catalogue about micro-batches that overlap on a CUDA device."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Counter, Histogram, Metric

_MODEL: Final = ("model", "version")

BATCHES: Final = Counter(
    "forebay.device.batches",
    "{batch}",
    "Micro-batches that overlapped on a CUDA device, by the number of rows for which memory is reserved, and by mode: graph or "
    "eager. Bisected ones do not count",
    ("bucket", "mode", *_MODEL),
)
ROWS: Final = Counter(
    "forebay.device.rows",
    "{row}",
    "Rows that a CUDA device computed for these micro-batches, by kind: event, or padding up to the size of the graph",
    ("kind", *_MODEL),
)
WAIT: Final = Histogram(
    "forebay.device.wait.duration",
    "s",
    "How long the thread of a model waited for the results of one of these micro-batches. If it is mostly near 0, the "
    "device is faster than what feeds it",
    _MODEL,
)

METRICS: Final[tuple[Metric, ...]] = (BATCHES, ROWS, WAIT)
