"""Results of a poll of the lag, with and without partitions, and when the cluster does not answer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiokafka.errors import KafkaConnectionError

from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from tests.core.build import P0, P1, ManualClock


class Source:
    """A scripted source. is_unreachable: the cluster does not answer."""

    def __init__(self) -> None:
        self.lags: dict[TopicPartition, PartitionLag] = {}
        self.is_unreachable = False
        self.asked: list[str] = []

    async def partition_lags(self) -> Mapping[TopicPartition, PartitionLag]:
        if self.lags:
            self._ask("partition_lags")
        return dict(self.lags)

    async def ask_cluster(self) -> None:
        self._ask("cluster")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.is_unreachable:
            raise KafkaConnectionError("unreachable")


async def test_each_result_is_passed_on_and_stored_with_its_time() -> None:
    source, clock, received = Source(), ManualClock(), list[Mapping[TopicPartition, PartitionLag]]()
    poller = LagPoller(source, received.append, clock=clock)
    assert (poller.partition_lags, poller.answered_s) == ({}, None)
    source.lags = {P0: PartitionLag(3, 10), P1: PartitionLag(4, 4)}
    await poller.poll()
    assert received == [source.lags] and poller.partition_lags == source.lags
    assert poller.answered_s == clock.now_s
    assert source.asked == ["partition_lags"], "the cluster is asked once per poll"
    assert [partition_lag.lag for partition_lag in poller.partition_lags.values()] == [7, 0]


async def test_without_partitions_another_request_shows_that_the_cluster_answers() -> None:
    source, clock, received = Source(), ManualClock(), list[Mapping[TopicPartition, PartitionLag]]()
    poller = LagPoller(source, received.append, clock=clock)
    await poller.poll()
    assert (source.asked, received, poller.answered_s) == (["cluster"], [{}], clock.now_s)


@pytest.mark.parametrize("assigned", [True, False])
async def test_a_failed_poll_keeps_the_last_result(assigned: bool) -> None:
    source, clock, received = Source(), ManualClock(), list[Mapping[TopicPartition, PartitionLag]]()
    poller = LagPoller(source, received.append, clock=clock)
    source.lags = {P0: PartitionLag(3, 10)}
    await poller.poll()
    answered_s = clock.now_s
    clock.advance(2)
    source.is_unreachable = True
    source.lags = {P0: PartitionLag(5, 10)} if assigned else {}
    with pytest.raises(KafkaConnectionError):
        await poller.poll()
    assert (poller.partition_lags, poller.answered_s) == ({P0: PartitionLag(3, 10)}, answered_s)
    assert received[1:] == ([] if assigned else [{}]), "the cluster is not needed to know that nothing is assigned"


def test_the_lag_is_never_negative() -> None:
    assert PartitionLag(10, 8).lag == 0
