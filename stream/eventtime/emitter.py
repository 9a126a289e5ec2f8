"""Build what a commit sends from finished windows and the outcomes of their events."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.decisions import ABSTENTIONS, PREDICT
from forebay.stream.core.outputs import Headers, OutputTopic
from forebay.stream.core.records import BatchResult, RowFailure, TopicPartition
from forebay.stream.eventtime.types import Window, columns_of
from forebay.stream.eventtime.window_chunk import RefusedEvent, WindowChunk, WindowLabel, window_label
from forebay.stream.output.emitter import NO_HEADERS, Emission, ModelEmitter, slices_of
from forebay.stream.output.encoder import dead_letter, record_size


@dataclass(frozen=True, slots=True)
class _WindowRecord:
    """A window that failed, in the form of the record that `dead_letter` takes."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers


class WindowEmitter(ModelEmitter):
    """Builds emissions from rows that are windows."""

    of_windows = True

    def add(self, result: BatchResult, emission: Emission) -> Generator[None, None, None]:
        """Add the outputs of a micro-batch of this model to an emission, in slices. Never raises for data.

        The windows of a chunk come after its events, at the offset before the next one to read.
        """
        self._measure(result, self._ledger(emission))
        first_row = 0
        for chunk in result.batch.chunks:
            assert isinstance(chunk, WindowChunk)
            self._emit_events(chunk, emission)
            yield from self._emit_windows(result, chunk, first_row, emission)
            first_row += chunk.num_rows
            if chunk.can_end_commit:
                emission.advance(chunk.partition, chunk.next_offset)
                emission.metadata[chunk.partition] = chunk.metadata

    # ---- windows

    def _emit_windows(
        self, result: BatchResult, chunk: WindowChunk, first_row: int, emission: Emission
    ) -> Generator[None, None, None]:
        windows, ledger = chunk.windows, self._ledger(emission)
        if not windows:
            return
        failures = {
            row: result.failures[first_row + row]
            for row in range(len(windows))
            if result.failures and first_row + row in result.failures
        }
        if failures and self._concealment is not None:
            failures = self._concealment.conceal(chunk.partition.topic, failures)
        labels = [window_label(window) for window in windows]
        rows = [row for row in range(len(windows)) if row not in failures] if failures else list(range(len(windows)))
        values: list[bytes] = []
        for part in slices_of(rows, result.values_BO.shape[1]):
            values += self._encoder.encode_windows(
                result,
                partition=chunk.partition,
                first_row=first_row,
                windows=labels,
                rows=None if len(part) == len(windows) else part,
            )
            yield
        codes = [PREDICT] * len(windows)
        if result.decisions_B is not None:
            codes = result.decisions_B[first_row : first_row + len(windows)].tolist()
        count = num_abstained = 0
        for row, value in zip(rows, values, strict=True):
            key, topic = windows[row].key, self._destinations[codes[row]]
            size = record_size(key, value, NO_HEADERS)
            if size > topic.max_bytes:
                message = f"the prediction would take {size} bytes; the limit of {topic.name} is {topic.max_bytes}"
                failures[row] = RowFailure(FailureKind.PREDICTION_TOO_LARGE, message)
                continue
            target = self._placer.place(topic, chunk.partition, key)
            emission.records_of(target).append(key, value, NO_HEADERS, offset=chunk.next_offset - 1)
            count += 1
            num_abstained += codes[row] in ABSTENTIONS
        result.failures.update((first_row + row, failure) for row, failure in failures.items())
        ledger.add_window_predictions(chunk.partition, count - num_abstained, chunk.record_timestamp)
        ledger.add_window_predictions(chunk.partition, num_abstained, chunk.record_timestamp, abstained=True)
        ledger.closed[chunk.partition] += len(windows)
        for row, failure in sorted(failures.items()):
            self._emit_failed(chunk, window=windows[row], label=labels[row], failure=failure, emission=emission)

    def _emit_failed(
        self, chunk: WindowChunk, window: Window, label: WindowLabel, failure: RowFailure, emission: Emission
    ) -> None:
        value_of_window = _window_json(window, label, chunk.num_features)
        if self._concealment is not None:
            value_of_window = self._concealment.seal_value(chunk.partition.topic, window.key, value_of_window)
        record = _WindowRecord(
            offset=window.first_offset,
            timestamp=window.start,
            key=window.key,
            value=value_of_window,
            headers=[(names.CONTENT_TYPE, names.JSON_CONTENT_TYPE.encode())],
        )
        topic = self._topics.dead_letters
        key, value, headers = dead_letter(
            record,
            chunk.partition,
            failure.kind,
            failure.message,
            max_bytes=topic.max_bytes,
            model=self.ref.name,
            version=self.ref.version,
            window=f"{window.start}-{window.end}",
        )
        target = self._placer.place(topic, chunk.partition, key)
        emission.records_of(target).append(key, value, headers, offset=chunk.next_offset - 1)
        self._ledger(emission).add_window_failure(
            chunk.partition,
            failure.kind,
            chunk.record_timestamp,
            window_id=label.id,
            message=failure.message,
            stack=failure.stack,
        )

    # ---- events

    def _emit_events(self, chunk: WindowChunk, emission: Emission) -> None:
        ledger = self._ledger(emission)
        ledger.add_accepted(chunk.partition, np.array(chunk.events.accepted, dtype=np.int64))
        for refused in chunk.events.refused:
            topic = self._topics.late_events if refused.kind is FailureKind.LATE else self._topics.dead_letters
            if topic is not None:
                self._emit_refused(topic, chunk.partition, refused, emission)
            ledger.add_failure(
                chunk.partition,
                refused.kind,
                refused.record.timestamp,
                event_id=refused.id,
                message=refused.message,
                count=refused.count,
            )
        ledger.passed[chunk.partition] += chunk.num_passed

    def _emit_refused(
        self, topic: OutputTopic, partition: TopicPartition, refused: RefusedEvent, emission: Emission
    ) -> None:
        record = refused.record
        key, value, headers = dead_letter(record, partition, refused.kind, refused.message, max_bytes=topic.max_bytes)
        target = self._placer.place(topic, partition, key)
        emission.records_of(target).append(key, value, headers, offset=record.offset)


def _window_json(window: Window, label: WindowLabel, num_features: int) -> bytes:
    """Return a failed window as JSON for people: its key and times, and its events as the model received them."""
    x_NF, t_N = columns_of([window], num_features)
    value = {
        "id": label.id,
        "key": label.key,
        "start": label.start,
        "end": label.end,
        "num_events": label.num_events,
        "dropped": label.dropped,
        "events": [{"timestamp": t, "features": x} for t, x in zip(t_N.tolist(), x_NF.tolist(), strict=True)],
    }
    return orjson.dumps(value)
