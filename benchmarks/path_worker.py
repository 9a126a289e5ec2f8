"""A worker that also records when each event passed each stage, for `benchmarks.latency_path`.

    python -m benchmarks.path_worker FILE.npy -c forebay.toml

The other arguments are those of `forebay run`. The file is written when the worker has drained. CLOCK_MONOTONIC is the same for
all processes of a machine, so that the times can be compared with those of the program that publishes and reads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forebay.stream.cli import main
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.commit_timings import CommitTimings
from forebay.stream.worker import assembly

COLUMNS = ("partition", "offset", "polled", "decoded", "closed", "started", "predicted", *CommitTimes._fields)
"""The columns of the file. All but the first two are monotonic seconds."""


class PathTimings(CommitTimings):
    """Timings of commits, and of all events that they contain."""

    def __init__(self) -> None:
        super().__init__()
        self._polled: dict[tuple[int, int], tuple[float, float]] = {}
        self._closed: dict[int, float] = {}
        self._rows: list[tuple[float, ...]] = []

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        now_s = time.monotonic()
        for chunk in chunks:
            for offset in range(chunk.first_offset, chunk.next_offset):
                self._polled[chunk.partition.partition, offset] = (received_s, now_s)

    def on_batch_closed(self, batch: MicroBatch) -> None:
        self._closed[batch.seq] = time.monotonic()

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        super().on_committed(batches, ledger, times)
        for result in batches:
            model = (self._closed.pop(result.batch.seq), result.started_s, result.started_s + result.model_s)
            for part in result.batch.chunks:
                partition = part.partition.partition
                for offset in range(part.first_offset, part.next_offset):
                    polled = self._polled.pop((partition, offset), None)
                    if polled is not None:
                        self._rows.append((partition, offset, *polled, *model, *times))

    def save(self, file: Path) -> None:
        """Write the times of all committed events."""
        np.save(file, np.array(self._rows, dtype=np.float64).reshape(-1, len(COLUMNS)))


if __name__ == "__main__":
    recorded: list[PathTimings] = []

    def record() -> PathTimings:
        recorded.append(PathTimings())
        return recorded[-1]

    assembly.CommitTimings = record  # type: ignore[assignment,attr-defined]
    try:
        main(["run", *sys.argv[2:]])
    finally:
        if recorded:
            recorded[-1].save(Path(sys.argv[1]))
