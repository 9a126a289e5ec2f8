"""Turns finished micro-batches into the records of a commit: predictions, dead letters and deltas, by output partition.

Sizes are checked here, before anything is sent. A row fails if its prediction is too large for the topic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import KINDS_OF_COLUMNS, FailureKind
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.decisions import ABSTENTIONS, PREDICT
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Headers, Outgoing, OutputTopic, OutputTopics
from forebay.stream.core.ports import Concealment
from forebay.stream.core.record_columns import any_headers, headers_of, keys_of, offsets_of, timestamps_of
from forebay.stream.core.records import BatchResult, Chunk, Record, RowFailure, TopicPartition
from forebay.stream.core.redaction import Redactor
from forebay.stream.core.rows import RowRecords, distinct_records, position_of, selected
from forebay.stream.output.call_log import CallLog, MeasuredLane
from forebay.stream.output.encoder import (
    Encoder,
    dead_letter,
    output_bytes,
    prediction_bytes,
    prediction_headers,
    record_size,
)
from forebay.stream.output.ledger import Ledger, ModelLedger, encode_delta

NO_HEADERS: Headers = []


@dataclass(frozen=True, slots=True)
class Emission:
    """The records that one commit sends and the positions that it commits.

    positions: offset of the next record to read, by input partition.
    metadata: metadata committed with a position, by input partition, if any.
    has_offsets: whether the offsets in the input are kept with the output records (see `Outgoing`).
    """

    outgoing: dict[TopicPartition, Outgoing]
    positions: dict[TopicPartition, int]
    ledger: Ledger
    metadata: dict[TopicPartition, str] = field(default_factory=dict)
    has_offsets: bool = False

    def records_of(self, partition: TopicPartition) -> Outgoing:
        """Return the records of an output partition, to which more can be added."""
        outgoing = self.outgoing.get(partition)
        if outgoing is None:
            outgoing = self.outgoing[partition] = Outgoing(offsets=[] if self.has_offsets else None)
        return outgoing

    def advance(self, partition: TopicPartition, next_offset: int) -> None:
        """Raise the position of a partition to `next_offset`. Lanes read the same partition, so offsets come in any order."""
        if next_offset > self.positions.get(partition, -1):
            self.positions[partition] = next_offset


class Placer:
    """Chooses the output partition of an event's outputs.

    If the output topic has as many partitions as the input topic, outputs go to the partition with the event's number, which
    keeps the order per key. Otherwise they are placed by key.

    input_partitions: number of partitions by input topic.
    hash_key: the hash function of Kafka's default partitioner.
    """

    def __init__(self, input_partitions: Mapping[str, int], hash_key: Callable[[bytes], int]) -> None:
        self._input_partitions = input_partitions
        self._hash_key = hash_key

    def co_partition(self, topic: OutputTopic, source: TopicPartition) -> TopicPartition | None:
        """Return the output partition with the event's partition number; None if the numbers of partitions differ."""
        if self._input_partitions.get(source.topic) == topic.num_partitions:
            return TopicPartition(topic.name, source.partition)
        return None

    def place(self, topic: OutputTopic, source: TopicPartition, key: bytes | None) -> TopicPartition:
        """Return the co-partition if there is one, else the partition by key, else by the event's partition number."""
        partition = self.co_partition(topic, source)
        if partition is not None:
            return partition
        if key is None:
            return TopicPartition(topic.name, source.partition % topic.num_partitions)
        return self.by_key(topic, key)

    def by_key(self, topic: OutputTopic, key: bytes) -> TopicPartition:
        """Return the partition that Kafka's default partitioner would choose."""
        return TopicPartition(topic.name, self._hash_key(key) % topic.num_partitions)


EmissionSteps = Generator[None, None, Emission]
"""Builds an emission in slices and yields after each, so that other tasks can use the event loop."""
MAX_SLICE_BYTES: Final = 4 << 20
MIN_SLICE_BYTES: Final = 128 << 10  # smaller micro-batches share a slice: each pause costs a turn of the event loop


class EmissionBuilder(Protocol):
    """Builds an emission from finished micro-batches: of one model (`ModelEmitter`) or several (`LanesEmitter`)."""

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps: ...


def slices_of(rows: Sequence[int], output_dim: int) -> list[Sequence[int]]:
    """Cut rows into slices whose predictions take approximately `MAX_SLICE_BYTES` at most."""
    size = max(1, MAX_SLICE_BYTES // prediction_bytes(output_dim))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _prediction_headers(records: Sequence[Record]) -> tuple[list[Headers], int]:
    """Return the headers of each event's prediction, and the size of the longest."""
    of_records = list(map(prediction_headers, headers_of(distinct_records(records))))
    longest = max(record_size(None, None, headers) for headers in of_records)
    if isinstance(records, RowRecords):
        return [of_records[source] for source in records.source_B.tolist()], longest
    return of_records, longest


class ModelEmitter(ABC):
    """Base class of the emitters of one model version: encoding and placement of its outputs.

    ref: the model version.
    of_windows: whether the rows are windows, whose state is committed as metadata.
    feature_names: names that stay in the messages of outcome deltas, which contain no values of events.
    clock: supplies the time for outcomes of records without a timestamp.
    destinations: the topics of predictions by decision code; empty if all go to predictions.
    concealment: what hides values of encrypted events in dead letters; None if no events are encrypted.
    measured: given if outcome deltas carry the performance of the model's calls, which rollouts are judged by.
    names_rejections: whether dead letters of events that the version's columns reject name it, as other versions may serve.
    """

    of_windows: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        model: str,
        version: int,
        topics: OutputTopics,
        placer: Placer,
        worker: str,
        feature_names: Sequence[str] = (),
        clock: Clock | None = None,
        measured: MeasuredLane | None = None,
        names_rejections: bool = False,
        destinations: Sequence[OutputTopic] = (),
        concealment: Concealment | None = None,
    ) -> None:
        self._concealment = concealment
        self._destinations = tuple(destinations) or (topics.predictions,)
        self._clock = clock or SystemClock()
        self._redactor = Redactor((model, *feature_names))
        self._encoder = encoder
        self.ref = ModelRef(model, version)
        self._topics = topics
        self._placer = placer
        self._worker = worker
        self._measured = measured
        self._names_rejections = names_rejections

    def emit(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> Emission:
        """Build and return an emission without yielding."""
        building = self.build(batches, delta_headers=delta_headers)
        while True:
            try:
                next(building)
            except StopIteration as done:
                return cast(Emission, done.value)

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build the emission of these micro-batches, which are in commit order. Never raises for data."""
        emission, num_bytes = self.begin(), 0
        for result in batches:
            yield from self.add(result, emission)
            num_bytes += output_bytes(result)
            if num_bytes >= MIN_SLICE_BYTES:
                num_bytes = 0
                yield
        return self.finish(emission, delta_headers)

    def begin(self) -> Emission:
        """Return an empty emission."""
        return Emission({}, {}, Ledger(now_ms=self._clock.wall_ms()))

    @abstractmethod
    def add(self, result: BatchResult, emission: Emission) -> Generator[None, None, None]:
        """Add the outputs of a micro-batch of this model to an emission, in slices. Never raises for data."""

    def _ledger(self, emission: Emission) -> ModelLedger:
        """Return the model's ledger in the emission."""
        return emission.ledger.of(self.ref, self._redactor)

    def _measure(self, result: BatchResult, ledger: ModelLedger) -> None:
        """Add the model's call to the ledger if its performance is measured."""
        if self._measured is None:
            return
        if ledger.calls is None:
            ledger.calls = CallLog(self._measured)
        ledger.calls.add(result)

    def finish(self, emission: Emission, delta_headers: Headers) -> Emission:
        """Add the deltas of all models, placed by key so that all outcomes of a minute are in one partition.

        The performance of a model's calls is in the first of its deltas, so that it is counted once. That of the first model
        also has the usage of the process.
        """
        topic = self._topics.outcome_deltas
        is_first = True
        for ledger in emission.ledger.models.values():
            performance = None if ledger.calls is None else ledger.calls.performance(with_process=is_first)
            is_first = is_first and performance is None
            for key, delta in ledger.deltas.items():
                record_key, value = encode_delta(key, delta, worker=self._worker, performance=performance)
                partition = self._placer.by_key(topic, record_key)
                emission.records_of(partition).append(record_key, value, delta_headers, offset=0)
                performance = None
        return emission


class Emitter(ModelEmitter):
    """Builds emissions whose rows are events."""

    def add(self, result: BatchResult, emission: Emission) -> Generator[None, None, None]:
        """Add the outputs of a micro-batch of this model to an emission, in slices. Never raises for data."""
        ledger, first_row = self._ledger(emission), 0
        self._measure(result, ledger)
        for chunk in result.batch.chunks:
            assert isinstance(chunk, Chunk)
            yield from self._emit_chunk(result, chunk, first_row=first_row, emission=emission, ledger=ledger)
            first_row += len(chunk.records)

    def _emit_chunk(
        self, result: BatchResult, chunk: Chunk, *, first_row: int, emission: Emission, ledger: ModelLedger
    ) -> Generator[None, None, None]:
        count = len(chunk.records)
        failures = (
            {row: result.failures[first_row + row] for row in range(count) if first_row + row in result.failures}
            if result.failures
            else {}
        )
        if failures and self._concealment is not None:
            failures = self._concealment.conceal(chunk.partition.topic, failures)
        rows = [row for row in range(count) if row not in failures] if failures else None
        values = yield from self._encode(result, chunk, first_row, rows)
        with_headers = any_headers(distinct_records(chunk.records))
        decisions_B = None if result.decisions_B is None else result.decisions_B[first_row : first_row + count]
        if decisions_B is not None and not decisions_B.any():
            decisions_B = None
        for topic, topic_rows, topic_values in self._by_topic(rows, values, decisions_B):
            self._emit_predictions(
                chunk,
                topic,
                rows=topic_rows,
                values=topic_values,
                with_headers=with_headers,
                failures=failures,
                emission=emission,
            )
        if len(failures) + len(values) > count:
            result.failures.update((first_row + row, failure) for row, failure in failures.items())
        self._count_predictions(chunk, failures, decisions_B, ledger)
        if failures or chunk.rejections:
            self._emit_dead_letters(chunk, failures, emission, ledger)
        ledger.passed[chunk.partition] += chunk.num_passed
        emission.advance(chunk.partition, chunk.next_offset)

    def _encode(
        self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None
    ) -> Generator[None, None, list[bytes]]:
        slices = slices_of(range(len(chunk.records)) if rows is None else rows, result.values_BO.shape[1])
        if len(slices) <= 1:
            return self._encoder.encode(result, chunk, first_row, rows)
        values: list[bytes] = []
        for part in slices:
            values += self._encoder.encode(result, chunk, first_row, part)
            yield
        return values

    def _by_topic(
        self, rows: Sequence[int] | None, values: list[bytes], decisions_B: npt.NDArray[np.uint8] | None
    ) -> Iterator[tuple[OutputTopic, Sequence[int] | None, list[bytes]]]:
        """Yield the topics of a chunk's predictions, each with its rows and values."""
        if decisions_B is None:
            yield self._destinations[PREDICT], rows, values
            return
        rows_of: dict[OutputTopic, tuple[list[int], list[bytes]]] = {}
        codes = decisions_B.tolist()
        for row, value in zip(range(len(codes)) if rows is None else rows, values, strict=True):
            topic_rows, topic_values = rows_of.setdefault(self._destinations[codes[row]], ([], []))
            topic_rows.append(row)
            topic_values.append(value)
        for topic, (topic_rows, topic_values) in rows_of.items():
            yield topic, topic_rows, topic_values

    def _count_predictions(
        self,
        chunk: Chunk,
        failures: Mapping[int, RowFailure],
        decisions_B: npt.NDArray[np.uint8] | None,
        ledger: ModelLedger,
    ) -> None:
        """Add the rows that are predicted to the ledger: all but failures."""
        timestamps_B = timestamps_of(chunk.records)
        if failures:
            timestamps_B = np.delete(timestamps_B, list(failures))
        if decisions_B is None:
            ledger.add_predictions(chunk.partition, timestamps_B)
            return
        if failures:
            decisions_B = np.delete(decisions_B, list(failures))
        abstained_B = np.isin(decisions_B, list(ABSTENTIONS))
        ledger.add_predictions(chunk.partition, timestamps_B[~abstained_B])
        ledger.add_predictions(chunk.partition, timestamps_B[abstained_B], abstained=True)

    def _emit_predictions(
        self,
        chunk: Chunk,
        topic: OutputTopic,
        *,
        rows: Sequence[int] | None,
        values: list[bytes],
        with_headers: bool,
        failures: dict[int, RowFailure],
        emission: Emission,
    ) -> None:
        """Add the predictions, and add rows whose prediction is too large to `failures`."""
        if not values:
            return
        records = chunk.records if rows is None else selected(chunk.records, rows)
        keys = keys_of(records)
        if chunk.keys:
            chunk_rows = range(len(records)) if rows is None else rows
            keys = [chunk.keys.get(row, key) for row, key in zip(chunk_rows, keys, strict=True)]
        headers, longest_headers = _prediction_headers(records) if with_headers else ([NO_HEADERS] * len(records), 0)
        longest_key = max(map(len, filter(None, keys)), default=0)
        if max(map(len, values)) + longest_key + longest_headers + 128 > topic.max_bytes:
            sendable = []
            for index, (key, value, own_headers) in enumerate(zip(keys, values, headers, strict=True)):
                size = record_size(key, value, own_headers)
                if size <= topic.max_bytes:
                    sendable.append(index)
                else:
                    row = index if rows is None else rows[index]
                    message = f"the prediction would take {size} bytes; the limit of {topic.name} is {topic.max_bytes}"
                    failures[row] = RowFailure(FailureKind.PREDICTION_TOO_LARGE, message)
            if len(sendable) < len(values):
                keys, values, headers, records = (  # type: ignore[assignment]
                    [column[index] for index in sendable] for column in (keys, values, headers, records)
                )
        partition = self._placer.co_partition(topic, chunk.partition)
        if partition is not None:
            outgoing = emission.records_of(partition)
            outgoing.keys.extend(keys)
            outgoing.values.extend(values)
            outgoing.headers.extend(headers)
            if outgoing.offsets is not None:
                outgoing.offsets.extend(offsets_of(records).tolist())
            return
        for record, key, value, own_headers in zip(records, keys, values, headers, strict=True):
            partition = self._placer.place(topic, chunk.partition, key)
            emission.records_of(partition).append(key, value, own_headers, offset=record.offset)

    def _emit_dead_letters(
        self, chunk: Chunk, failures: dict[int, RowFailure], emission: Emission, ledger: ModelLedger
    ) -> None:
        topic = self._topics.dead_letters
        # Rejected records and failed rows, sorted by position below.
        named_kinds = KINDS_OF_COLUMNS if self._names_rejections else frozenset()
        letters = [(r.record, r.kind, r.message, None, None, r.kind in named_kinds, r.count) for r in chunk.rejections]
        letters += [
            (chunk.records[row], failure.kind, failure.message, failure.stack, chunk.ids[row], True, 1)  # type: ignore[misc]
            for row, failure in failures.items()
        ]
        letters.sort(key=lambda letter: position_of(letter[0]))
        for record, kind, message, stack, event_id, names_model, count in letters:
            key, value, headers = dead_letter(
                record,
                chunk.partition,
                kind,
                message,
                max_bytes=topic.max_bytes,
                model=self.ref.name if names_model else None,
                version=self.ref.version if names_model else None,
            )
            partition = self._placer.place(topic, chunk.partition, record.key)
            emission.records_of(partition).append(key, value, headers, offset=record.offset)
            ledger.add_failure(
                chunk.partition, kind, record.timestamp, event_id=event_id, message=message, stack=stack, count=count
            )
