"""Compare rows of Arrow records with JSON events: decoding, and all stages of a worker in process, without a broker or a model.

    python -m benchmarks.arrow_rows
    python -m benchmarks.arrow_rows --rows 64 --json

The same events of 32 features go through the decoder, the micro-batcher and the emitter; predictions are JSON in both cases.
Both run interleaved, and the best and the median of the rounds count, as CPU time. The extra arrow is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import click
import numpy as np
import orjson
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.formats import NUM_FEATURES, TOPIC, Record
from benchmarks.stages import EPOCH, TIMESTAMP_MS
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, Chunk, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.output.emitter import Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.pipeline.micro_batcher import MicroBatcher

LEAST_S = 3.0
MODEL = ModelRef("bench", 1)
ARROW = (("content-type", b"application/vnd.apache.arrow.stream"),)
NAMES = [f"f{number}" for number in range(NUM_FEATURES)]


class Timed(NamedTuple):
    """The CPU time of a stage in microseconds per event."""

    format: str
    stage: str
    best_us: float
    median_us: float

    @property
    def events_per_s(self) -> float:
        return 1e6 / self.best_us


class Events:
    """The same events as JSON and as records with `rows` rows each."""

    def __init__(self, count: int, rows: int) -> None:
        x_BF = np.random.default_rng(1).normal(size=(count, NUM_FEATURES)).astype(np.float32)
        ids = [f"event-{number}" for number in range(count)]
        times = np.arange(TIMESTAMP_MS, TIMESTAMP_MS + count)
        self.json = [
            Record(
                number,
                TIMESTAMP_MS,
                key=b"key",
                value=orjson.dumps({"id": ids[number], "timestamp": int(times[number]), "features": row}),
                headers=(),
            )
            for number, row in enumerate(x_BF.tolist())
        ]
        self.arrow = []
        for offset, start in enumerate(range(0, count, rows)):
            part = slice(start, start + rows)
            batch = pa.record_batch(
                {
                    "id": ids[part],
                    "timestamp": pa.array(times[part], pa.timestamp("ms", "UTC")),
                    **{name: x_BF[part, column] for column, name in enumerate(NAMES)},
                }
            )
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            value = sink.getvalue().to_pybytes()
            self.arrow.append(Record(offset, TIMESTAMP_MS, key=b"key", value=value, headers=ARROW))


class Worker:
    """The stages of a worker around its model."""

    def __init__(self, batch_size: int) -> None:
        signature = Signature(tuple(map(Feature, NAMES)), (NUM_FEATURES,), "binary", 1)
        self._decoder = Decoder([DecodedModel(MODEL, signature)], max_event_bytes=16 << 20)
        self._batch_size = batch_size
        topics = OutputTopics(*(OutputTopic(name, 4, 1 << 20) for name in ("predictions", "letters", "deltas")))
        self._emitter = Emitter(
            PredictionEncoder(model=MODEL.name, version=1, labels=("no", "yes"), num_classes=2),
            model=MODEL.name,
            version=1,
            topics=topics,
            placer=Placer({TOPIC: 4}, len),
            worker="bench",
        )

    def decode(self, records: Sequence[Record]) -> list[Chunk]:
        return self._decoder.decode({TopicPartition(TOPIC, 0): records}, EPOCH)

    def run(self, records: Sequence[Record]) -> None:
        """Decode, cut, predict a constant and build the outputs."""
        batcher = MicroBatcher(max_batch_size=self._batch_size, max_batch_bytes=1 << 30, max_queue_delay_ms=5)
        batches = [
            batch for chunk in self.decode(records) for batch in batcher.add(chunk, now_s=0.0, wall_ms=TIMESTAMP_MS)
        ]
        results = []
        for batch in [*batches, *batcher.flush()]:
            count = len(batch.features())
            values_BO = np.full((count, 1), 0.75, dtype=np.float32)
            results.append(
                BatchResult(
                    batch,
                    values_BO=values_BO,
                    classes_B=np.ones(count, dtype=np.int64),
                    confidences_B=values_BO[:, 0],
                    failures={},
                    model_s=0.0,
                )
            )
        self._emitter.emit(results)


def measure(events: Events, batch_size: int) -> list[Timed]:
    """Return the times of both formats, measured in turn."""
    worker = Worker(batch_size)
    work: dict[tuple[str, str], Callable[[], object]] = {
        (name, stage): (lambda run=run, records=records: run(records))  # type: ignore[misc]
        for name, records in (("json", events.json), ("arrow", events.arrow))
        for stage, run in (("decode", worker.decode), ("all", worker.run))
    }
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    for each in work.values():
        each()
    ends_s = time.monotonic() + LEAST_S * len(work)
    while time.monotonic() < ends_s:
        for key, each in work.items():
            began_s = time.process_time()
            each()
            taken[key].append((time.process_time() - began_s) / len(events.json) * 1e6)
    return [Timed(*key, min(times), median(times)) for key, times in taken.items()]


@click.command(help=__doc__.splitlines()[0])
@click.option("--events", default=16_384, show_default=True, help="Events of a poll.")
@click.option("--rows", default=256, show_default=True, help="Rows of a record in Arrow.")
@click.option("--batch", default=4096, show_default=True, help="Size of a micro-batch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def main(events: int, rows: int, batch: int, as_json: bool) -> None:
    results = measure(Events(events, rows), batch)
    if as_json:
        for result in results:
            click.echo(json.dumps({**result._asdict(), "rows": rows, "events_per_s": round(result.events_per_s)}))
        return
    table = Table("format", "stage", "best µs", "median µs", "events/s", title=str(describe_host()["processor"]))
    for result in results:
        numbers = (f"{result.best_us:.3f}", f"{result.median_us:.3f}", f"{result.events_per_s:,.0f}")
        table.add_row(result.format, result.stage, *numbers)
    Console().print(table)
    by_name = {(result.format, result.stage): result.best_us for result in results}
    for stage in ("decode", "all"):
        click.echo(f"{stage}: Arrow takes {by_name['arrow', stage] / by_name['json', stage]:.2f} of the time of JSON")


if __name__ == "__main__":
    main()
