"""`forebay tail` and `forebay dlq` with values in other formats: documents, or bytes with the reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.schemas import headers as names_of_headers
from forebay.stream.cli import main
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.schema_registry.framing import frame
from tests.brokers.clients import producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.registry.stub import StubRegistry
from tests.registry.threaded import threaded_registry

SCHEMA = {"type": "record", "name": "Flight", "fields": [{"name": "tail", "type": "string"}]}


@pytest.fixture
def registry() -> Iterator[StubRegistry]:
    with threaded_registry() as stub:
        yield stub


@pytest.fixture
def arguments(
    embedded_broker: Broker, names: Names, registry: StubRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_SCHEMA_REGISTRY__URLS", registry.url)
    prefix = names("")
    kafka = KafkaSection(bootstrap_servers=embedded_broker.bootstrap)
    asyncio.run(create_topics(Settings(kafka=kafka, topics=TopicsSection(prefix=prefix, partitions=1))))
    return ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={prefix}"]


def test_records_and_dead_letters_are_shown_as_documents(
    embedded_broker: Broker,
    arguments: list[str],
    names: Names,
    registry: StubRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = names("features")
    added = registry.add("flights", json.dumps(SCHEMA))
    (tmp_path / "flights.csv").write_text("tail\nN7\n")
    assert main(["publish", "flights.csv", "--format", "avro", "--subject", "flights", *arguments]) == 0
    value, unknown = frame(added.id, b"\x04N8"), frame(99, b"\x04N9")

    async def send() -> None:
        error = {
            names_of_headers.ERROR_STAGE: b"decode",
            names_of_headers.ERROR_KIND: b"missing_value",
            names_of_headers.ERROR_MESSAGE: b"no age",
            names_of_headers.ERROR_TOPIC: topic.encode(),
            names_of_headers.ERROR_PARTITION: b"0",
            names_of_headers.ERROR_OFFSET: b"1",
            names_of_headers.ERROR_TIMESTAMP: b"1",
        }
        async with producer(embedded_broker.bootstrap) as client:
            await send_batch(client, TopicPartition(topic, 0), [unknown])
            letters = TopicPartition(names("dead-letters"), 0)
            await send_batch(client, letters, [value, unknown], headers=[list(error.items())] * 2)

    asyncio.run(send())
    capsys.readouterr()

    def shown(*command: str) -> str:
        assert main([*command, *arguments]) == 0
        return capsys.readouterr().out

    def parsed(*command: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in shown(*command, "--json").splitlines()]

    follow = ("--from-beginning", "--limit", "2", "--timeout", "20")
    first, second = shown("tail", "features", *follow).splitlines()
    assert '{"tail":"N7"}' in first
    assert "id 99" in second and "0x0000000063044e39" in second
    read, unread = parsed("tail", "features", *follow)
    assert (read["value"], read["format"], read["schema"]) == ({"tail": "N7"}, "avro", f"id {added.id}")
    assert unread["value"] is None and unread["value_base64"] == "AAAAAGMETjk=" and "id 99" in unread["unread"]
    read, unread = parsed("dlq", "list")
    assert read["value"] == {"tail": "N8"} and "id 99" in unread["unread"]
    assert '"tail": "N8"' in shown("dlq", "show", "0:0") and "unread" in shown("dlq", "show", "0:1")
