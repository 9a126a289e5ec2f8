"""Snapshots as records of the topic quality."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from forebay.stream.core.outputs import OutputTopic
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.evaluate.pending_quality import SumsKey
from forebay.stream.evaluate.quality_records import QualityRecords
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts, QualityDelta, decode_quality


def new_records(max_bytes: int = 1_000_000) -> QualityRecords:
    return QualityRecords(
        OutputTopic("quality", 4, max_bytes), window_s=3_600, horizon_ms=60_000, group="g", worker="me"
    )


def sums_of(rows: int) -> QualitySums:
    sums = QualitySums(Task.BINARY, 2)
    sums.add_predictions(np.full((rows, 1), 0.5, np.float32), np.ones(rows, np.int64))
    return sums


def decoded(records: QualityRecords, snapshot: Snapshot) -> list[QualityDelta]:
    return [decode_quality(value) for outgoing in records.encode(snapshot).values() for value in outgoing.values]


def test_a_key_is_always_in_the_same_partition() -> None:
    records = new_records()
    keys = [QualityKey("late", version, window, "") for version in (1, 2) for window in (0, 3_600_000)]
    first = records.encode(Snapshot(sums={SumsKey(key, 2): (sums_of(1), None) for key in keys}))
    places = {record_key: partition for partition, outgoing in first.items() for record_key in outgoing.keys}
    for key in keys:
        ((partition, outgoing),) = records.encode(Snapshot(sums={SumsKey(key, 2): (sums_of(2), None)})).items()
        assert places[outgoing.keys[0]] == partition
        delta = decode_quality(outgoing.values[0])
        assert (delta.key == key and delta.sums == sums_of(2)) or (
            delta.sums is not None and delta.sums.predictions == 2
        )


def test_labels_and_progress_share_a_record_and_progress_is_written_when_it_changes() -> None:
    records = new_records()
    snapshot = Snapshot(
        labels={QualityKey("", 0, 3_600_000): LabelCounts(labels=2)}, label_times={0: 3_700_000, 2: 3_600_001}
    )
    (delta,) = decoded(records, snapshot)
    assert delta.labels is not None and delta.labels.labels == 2
    assert delta.progress is not None and delta.progress.until_ms == {0: 3_700_000, 2: 3_600_001}
    assert delta.progress.horizon_ms == 60_000 and delta.worker == "me"
    records.on_committed(snapshot)
    assert decoded(records, Snapshot(label_times=snapshot.label_times)) == []
    (delta,) = decoded(records, Snapshot(label_times={0: 3_700_000, 2: 7_200_000}))
    assert delta.progress is not None and delta.progress.until_ms == {0: 3_700_000, 2: 7_200_000}


def test_partitions_with_predictions_and_no_label_are_written_once_and_with_later_progress() -> None:
    records, first = new_records(), Snapshot(unlabelled={1, 3})
    (delta,) = decoded(records, first)
    assert delta.progress is not None and (delta.progress.until_ms, delta.progress.unlabelled) == ({}, [1, 3])
    records.on_committed(first)
    assert decoded(records, first) == []
    (delta,) = decoded(records, Snapshot(unlabelled={3}, label_times={1: 7_200_000}))
    assert delta.progress is not None
    assert (delta.progress.until_ms, delta.progress.unlabelled) == ({1: 7_200_000}, [3])


def test_progress_is_written_again_in_each_window() -> None:
    """Readers of the last day must not take windows for final because they know other partitions only."""
    records = new_records()

    def progress(window: int) -> list[dict[int, int]]:
        key = SumsKey(QualityKey("late", 1, window * 3_600_000), 2)
        snapshot = Snapshot(sums={key: (sums_of(1), None)}, label_times={0: 3_700_000})
        found = decoded(records, snapshot)
        records.on_committed(snapshot)
        return [delta.progress.until_ms for delta in found if delta.progress is not None]

    assert [progress(window) for window in (1, 1, 2, 1, 2, 3)] == [
        [{0: 3_700_000}],
        [],
        [{0: 3_700_000}],
        [],
        [],
        [{0: 3_700_000}],
    ]


def test_a_record_that_is_too_large_is_divided_by_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    blocks = BlockSums(Task.BINARY)
    blocks.add_predictions(np.arange(4096))
    snapshot = Snapshot(sums={SumsKey(QualityKey("late", 1, 0), 2): (sums_of(3), blocks)})
    (whole,) = decoded(new_records(), snapshot)
    assert whole.sums is not None and whole.blocks is not None
    size = max(len(value or b"") for outgoing in new_records().encode(snapshot).values() for value in outgoing.values)
    parts = decoded(new_records(size), snapshot)
    assert [(part.sums is not None, part.blocks is not None) for part in parts] == [(True, False), (False, True)]
    with caplog.at_level(logging.ERROR):
        (left,) = decoded(new_records(1_500), snapshot)
    assert left.sums is not None and "the blocks of late version 1" in caplog.text
