"""Measure what counting rows for drift costs a worker at full load, in turn with a worker that does not count.

    python -m benchmarks.drift
    python -m benchmarks.drift --batch 64 --rounds 200

Each turn does what a worker does with one poll, without a broker or waiting: decode, cut a micro-batch, run the model,
telemetry, encode, fill record batches. The cost of the Kafka client is left out, so the worker's own ratio is smaller.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import click
import numpy as np
import torch

from benchmarks.stages import Bench
from forebay.models.statistics.reference import reference_statistics
from forebay.stream.bench.host_info import describe_host
from forebay.stream.config.sections import DriftSection
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import TopicPartition
from forebay.stream.worker.drift_collector import CollectorSettings, DriftCollector, DriftObserver, ServedVersion

ROUND_S: Final = 0.2
WINDOW_MS: Final = 10_000
"""Shorter than in a worker, so that the encoding of records is part of the measurement."""


class CpuClock:
    """A clock of the CPU time of this process, so that others on the machine do not change how much is counted for a row."""

    def monotonic_s(self) -> float:
        return time.process_time()

    def wall_ms(self) -> int:
        return int(time.process_time() * 1000)


class NullSink:
    """A sink that only counts records."""

    def __init__(self) -> None:
        self.num_records = 0

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        self.num_records += num_events


def drift_observer(bench: Bench, max_rows_per_s: int, sink: NullSink) -> DriftObserver:
    """Return an observer that counts rows of the benchmark's model."""
    rng = np.random.default_rng(0)
    signature = bench.model.signature
    reference = reference_statistics(signature, [rng.standard_normal((10_000, signature.num_features), np.float32)])
    collector = DriftCollector(
        CollectorSettings(OutputTopic("drift", 1, 1 << 20), WINDOW_MS, max_rows_per_s, ignored=(), worker="bench"),
        version_of=lambda ref: ServedVersion(signature, reference, is_windowed=False),
        sink=sink,
        clock=CpuClock(),
        random=random.Random(0).random,
    )
    observer = DriftObserver()
    observer.connect(collector)
    return observer


class Round(NamedTuple):
    """A round of turns. cpu_s, drift_s: CPU time of all, and of the counting."""

    turns: int
    cpu_s: float
    drift_s: float


def run_round(bench: Bench, observer: DriftObserver | None) -> Round:
    """Run turns for ROUND_S."""
    turns, drift_s, ends_s, began_s = 0, 0.0, time.monotonic() + ROUND_S, time.process_time()
    while time.monotonic() < ends_s:
        bench.decoder.decode(bench.poll, bench.batch.epoch)
        bench.close_window()
        result = bench.infer()
        bench.observe(bench.silent)
        if observer is not None:
            before_s = time.process_time()
            observer.on_result(result)
            drift_s += time.process_time() - before_s
        bench.emitter.emit([result])
        bench.build_batches()
        turns += 1
    return Round(turns, time.process_time() - began_s, drift_s)


def run_pair(bench: Bench, observer: DriftObserver, *, drift_first: bool) -> tuple[Round, Round]:
    """Return a round without and one with drift."""
    if drift_first:
        drift = run_round(bench, observer)
        return run_round(bench, None), drift
    return run_round(bench, None), run_round(bench, observer)


@click.command()
@click.option("--batch", type=click.IntRange(min=1), default=512, show_default=True, help="Rows in a micro-batch.")
@click.option("--rounds", default=100, show_default=True, help="Number of pairs of short rounds.")
@click.option("--max-rows", default=DriftSection().max_rows_per_s, show_default=True, help="drift.max_rows_per_s.")
def main(batch: int, rounds: int, max_rows: int) -> None:
    """Print the ratio of CPU times with and without drift, for 32 features and an MLP 32-128-64-2, as JSON."""
    torch.set_num_threads(1)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="forebay-drift-") as folder:
        bench = Bench(batch, 4, Path(folder))
    sink = NullSink()
    observer = drift_observer(bench, max_rows, sink)
    run_round(bench, None), run_round(bench, observer)
    pairs = [run_pair(bench, observer, drift_first=number % 2 == 1) for number in range(rounds)]
    ratios = [(drift.cpu_s / drift.turns) / (plain.cpu_s / plain.turns) for plain, drift in pairs]
    document = {
        "rows in a micro-batch": batch,
        "rows/s of CPU without drift": round(batch * median(plain.turns / plain.cpu_s for plain, _ in pairs)),
        "rows/s offered with drift": round(batch * sum(drift.turns for _, drift in pairs) / (rounds * ROUND_S)),
        "CPU with / without, median": round(median(ratios), 4),
        "CPU with / without, quartiles": [round(float(np.quantile(ratios, share)), 4) for share in (0.25, 0.75)],
        "share of the CPU that counting takes": round(
            sum(drift.drift_s for _, drift in pairs) / sum(drift.cpu_s for _, drift in pairs), 4
        ),
        "records": sink.num_records,
        "machine": describe_host(),
    }
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
