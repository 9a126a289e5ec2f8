"""Measure the cost of each stage of the worker per row, without a broker, threads or waiting.

    python -m benchmarks.stages
    python -m benchmarks.stages --batch 64 --json

Prints the best and the median of many repetitions. An indented stage is part of the stage above it.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import torch
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from rich.console import Console
from rich.table import Table

from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.setup import MODEL_NAME, save_bench_model
from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, Chunk, Epoch, MicroBatch, Record, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.inference.bisect import infer_batch
from forebay.stream.kafka.patches.raw_records import _joined, _WholeBatch
from forebay.stream.kafka.producer.column_batch import BatchOptions, next_batch
from forebay.stream.output.emitter import Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry, WorkerIdentity

EPOCH = Epoch(1, "member", None, 1)
TIMESTAMP_MS = 1_790_000_000_000
MAX_BATCH_BYTES = 1 << 20
PRODUCED_RECORDS = 1000
BATCH_OPTIONS = BatchOptions(None, MAX_BATCH_BYTES, is_transactional=True)
LEAST_S = 1.0
NOWHERE = "http://127.0.0.1:9"


class Timed(NamedTuple):
    """The time of a stage in microseconds per row. inside: whether it is part of the stage above it."""

    stage: str
    inside: bool
    best_us: float
    median_us: float


def time_stage(work: Callable[[], object], rows: int) -> tuple[float, float]:
    """Return the best and the median time of `work` in µs per row, over at least one second after a warm-up."""
    for _ in range(20):
        work()
    taken: list[float] = []
    ends_s = time.perf_counter() + LEAST_S
    while (began_s := time.perf_counter()) < ends_s or len(taken) < 20:
        work()
        taken.append(time.perf_counter() - began_s)
    return min(taken) / rows * 1e6, median(taken) / rows * 1e6


def make_logs(generator: EventGenerator, rows: int, partitions: int) -> dict[TopicPartition, list[bytes]]:
    """Return the record batches of each partition, with up to `PRODUCED_RECORDS` records each."""
    logs: dict[TopicPartition, list[bytes]] = {}
    for partition in range(partitions):
        numbers = range(rows * partition // partitions, rows * (partition + 1) // partitions)
        batches = logs[TopicPartition("features", partition)] = []
        for start in range(0, len(numbers), PRODUCED_RECORDS):
            builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, 0, 1 << 30)
            for index, number in enumerate(numbers[start : start + PRODUCED_RECORDS]):
                builder.append(index, TIMESTAMP_MS, generator.key(number), generator.value(number, TIMESTAMP_MS), [])
            batch = bytes(builder.build())
            batches.append((numbers.start + start).to_bytes(8, "big") + batch[8:])
    return logs


def read_logs(logs: Mapping[TopicPartition, Sequence[bytes]]) -> dict[TopicPartition, Sequence[Record]]:
    """Read record batches as the source does."""
    poll: dict[TopicPartition, Sequence[Record]] = {}
    for partition, batches in logs.items():
        parts: list[Sequence[Record]] = []
        for raw in batches:
            batch = _WholeBatch(DefaultRecordBatch(memoryview(raw)), memoryview(raw), 64 << 20, 0)
            assert batch.validate_crc()
            parts += [piece.records for piece in batch]
        poll[partition] = _joined(parts)
    return poll


def make_telemetry(model: ServedModel, *, endpoint: str | None) -> Telemetry:
    about = WorkerIdentity(
        models=[ModelOnDevice(ModelRef(model.name, model.version), "cpu")],
        instance="bench",
        group_id="bench",
        transactional=True,
        max_in_flight_events=1,
    )
    return Telemetry(TelemetrySection(metrics=False, otlp_endpoint=endpoint), about, clock=SystemClock(), environ={})


class Bench:
    """The parts of a worker around one poll of `rows` events from `partitions` partitions, each stage ready to be repeated."""

    def __init__(self, rows: int, partitions: int, repository: Path) -> None:
        save_bench_model(repository)
        model = load_model(repository, MODEL_NAME, options=RunOptions())
        signature = model.signature
        self.model = model
        self.logs = make_logs(EventGenerator(signature), rows, partitions)
        self.poll = read_logs(self.logs)
        self.decoder = Decoder([DecodedModel(ModelRef(model.name, model.version), signature)], max_event_bytes=1 << 20)
        self.batcher = MicroBatcher(max_batch_size=rows, max_batch_bytes=1 << 30, max_queue_delay_ms=5)
        self.encoder = PredictionEncoder(
            model=model.name, version=model.version, labels=signature.labels, num_classes=signature.num_classes
        )
        topics = OutputTopics(*(OutputTopic(name, 4, MAX_BATCH_BYTES) for name in ("predictions", "letters", "deltas")))
        self.emitter = Emitter(
            self.encoder,
            model=model.name,
            version=model.version,
            topics=topics,
            placer=Placer({"features": 4}, len),
            worker="bench",
        )
        self.chunks = self.decoder.decode(self.poll, EPOCH)
        self.batch = self.close_window()
        self.x_BF = self.batch.features()
        self.x_BG = model.prepare(self.x_BF)
        self.finished = self.infer()
        emission = self.emitter.emit([self.finished])
        self.outgoing, self.ledger = emission.outgoing, emission.ledger
        self.silent = make_telemetry(model, endpoint=None)
        self.tracing = make_telemetry(model, endpoint=NOWHERE)

    def stages(self) -> Sequence[tuple[str, bool, Callable[[], object]]]:
        """Return each stage's name, whether it is inside the one before it, and its work."""
        return (
            ("read record batches", False, lambda: read_logs(self.logs)),
            ("decode", False, lambda: self.decoder.decode(self.poll, EPOCH)),
            ("parse", True, self.parse),
            ("window", False, self.close_window),
            ("split of a chunk", False, self.split),
            ("infer", False, self.infer),
            ("features", True, self.batch.features),
            ("prepare", True, lambda: self.model.prepare(self.x_BF)),
            ("forward", True, lambda: self.model.forward(self.x_BG)),
            ("emit", False, lambda: self.emitter.emit([self.finished])),
            ("encode", True, self.encode),
            ("build record batches", False, self.build_batches),
            ("telemetry", False, lambda: self.observe(self.silent)),
            ("telemetry with traces, 1 %", False, lambda: self.observe(self.tracing)),
        )

    def parse(self) -> None:
        (row_format,) = self.decoder._models.formats
        for part in self.poll.values():
            for record in part:
                row_format.parse(record.value or b"")

    def close_window(self) -> MicroBatch:
        closed: list[MicroBatch] = []
        for chunk in self.chunks:
            closed += self.batcher.add(chunk, now_s=0.0, wall_ms=TIMESTAMP_MS)
        return closed[0]

    def split(self) -> tuple[Chunk, Chunk] | None:
        chunk = self.chunks[0]
        return chunk.split(chunk.num_records // 2) if chunk.num_records > 1 else None

    def infer(self) -> BatchResult:
        inference = infer_batch(self.model, self.batch, wall_ms=TIMESTAMP_MS)
        return BatchResult(
            self.batch,
            values_BO=inference.values_BO,
            classes_B=inference.classes_B,
            confidences_B=inference.confidences_B,
            failures=inference.failures,
            model_s=0.0,
        )

    def encode(self) -> None:
        first_row = 0
        for chunk in self.batch.chunks:
            assert isinstance(chunk, Chunk)
            self.encoder.encode(self.finished, chunk, first_row, None)
            first_row += len(chunk.records)

    def build_batches(self) -> None:
        for out in self.outgoing.values():
            start = 0
            while start < len(out.values):
                builder, start = next_batch(out, start, BATCH_OPTIONS, timestamp_ms=TIMESTAMP_MS)
                builder._build()

    def observe(self, telemetry: Telemetry) -> None:
        """Report one poll, its micro-batch and its commit to the telemetry."""
        now_s = time.monotonic()
        result = replace(self.finished, batch=replace(self.batch, opened_s=now_s), started_s=now_s)
        telemetry.on_polled(self.chunks, began_s=now_s, received_s=now_s)
        telemetry.on_batch_closed(result.batch)
        telemetry.on_result(result)
        telemetry.on_commit_started([result])
        telemetry.delta_headers([result])
        telemetry.on_committed([result], self.ledger, CommitTimes(*[now_s] * 6))


def time_stages(rows: int, partitions: int, repository: Path) -> list[Timed]:
    """Time every stage on one poll of `rows` events from `partitions` partitions."""
    torch.set_num_threads(1)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # no collector takes the spans, as intended
    bench = Bench(rows, partitions, repository)
    return [Timed(name, inside, *time_stage(work, rows)) for name, inside, work in bench.stages()]


@click.command()
@click.option("--batch", type=click.IntRange(min=1), default=512, show_default=True, help="Rows in a micro-batch.")
@click.option(
    "--partitions",
    type=click.IntRange(min=1, max=4),
    default=1,
    show_default=True,
    help="Partitions of the rows. For a backlog, the client returns one partition at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(batch: int, partitions: int, as_json: bool) -> None:
    """Measure each stage from JSON with 32 features through an MLP 32-128-64-2 to the JSON prediction."""
    with tempfile.TemporaryDirectory(prefix="forebay-stages-") as folder:
        timed = time_stages(batch, partitions, Path(folder))
    if as_json:
        stages = {stage.stage: {"best_us": stage.best_us, "median_us": stage.median_us} for stage in timed}
        document = {"rows": batch, "partitions": partitions, "stages": stages, "machine": describe_host()}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    table = Table(title=f"µs per row · micro-batches of {batch} from {partitions} partition(s)", title_justify="left")
    table.add_column("stage")
    for heading in ("best", "median", "rows/s at best"):
        table.add_column(heading, justify="right")
    for stage in timed:
        name = f"  {stage.stage}" if stage.inside else stage.stage
        table.add_row(name, f"{stage.best_us:.3f}", f"{stage.median_us:.3f}", f"{1e6 / stage.best_us:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
