"""The collector, which counts rows beside the stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.statistics.reference import reference_statistics
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import MicroBatch, RowFailure, TopicPartition
from forebay.stream.drift.wire import DriftRecord, decode_drift
from forebay.stream.worker.drift_collector import CollectorSettings, DriftCollector, DriftObserver, ServedVersion
from tests.core.build import JULY, MODEL, P0, P1, ManualClock, chunk, finish

SIGNATURE = Signature((Feature("x"),), (1,), "multiclass", 2, labels=("even", "odd"))
REFERENCE = reference_statistics(SIGNATURE, [np.arange(100, dtype=np.float32)[:, None]])
OTHER = ModelRef("m", 2)


class Sink:
    def __init__(self) -> None:
        self.records: list[DriftRecord] = []

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        ((place, records),) = outgoing.items()
        assert place == TopicPartition("drift", 0) and num_events == len(records.values) == 1
        self.records += [decode_drift(value) for value in records.values]


class Rig:
    def __init__(
        self, reference: ReferenceStatistics | None = REFERENCE, *, is_windowed: bool = False, max_bytes: int = 1 << 20
    ) -> None:
        self.clock = ManualClock()
        self.sink = Sink()
        self.served = {ref: ServedVersion(SIGNATURE, reference, is_windowed) for ref in (MODEL, OTHER)}
        self.collector = DriftCollector(
            CollectorSettings(OutputTopic("drift", 1, max_bytes), 60_000, 2_000, ignored=(), worker="w"),
            version_of=self.served.get,
            sink=self.sink,
            clock=self.clock,
            random=lambda: 0.5,
        )
        self.observer = DriftObserver()
        self.observer.connect(self.collector)

    def predict(self, *offsets: int, model: ModelRef = MODEL, failures: dict[int, RowFailure] | None = None) -> None:
        half = len(offsets) // 2
        parts = [
            chunk(some, partition=partition, model=model)
            for some, partition in ((offsets[:half], P0), (offsets[half:], P1))
            if some
        ]
        self.observer.on_result(finish(MicroBatch(0, tuple(parts), "size", 0.0), failures))


def test_a_window_becomes_a_record_with_the_rows_of_all_partitions() -> None:
    rig = Rig()
    rig.predict(*range(10))
    rig.predict(*range(90, 100))
    assert rig.sink.records == []
    rig.clock.advance(60)
    rig.predict(5)
    (record,) = rig.sink.records
    counts = record.counts
    assert (record.worker, record.number, counts.rows, counts.seen) == ("w", 1, 20, 20)
    assert (counts.key.ref, counts.key.window_start, counts.key.window_end) == (MODEL, JULY, JULY + 60_000)
    assert [column.name for column in counts.columns] == ["x", "even", "odd", "class"]
    assert counts.columns[0].counts_C.tolist() == [10, 0, 0, 0, 0, 0, 0, 0, 0, 10]
    rig.collector.write()
    assert (rig.sink.records[1].number, rig.sink.records[1].counts.rows) == (2, 1)


def test_a_clock_that_is_set_back_ends_the_window() -> None:
    rig = Rig()
    rig.clock.advance(86_400)
    rig.predict(1)
    rig.clock.now_ms -= 86_400_000
    rig.predict(2, 3)
    rig.clock.advance(60)
    rig.predict(4)
    windows = [(record.counts.key.window_start - JULY, record.counts.rows) for record in rig.sink.records]
    assert windows == [(86_400_000, 1), (0, 2)]


def test_versions_are_counted_apart_and_forgotten_when_they_have_no_rows() -> None:
    rig = Rig()
    rig.predict(1, 2)
    rig.predict(3, 4, model=OTHER)
    rig.collector.write()
    assert {(record.counts.key.version, record.counts.rows) for record in rig.sink.records} == {(1, 2), (2, 2)}
    rig.predict(5, 6, model=OTHER)
    rig.collector.write()
    assert [record.counts.key.version for record in rig.sink.records[2:]] == [2]
    rig.predict(7, 8)
    rig.collector.write()
    assert [record.counts.key.version for record in rig.sink.records[3:]] == [1]


def test_failed_rows_have_features_and_no_scores() -> None:
    rig = Rig()
    rig.predict(1, 2, 3, 4, failures={0: RowFailure(FailureKind.OUTPUT_NOT_FINITE, "NaN")})
    rig.collector.write()
    columns = rig.sink.records[0].counts.columns
    assert [column.rows for column in columns] == [4, 3, 3, 3]


@pytest.mark.parametrize(
    ("rig", "said", "columns"),
    [
        (Rig(None), "m version 1 has no reference statistics", ["even", "odd", "class"]),
        (Rig(is_windowed=True), "it takes windows over event time", None),
    ],
)
def test_what_is_not_counted_is_said_once(
    rig: Rig, said: str, columns: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "forebay.drift")
    for _ in range(3):
        rig.predict(1, 2)
        rig.collector.write()
    assert [said in message for message in caplog.messages] == [True]
    assert [[column.name for column in record.counts.columns] for record in rig.sink.records] == [columns] * 3 * bool(
        columns
    )


def test_a_record_that_the_topic_does_not_take_is_lost_and_said(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(max_bytes=100)
    rig.predict(1, 2)
    rig.collector.write()
    assert rig.sink.records == []
    assert "they are lost" in caplog.messages[-1]


def test_an_unknown_version_is_not_counted() -> None:
    rig = Rig()
    rig.predict(1, model=ModelRef("other", 1))
    rig.collector.write()
    assert rig.sink.records == []


def test_an_error_ends_the_counting_and_not_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.predict(1, 2)
    batch = MicroBatch(0, (chunk([1, 2]),), "size", 0.0)
    rig.observer.on_result(replace(finish(batch), values_BO=np.zeros((2, 1), np.float32)))
    assert "drift is no longer counted" in caplog.messages[-1]
    rig.predict(1, 2)
    rig.collector.write()
    assert rig.sink.records[0].counts.seen == 4, "two of each micro-batch until the error"
