"""Drift in real workers on the embedded broker: two workers, two versions, and a unit error of one feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forebay.models.statistics.reference import reference_statistics
from forebay.stream.drift.detector import Detector
from forebay.stream.drift.findings import FindingKind
from forebay.stream.drift.measures import DriftThresholds
from forebay.stream.drift.wire import DriftRecord, decode_drift
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.rollouts.changes import promote
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.models.build import make_signature
from tests.worker.rollout_workers import RolloutGroup, rollout_group

DAY_S = 86_400
DRIFT = {"enabled": True, "window_s": DAY_S, "min_rows": 100}


async def records_of(group: RolloutGroup) -> list[DriftRecord]:
    records = await read_committed(group.bootstrap, f"{group.prefix}-drift", 1)
    return [decode_drift(record.value) for record in records]


async def test_rows_of_all_workers_and_versions_are_counted_and_a_unit_error_is_named(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x_NF = rng.normal(2.0, 1.0, size=(4_000, 3)).astype(np.float32)
    statistics = reference_statistics(make_signature(), [x_NF]).to_dict()
    async with rollout_group(embedded_broker.bootstrap, names.prefix, tmp_path) as group:
        created = await create_topics(group.settings_of("any", drift=DRIFT))
        assert [result.topic.name for result in created if result.status == "created"] == [f"{group.prefix}-drift"]
        group.publish_version(2, reference_statistics=statistics)
        workers = [await group.start(f"w{number}", drift=DRIFT) for number in range(2)]
        for worker in workers:
            await worker.ready()
        await group.predicted(20)
        await group.propose(lambda current, proposal: promote(current, 2, proposal), 2)
        for worker in workers:
            await worker.applied(1)
        quantiles = np.quantile(x_NF, (np.arange(60) + 0.5) / 60, axis=0)
        for first, second, third in rng.permuted(quantiles, axis=0).tolist():
            await group.send(2, features=(first, 1_000 * second, third))
        await group.settled()
        for worker in workers:
            await worker.stop()

        records = await records_of(group)
        assert {record.worker for record in records} == {"w0", "w1"}
        seen = {version: [r.counts for r in records if r.counts.key.version == version] for version in (1, 2)}
        assert [sum(counts.seen for counts in seen[version]) for version in (1, 2)] == [20, 120]
        assert [column.name for column in seen[1][0].columns] == ["no", "yes", "class"], "version 1 has no reference"

        detector = Detector(DriftThresholds(min_rows=100))
        for record in records:
            detector.add(record)
        findings = detector.advance(records[0].counts.key.window_end + DAY_S * 1_000)
        assert {(one.version, one.column, one.kind) for one in findings} == {(2, "f1", FindingKind.SKEW)}
