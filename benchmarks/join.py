"""Measure the join of predictions with labels: pairs per second on one core, and the memory of predictions that wait.

    python -m benchmarks.join
    python -m benchmarks.join --waiting 1000000 --json

Predictions of two classes are added in polls until that many wait. Then labels for random ones of them arrive in polls; some
correct an earlier label. Parsing is not included. Taking the sums, as for a commit, is.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass

import click
import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelColumns, LabelValue, PredictionColumns
from forebay.stream.evaluate.partition_join import JoinInputs, PartitionJoin
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.quality.keys import Task

INPUTS = JoinInputs(TopicPartition("predictions", 0), TopicPartition("labels", 0))
RULES = JoinRules(horizon_ms=86_400_000, early_ms=3_600_000, window_ms=3_600_000)
START_MS = 1_790_000_000_000
SPAN_MS = 80_000_000
MIB = 1 << 20
POLL = 500
POLLS_OF_COMMIT = 400
CLASS_NAMES = {"no": 0.0, "yes": 1.0}


def resolve(_: ModelRef, value: LabelValue) -> float | None:
    """Return the class of a label by its name."""
    return CLASS_NAMES.get(str(value))


def hashes_of(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return a different, evenly spread hash for each number."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    return mixed * np.uint64(0xD6E8FEB86659FD93)


class Waiting:
    """A join with predictions that wait. `add` adds a poll of them."""

    def __init__(self, count: int, versions: int) -> None:
        self.count = count
        self.join = PartitionJoin(INPUTS, RULES, resolve=resolve, max_waiting=count, new_blocks=BlockSums)
        self._refs = [ModelRef("churn", version + 1) for version in range(versions)]
        self._random = np.random.default_rng(7)

    def add(self, first: int, poll: int) -> None:
        """Add a poll of predictions; each is of the next version."""
        offsets = np.arange(first, min(first + poll, self.count))
        scores = self._random.random((len(offsets), 1), np.float32)
        blocks = self._random.integers(0, 4096, len(offsets), np.uint16)
        times = START_MS + offsets * SPAN_MS // self.count
        columns = []
        for number, ref in enumerate(self._refs):
            own = slice(number, None, len(self._refs))
            columns.append(
                PredictionColumns(
                    ref=ref,
                    task=Task.BINARY,
                    hashes_B=hashes_of(offsets[own]),
                    offsets_B=offsets[own],
                    times_B=times[own],
                    scores_BO=scores[own],
                    classes_B=(scores[own, 0] > 0.5).astype(np.int32),
                    blocks_B=blocks[own],
                )
            )
        self.join.add_predictions(columns, next_offset=int(offsets[-1]) + 1)


@dataclass(frozen=True)
class Result:
    """What was measured. Rates are per second of CPU time of the one thread."""

    waiting: int
    segments: int
    column_bytes: float
    resident_mib: float
    peak_mib: float
    predictions_per_s: float
    pairs_per_s: float
    ms_per_poll: float
    ms_per_commit: float
    matched: int


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def label_polls(count: int, waiting: int) -> list[LabelColumns]:
    """Return polls of labels for random predictions, in time order."""
    random = np.random.default_rng(11)
    polls = []
    for first in range(0, count, POLL):
        offsets = np.arange(first, min(first + POLL, count))
        values = np.where(random.random(len(offsets)) < 0.3, "yes", "no").tolist()
        polls.append(
            LabelColumns(
                hashes_B=hashes_of(random.integers(0, waiting, len(offsets))),
                offsets_B=offsets,
                times_B=START_MS + SPAN_MS + offsets,
                values=values,
            )
        )
    return polls


def measure(waiting: int, labels: int, *, poll: int, versions: int, progress: Progress) -> Result:
    """Fill a join, measure its memory, and join labels."""
    before = resident_bytes()
    predictions = Waiting(waiting, versions)
    join = predictions.join
    task = progress.add_task("predictions", total=waiting)
    filled_s = 0.0
    for first in range(0, waiting, poll):
        began_s = time.process_time()
        predictions.add(first, poll)
        if first // poll % POLLS_OF_COMMIT == 0:
            join.take()
        filled_s += time.process_time() - began_s
        progress.update(task, completed=first + poll)
    join.take()
    resident = resident_bytes() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    polls = label_polls(labels, waiting)
    task = progress.add_task("labels", total=labels)
    joined_s = commit_s = 0.0
    matched, commits = 0, 0
    for number, columns in enumerate(polls):
        began_s = time.process_time()
        join.add_labels(columns, next_offset=int(columns.offsets_B[-1]) + 1)
        joined_s += time.process_time() - began_s
        if number % POLLS_OF_COMMIT == POLLS_OF_COMMIT - 1 or number == len(polls) - 1:
            began_s = time.process_time()
            taken = join.take()
            join.checkpoint()
            commit_s += time.process_time() - began_s
            matched += sum(sums.matched for sums, _ in taken.sums.values())
            commits += 1
        progress.update(task, advance=len(columns))
    return Result(
        waiting=join.num_waiting_predictions,
        segments=join.num_segments,
        column_bytes=round(join.num_bytes / waiting, 2),
        resident_mib=round(resident / MIB, 1),
        peak_mib=round(peak / MIB, 1),
        predictions_per_s=round(waiting / filled_s),
        pairs_per_s=round(labels / (joined_s + commit_s)),
        ms_per_poll=round(1000 * joined_s / len(polls), 3),
        ms_per_commit=round(1000 * commit_s / commits, 1),
        matched=matched,
    )


def table(result: Result, labels: int) -> Table:
    """Return the result as a table."""
    shown = Table(title="The join of one partition, one thread", title_justify="left", show_header=False)
    rows = [
        ("waiting predictions", f"{result.waiting:,} in {result.segments} segments"),
        ("columns", f"{result.column_bytes} bytes a prediction, with one score"),
        ("resident memory", f"{result.resident_mib:,.0f} MiB more than before; {result.peak_mib:,.0f} MiB at the peak"),
        ("adding predictions", f"{result.predictions_per_s:,} a second"),
        ("joining labels", f"{result.pairs_per_s:,} pairs a second, with their sums"),
        (f"a poll of {POLL} labels", f"{result.ms_per_poll:.3f} ms"),
        (f"the sums of a commit, {POLLS_OF_COMMIT * POLL:,} labels", f"{result.ms_per_commit:.1f} ms"),
        ("labels", f"{labels:,}; {result.matched:,} predictions got a label"),
    ]
    for row in rows:
        shown.add_row(*row)
    return shown


@click.command()
@click.option("--waiting", default=10_000_000, show_default=True, help="Predictions that wait.")
@click.option("--labels", default=1_000_000, show_default=True, help="Labels to join.")
@click.option("--poll", default=500, show_default=True, help="Predictions of a poll.")
@click.option("--versions", default=2, show_default=True, help="Versions that predict, in turn.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(waiting: int, labels: int, poll: int, versions: int, as_json: bool) -> None:
    """Measure the join of predictions with labels."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        result = measure(waiting, labels, poll=poll, versions=versions, progress=progress)
    if as_json:
        print(json.dumps({**describe_host(), **asdict(result)}, indent=2, default=str))
    else:
        console = Console()
        console.print(table(result, labels))


if __name__ == "__main__":
    main()
