"""Topic readers on both brokers, and the command `forebay tail`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from forebay.schemas.errors import BrokerError
from forebay.stream.cli import main
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.publish.publisher import Publisher
from tests.brokers.clients import producer, send_batch, send_raw
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.kafka.protocol.build import batch, record, with_lengths

# Brokers remove records that are older than the topic's retention.
NOW_MS = SystemClock().wall_ms()


@pytest.fixture
def topic(broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))
    asyncio.run(create_topics(settings))
    return names("predictions")


def options(broker: Broker) -> dict[str, object]:
    return {"bootstrap_servers": broker.bootstrap}


async def publish(broker: Broker, topic: str, *values: bytes) -> None:
    publisher = Publisher(options(broker), topic)
    await publisher.start()
    try:
        await publisher.send([None] * len(values), values, timestamp_ms=NOW_MS)
        await publisher.flush()
    finally:
        await publisher.stop()


async def read(reader: TopicReader, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    async with asyncio.timeout(30):
        async for _, records in reader.polls(idle_timeout_s=None):
            found += [record.value for record in records]
            if len(found) >= count:
                return sorted(found, key=str)
    raise AssertionError("the reader ended by itself")


def test_a_reader_begins_at_the_end_or_at_the_beginning(broker: Broker, topic: str) -> None:
    async def go() -> None:
        await publish(broker, topic, b"1", b"2", b"3")
        late = TopicReader(options(broker), [topic], from_beginning=False, clock=SystemClock())
        early = TopicReader(options(broker), [topic], from_beginning=True, clock=SystemClock())
        async with late, early:
            assert await late.at_end() and not await early.at_end()
            await publish(broker, topic, b"4", b"5")
            assert await read(late, 2) == [b"4", b"5"]
            assert await read(early, 5) == [b"1", b"2", b"3", b"4", b"5"]
            assert await early.at_end()

    asyncio.run(go())


def test_it_ends_after_the_idle_timeout(broker: Broker, topic: str) -> None:
    async def go() -> None:
        await publish(broker, topic, b"1")
        async with TopicReader(options(broker), [topic], from_beginning=True, clock=SystemClock()) as reader:
            found = [record.value async for _, records in reader.polls(idle_timeout_s=0.5) for record in records]
        assert found == [b"1"]

    asyncio.run(go())


def test_a_client_can_be_closed_after_a_poll_was_cancelled(broker: Broker, topic: str) -> None:
    async def go() -> None:
        async with TopicReader(options(broker), [topic], from_beginning=True, clock=SystemClock()) as reader:
            waiting = asyncio.ensure_future(read(reader, 1))
            await asyncio.wait([waiting], timeout=0.25)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(go())


def test_a_missing_topic_is_reported_and_not_created(broker: Broker, topic: str) -> None:
    async def go() -> None:
        for _ in range(2):
            reader = TopicReader(options(broker), [topic + "x"], from_beginning=True, clock=SystemClock())
            with pytest.raises(BrokerError, match="there is no topic") as caught:
                await reader.start()
            assert f"did you mean {topic!r}" in str(caught.value.remedy)

    asyncio.run(go())


def test_a_cluster_that_is_unreachable_is_reported() -> None:
    reader = TopicReader({"bootstrap_servers": "127.0.0.1:1"}, ["t"], from_beginning=True, clock=SystemClock())
    with pytest.raises(BrokerError, match=r"cannot reach Kafka at 127\.0\.0\.1:1"):
        asyncio.run(reader.start())


def test_tail_prints_documents_and_other_records(
    broker: Broker, topic: str, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(publish(broker, topic, b'{"id":"e1"}', b"\xff\x00"))
    arguments = ["--bootstrap-server", broker.bootstrap, "--set", f"topics.prefix={names('')}", "--from-beginning"]
    assert main(["tail", "predictions", "--limit", "2", "--timeout", "20", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("unexpected content" in line for line in lines)
    assert main(["tail", "predictions", "--json", "--timeout", "0.5", *arguments]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {document["topic"] for document in documents} == {topic}
    assert sorted(str(document["value"]) for document in documents) == ["None", "{'id': 'e1'}"]
    assert main(["tail", "predictions", "--topic", topic, "--limit", "1", *arguments]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_tail_continues_after_an_unreadable_record(
    broker: Broker, topic: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = [record(0, b"1"), record(1, b"2", headers=[(b"\xff", b"")]), record(2, b"3")]

    async def go() -> None:
        async with producer(broker.bootstrap) as client:
            await client.partitions_for(topic)
            await send_raw(client, TopicPartition(topic, 0), batch(with_lengths(bodies), 3, base=0, timestamp=NOW_MS))

    asyncio.run(go())
    arguments = ["tail", "predictions", "--topic", topic, "--bootstrap-server", broker.bootstrap, "--from-beginning"]
    assert main([*arguments, "--limit", "3", *(["--json"] if as_json else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    if as_json:
        documents = [json.loads(line) for line in lines]
        assert [document["offset"] for document in documents] == [0, 1, 2]
        assert documents[1]["unreadable"]["kind"] == "unreadable_record" and documents[2]["value"] == 3
    else:
        assert "0@1  (cannot be read) the header name b'\\xff' is not UTF-8" in lines[1] and "0@2" in lines[2]


def test_tail_reads_since_a_time(broker: Broker, topic: str, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--bootstrap-server", broker.bootstrap, "--set", f"topics.prefix={names('')}", "--json"]

    async def write(timestamp_ms: int, value: bytes) -> None:
        async with producer(broker.bootstrap) as writer:
            await send_batch(writer, TopicPartition(topic, 0), [value], timestamps=[timestamp_ms])

    now_ms = SystemClock().wall_ms()
    asyncio.run(write(now_ms - 7_200_000, b'"old"'))
    asyncio.run(write(now_ms - 60_000, b'"new"'))
    assert main(["tail", "predictions", "--since", "1h", "--limit", "1", "--timeout-s", "20", *place]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == "new"
    assert main(["tail", "predictions", "--since", "3h", "--limit", "1", "--timeout", "20", *place]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == "old"
    assert main(["tail", "predictions", "--since", "1s", "--timeout", "0.5", *place]) == 0
    assert capsys.readouterr().out == ""
    assert main(["tail", "predictions", "--since", "yesterday", *place]) == 2
    assert "--since" in capsys.readouterr().err
    assert main(["tail", "predictions", "--since", "1h", "--from-beginning", *place]) == 2
