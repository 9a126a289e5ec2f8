"""The topics of rollouts on both brokers: one proposal wins, its rivals learn who won, and only committed records count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka.admin import RecordsToDelete

from forebay.schemas.errors import BrokerError, DataError
from forebay.stream.config.sections import KafkaSection, RolloutsSection, Settings, TopicsSection
from forebay.stream.control.rollout_store import RolloutConflict, RolloutStore
from forebay.stream.control.switch_reader import read_switches
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topics import CreateResult, create_topics
from forebay.stream.rollouts.changes import promote, start_canary
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.switch_log import Switch
from tests.brokers.clients import admin, create_topic, producer
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.rollouts.build import MODEL, configured, proposal


def settings_of(broker: Broker, names: Names) -> Settings:
    return Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap),
        topics=TopicsSection(prefix=f"{names.prefix}.", partitions=1),
        rollouts=RolloutsSection(enabled=True),
    )


@pytest.fixture
async def settings(broker: Broker, names: Names) -> Settings:
    settings = settings_of(broker, names)
    assert {result.status for result in await create_topics(settings)} == {"created"}
    return settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[RolloutStore]:
    store = RolloutStore(settings, clock=SystemClock())
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


def switch(revision: int, first_offset: int) -> Switch:
    return Switch(
        model=MODEL,
        topic="features",
        partition=0,
        revision=revision,
        first_offset=first_offset,
        switched_ms=1_700_000_000_000,
        worker="w-0",
    )


async def test_a_proposal_is_valid_for_all_readers(settings: Settings) -> None:
    async with opened(settings) as author, opened(settings) as reader:
        assert await reader.refresh() == []
        first = promote(configured(), 2, proposal())
        await author.propose(first)
        second = start_canary(first, 3, 5, steps=None, seed=1, route_by=None, proposal=proposal())
        await author.propose(second)
        assert await author.refresh() == [first, second]
        assert await reader.refresh() == [first, second]
        assert await reader.refresh() == []
    async with opened(settings) as later:
        assert later.log.current(MODEL) == second
        assert await later.refresh() == []  # `start` has read them


async def test_of_proposals_at_the_same_time_exactly_one_wins_and_the_others_learn_who(settings: Settings) -> None:
    async with opened(settings) as one, opened(settings) as two, opened(settings) as three:
        base: Revision = configured()
        for turn in range(3):
            rivals = [promote(base, turn + 2, proposal(author=author)) for author in ("ada", "bob", "eve")]
            ends = await asyncio.gather(
                *(store.propose(rival) for store, rival in zip((one, two, three), rivals, strict=True)),
                return_exceptions=True,
            )
            (winner,) = [rival for rival, end in zip(rivals, ends, strict=True) if end is None]
            for end in ends:
                if end is not None:
                    assert isinstance(end, RolloutConflict), end
                    assert end.winner == winner
                    assert f"promote by {winner.author} became revision {turn + 1}" in end.message
            await one.refresh()
            base = winner
            assert one.log.current(MODEL) == winner


async def test_a_proposal_on_an_outdated_revision_is_refused_without_a_record(settings: Settings) -> None:
    async with opened(settings) as author, opened(settings) as late:
        first = promote(configured(), 2, proposal(author="ada"))
        await author.propose(first)
        with pytest.raises(RolloutConflict) as refused:
            await late.propose(promote(configured(), 3, proposal()))
        assert refused.value.winner == first
        assert len(late.log.history(MODEL)) == 1
        with pytest.raises(BrokerError, match="revision 5 does not exist"):
            await late.propose(Revision(**(fields(first) | {"number": 6, "based_on": 5})))


async def test_a_proposal_that_no_reader_could_read_is_refused_without_a_record(settings: Settings) -> None:
    async with opened(settings) as author:
        sound = start_canary(configured(), 3, 5, steps=None, seed=1, route_by=None, proposal=proposal())
        with pytest.raises(DataError, match="version 3 is stable too"):
            await author.propose(replace(sound, stable=3))
        await author.propose(sound)  # has the first offset
        assert [(entry.offset, entry.revision) for entry in author.log.history(MODEL)] == [(0, sound)]


async def test_a_topic_that_was_created_again_is_noticed_however_long_it_is(kafka: Broker, names: Names) -> None:
    # A real Kafka, because only its topics have ids.
    settings = settings_of(kafka, names)
    await create_topics(settings)
    topic = f"{settings.topics.prefix}rollouts"
    async with opened(settings) as reader:
        first = promote(configured(), 2, proposal())
        await reader.propose(first)
        async with admin(kafka.bootstrap) as client:
            await client.delete_topics([topic])
        created = await eventually(lambda: create_topics(settings), "the topic again", until=_is_created(topic))
        assert created
        async with opened(settings) as other:
            second = promote(configured(), 5, proposal())
            await other.propose(second)
            await other.propose(promote(second, 6, proposal()))
        with pytest.raises(BrokerError, match="was deleted and created again") as noticed:
            await reader.refresh()
        assert noticed.value.kind == "rollouts_recreated"
        assert [entry.revision for entry in reader.log.history(MODEL)] == [first]


def _is_created(topic: str) -> Callable[[tuple[CreateResult, ...]], bool]:
    return lambda results: any(result.topic.name == topic and result.status == "created" for result in results)


def fields(revision: Revision) -> dict[str, object]:
    return {name: getattr(revision, name) for name in Revision.__dataclass_fields__}


async def test_records_of_transactions_count_once_they_are_committed(broker: Broker, settings: Settings) -> None:
    topic = f"{settings.topics.prefix}rollouts"
    aborted, committed = promote(configured(), 2, proposal()), promote(configured(), 3, proposal())
    async with opened(settings) as reader:
        for revision, commits in ((aborted, False), (committed, True)):
            # Each has a producer of its own (see test_known_differences).
            async with producer(broker.bootstrap, transactional_id=f"{topic}-{revision.stable}") as client:
                await client.begin_transaction()
                key, value = revision.encode()
                await client.send_and_wait(topic, value, key=key)
                assert await reader.refresh() == []
                await (client.commit_transaction() if commits else client.abort_transaction())
        # Brokers write the markers of a transaction after they have confirmed its end.
        found = await eventually(reader.refresh, "the committed revision", until=bool)
        assert found == [committed]
        # The transaction markers at the end of the log do not matter.
        following = promote(committed, 4, proposal())
        await reader.propose(following)
        assert await reader.refresh() == [following]
        assert [entry.revision for entry in reader.log.history(MODEL)] == [committed, following]


async def test_a_record_in_a_later_format_stops_readers_again_and_again(broker: Broker, settings: Settings) -> None:
    async with opened(settings) as reader, producer(broker.bootstrap) as client:
        await client.send_and_wait(f"{settings.topics.prefix}rollouts", b"hello", key=b"fraud")
        await client.send_and_wait(f"{settings.topics.prefix}rollouts", b'{"format":7}', key=b"fraud")
        for _ in range(2):
            with pytest.raises(DataError, match="record at offset 1"):
                await reader.refresh()
        assert [record.offset for record in reader.log.invalid] == [0]


async def test_a_topic_whose_oldest_records_were_deleted_is_refused(broker: Broker, settings: Settings) -> None:
    async with opened(settings) as author:
        await author.propose(promote(configured(), 2, proposal()))
    place = TopicPartition(f"{settings.topics.prefix}rollouts", 0)
    async with admin(broker.bootstrap) as client:
        await client.delete_records({place: RecordsToDelete(before_offset=1)})
    with pytest.raises(BrokerError, match=r"the first 1 records of .* were deleted") as refused:
        async with opened(settings):
            pass
    assert refused.value.remedy and "retention.ms must be -1" in refused.value.remedy


async def test_a_missing_topic_is_named(broker: Broker, names: Names) -> None:
    await create_topic(broker.bootstrap, names("other"))
    with pytest.raises(BrokerError, match="there is no topic") as refused:
        async with opened(settings_of(broker, names)):
            pass
    assert "forebay topics create" in (refused.value.remedy or "")


async def test_switches_count_once_their_transaction_is_committed(broker: Broker, settings: Settings) -> None:
    topic = f"{settings.topics.prefix}rollout-switches"
    async with producer(broker.bootstrap, transactional_id=f"{topic}-tx") as client:
        for each, commits in ((switch(1, 10), True), (switch(2, 20), False), (switch(2, 25), True)):
            await client.begin_transaction()
            key, value = each.encode()
            await client.send_and_wait(topic, value, key=key)
            await (client.commit_transaction() if commits else client.abort_transaction())
    place = TopicPartition("features", 0)
    log = await eventually(
        lambda: read_switches(settings, clock=SystemClock()),
        "both committed switches",
        until=lambda log: len(log.switches(MODEL, place)) == 2,
    )
    assert list(log.switches(MODEL, place)) == [switch(1, 10), switch(2, 25)]
    assert [log.revision_at(MODEL, place, offset) for offset in (9, 10, 24, 25)] == [0, 1, 1, 2]
