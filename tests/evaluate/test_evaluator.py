"""The evaluator's loop over a scripted source: commits, failures, rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, ProducerFenced, TopicAuthorizationFailedError

from forebay.schemas.errors import BrokerError, ModelError
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.evaluate.admin import EvaluatorAdmin
from forebay.stream.evaluate.class_names import ClassNames, ReadNames
from forebay.stream.evaluate.committer import Committer
from forebay.stream.evaluate.evaluator import NAMES_RETRY_S, Evaluator
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.evaluate.pending_quality import SumsKey
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.quality_records import QualityRecords
from forebay.stream.evaluate.topic_layout import Layout
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from tests.core.build import ManualClock
from tests.evaluate.records import NOW_MS, label, prediction
from tests.evaluate.test_joins import L0, LAYOUT, P0, new_joins

EPOCH = Epoch(1, "member", None, 1)


class Cluster:
    """A source, a transaction and a producer in one, which write down what is asked of them.

    fail_with: the errors of the next commits.
    behind: topics that were not read to their end.
    """

    def __init__(self) -> None:
        self.epoch: Epoch | None = EPOCH
        self.polls: list[Mapping[TopicPartition, Sequence[Any]]] = []
        self.calls: list[str] = []
        self.committed: dict[TopicPartition, int] = {}
        self.metadata: dict[TopicPartition, str] = {}
        self.written: list[bytes | None] = []
        self.fail_with: list[Exception] = []
        self.hangs = False
        self.behind: tuple[str, ...] = ()
        self._pending: list[bytes | None] = []
        self._positions: dict[TopicPartition, int] = {}

    # the source

    async def poll(self, **_: object) -> Mapping[TopicPartition, Sequence[Any]]:
        polled = self.polls.pop(0) if self.polls else {}
        self._positions.update({partition: records[-1].offset + 1 for partition, records in polled.items()})
        await asyncio.sleep(0)
        return polled if self.epoch else {}

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._positions

    def is_at_end(self, partition: TopicPartition) -> bool:
        return partition.topic not in self.behind

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    async def rewind(self) -> None:
        self.calls.append("rewind")
        self.epoch = None

    async def rejoin(self) -> None:
        self.calls.append("rejoin")
        self.epoch = None

    async def detach(self) -> None:
        self.calls.append("detach")
        self.epoch = None

    # the transaction

    async def begin(self, _partitions: Collection[TopicPartition]) -> None:
        if self.hangs:
            await asyncio.Event().wait()

    async def add_group(self) -> None: ...

    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        assert epoch == EPOCH
        if self.fail_with:
            raise self.fail_with.pop(0)
        self._pending_positions = dict(positions)
        self.metadata |= metadata

    async def commit(self) -> None:
        self.committed |= self._pending_positions
        self.written += self._pending
        self._pending = []
        self.calls.append("commit")

    async def abort(self) -> None:
        self.calls.append("abort")

    # the producer

    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        self._pending = [value for records in outgoing.values() for value in records.values]

    async def missing_topics(self, _partitions: Collection[TopicPartition]) -> set[str]:
        return set()

    async def restart(self) -> None:
        self.calls.append("restart")

    def explain(self, _error: BaseException) -> BrokerError | None:
        return None


def evaluator_on(
    cluster: Cluster,
    *,
    revoke_timeout_s: float = 5.0,
    commit_timeout_s: float = 5.0,
    layout: Layout = LAYOUT,
    clock: Clock | None = None,
    read: ReadNames = lambda _ref: (),
    documents: PredictionDocuments | None = None,
) -> Evaluator:
    clock = clock or SystemClock()
    names = ClassNames(read, clock=clock)
    joins = new_joins(layout=layout, resolve=names.resolve, documents=documents)
    evaluator = Evaluator(
        joins,
        names,
        clock=clock,
        commit_interval_s=0.0,
        revoke_timeout_s=revoke_timeout_s,
        documents=documents,
    )
    records = QualityRecords(OutputTopic("quality", 4, 1_000_000), window_s=3_600, horizon_ms=1, group="g", worker="me")
    evaluator.connect(cluster, Committer(records, cluster, cluster, clock=clock, timeout_s=commit_timeout_s), cluster)
    joins.restore(dict.fromkeys(TopicPartition(topic, 0) for topic in layout.inputs()))
    return evaluator


async def run_until_read(evaluator: Evaluator, cluster: Cluster) -> None:
    """Run until all polls are used, then stop."""
    running = asyncio.create_task(evaluator.run())
    while cluster.polls and not running.done():
        await asyncio.sleep(0)
    evaluator.stop()
    await running


async def test_what_was_polled_is_committed_with_its_positions() -> None:
    cluster = Cluster()
    cluster.polls = [{P0: [prediction(0), prediction(1)]}, {L0: [label(0)]}]
    evaluator = evaluator_on(cluster)
    await run_until_read(evaluator, cluster)
    assert cluster.committed == {P0: 2, L0: 1}
    ref = ModelRef("late", 3)
    assert (evaluator.totals.predictions[ref], evaluator.totals.matched[ref]) == (2, 1)
    assert "2 predictions counted, 1 with a label" in str(evaluator.totals)
    num_commits = evaluator.totals.commits
    await evaluator.commit()
    assert evaluator.totals.commits == num_commits, "nothing has changed"


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (CommitRefused("gone"), ["abort", "rejoin", "restart"]),
        (KafkaConnectionError(), ["rewind", "restart"]),
        (CommitTimeout("slow"), ["rewind", "restart"]),
        (ProducerFenced(), ["rewind", "restart"]),
    ],
)
async def test_after_a_failed_commit_everything_is_read_again(error: Exception, calls: list[str]) -> None:
    cluster = Cluster()
    cluster.polls, cluster.fail_with = [{P0: [prediction(0)]}], [error]
    evaluator = evaluator_on(cluster)
    await run_until_read(evaluator, cluster)
    assert cluster.calls == calls and not cluster.written and not cluster.committed
    assert evaluator.joins.numbers == [] and evaluator.totals.failed_commits == 1
    assert not evaluator.totals.predictions, "only what was committed is counted"


async def test_a_refusal_that_repeats_ends_the_evaluator_with_a_remedy() -> None:
    cluster = Cluster()
    evaluator = evaluator_on(cluster)
    for number in range(3):
        cluster.epoch, cluster.fail_with = EPOCH, [TopicAuthorizationFailedError()]
        evaluator.joins.restore(dict.fromkeys((P0, L0)))
        evaluator.joins.add(evaluator.joins.parse({P0: [prediction(0)]}), {})
        if number < 2:
            await evaluator.commit()
    with pytest.raises(BrokerError, match="refused the quality records 3 times") as caught:
        await evaluator.commit()
    assert caught.value.remedy


async def test_before_a_rebalance_what_was_counted_is_committed_and_the_joins_are_kept() -> None:
    cluster = Cluster()
    evaluator = evaluator_on(cluster)
    evaluator.joins.add(evaluator.joins.parse({P0: [prediction(0)], L0: [label(0)]}), {})
    await evaluator.on_revoked()
    assert cluster.committed == {P0: 1, L0: 1} and cluster.calls == ["commit"]
    assert evaluator.joins.numbers == []
    committed = {
        partition: Committed(offset, cluster.metadata[partition]) for partition, offset in cluster.committed.items()
    }
    assert evaluator.restore(committed) == cluster.committed and evaluator.joins.num_waiting_predictions == 1


@pytest.mark.parametrize("error", [KafkaConnectionError(), CommitRefused("gone")])
async def test_after_a_commit_that_fails_before_a_rebalance_no_join_is_kept(error: Exception) -> None:
    cluster = Cluster()
    evaluator = evaluator_on(cluster)
    evaluator.joins.add(evaluator.joins.parse({P0: [prediction(0)]}), {})
    checkpoint = evaluator.joins.take().checkpoint
    cluster.fail_with = [error]
    await evaluator.on_revoked()
    evaluator.restore(checkpoint)
    assert evaluator.joins.num_kept == 0


async def test_a_commit_that_hangs_does_not_hold_up_a_rebalance() -> None:
    cluster = Cluster()
    cluster.hangs = True
    evaluator = evaluator_on(cluster, revoke_timeout_s=0.0)
    evaluator.joins.add(evaluator.joins.parse({P0: [prediction(0)]}), {})
    await evaluator.on_revoked()
    assert cluster.calls == ["detach"] and not cluster.committed and evaluator.joins.numbers == []
    cluster.hangs, cluster.epoch = False, EPOCH
    evaluator.joins.restore(dict.fromkeys((P0, L0)))
    evaluator.joins.add(evaluator.joins.parse({P0: [prediction(0)]}), {})
    await evaluator.commit()
    assert cluster.calls == ["detach", "restart", "commit"] and cluster.committed == {P0: 1, L0: 0}


async def test_records_are_dropped_if_the_epoch_ends_while_names_are_loaded() -> None:
    cluster = Cluster()
    cluster.polls = [{P0: [prediction(0)]}]
    evaluator = evaluator_on(cluster)

    def load(_refs: object) -> None:
        cluster.epoch = None

    evaluator._names.load = load  # type: ignore[method-assign]
    await run_until_read(evaluator, cluster)
    cluster.epoch = EPOCH
    await evaluator.commit()
    assert not evaluator.totals.predictions


async def test_a_label_whose_class_is_unknown_for_now_is_neither_refused_nor_committed() -> None:
    """Else a restart would regard it as counted, and a correction would subtract a pair that was never added."""
    cluster, clock, is_readable = Cluster(), ManualClock(), False

    def read(_ref: ModelRef) -> tuple[str, ...]:
        if not is_readable:
            raise ModelError("/models: there is no such model repository", kind="repository_not_found")
        return ("on time", "late")

    evaluator = evaluator_on(cluster, clock=clock, read=read)
    admin = EvaluatorAdmin(Settings(), evaluator, clock=clock)
    admin.progress.started = True
    polls = [{P0: [prediction(0)]}, {L0: [label(0, label="late")]}]
    cluster.polls = [*polls]
    await evaluator._step(timeout_s=0)
    await evaluator.commit()
    assert cluster.committed == {P0: 1, L0: 0}
    await evaluator._step(timeout_s=0)
    await evaluator.commit()
    await evaluator._step(timeout_s=0)  # too early to try again
    assert cluster.committed == {P0: 1, L0: 0} and cluster.calls == ["commit", "pause"]
    assert not admin.readiness().ok and "/models: there is no such model repository" in str(admin.readiness().reasons)
    clock.advance(NAMES_RETRY_S)
    await evaluator._step(timeout_s=0)
    assert evaluator.waits_for is not None
    is_readable = True
    clock.advance(NAMES_RETRY_S)
    await evaluator._step(timeout_s=0)
    assert evaluator.waits_for is None and cluster.calls == ["commit", "pause", "resume", "rewind"]
    cluster.epoch, cluster.polls = EPOCH, [*polls]
    evaluator.joins.restore(dict.fromkeys((P0, L0)))
    await run_until_read(evaluator, cluster)
    assert cluster.committed == {P0: 1, L0: 1} and evaluator.totals.matched[ModelRef("late", 3)] == 1
    assert admin.readiness().ok


async def test_evictions_are_logged_sparsely(caplog: pytest.LogCaptureFixture) -> None:
    evaluator = evaluator_on(Cluster())
    warnings = []
    for _ in range(9):
        sums = QualitySums(Task.BINARY, 2)
        sums.evicted = 1
        snapshot = Snapshot(sums={SumsKey(QualityKey("late", 3, 0), 2): (sums, None)})
        evaluator._on_committed(snapshot, 1, took_s=0.0)
        warnings.append("evaluate.max_waiting" in caplog.text)
        caplog.clear()
    assert warnings == [True, True, False, True, False, False, False, True, False]


@pytest.mark.parametrize(("behind", "waiting"), [((), 0), (("review",), 1)])
async def test_labels_do_not_wait_for_a_topic_that_was_read_to_its_end(behind: tuple[str, ...], waiting: int) -> None:
    cluster = Cluster()
    cluster.behind = behind
    evaluator = evaluator_on(cluster, layout=replace(LAYOUT, routed=("review",)))
    source = {"topic": "features", "partition": 0, "offset": 0, "timestamp": NOW_MS}
    cluster.polls = [{P0: [prediction(0, source=source)], L0: [label(0, timestamp=NOW_MS - 600_000)]}]
    await run_until_read(evaluator, cluster)
    assert evaluator.joins.num_waiting_labels == waiting
