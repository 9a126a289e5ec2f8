"""The commands `forebay privacy`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition

from forebay.stream.cli import main
from tests.brokers.clients import create_topic, producer, read_committed, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names

DAY_MS = 86_400_000
Command = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def forebay(
    embedded_broker: Broker,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Return what runs a command on topics with personal data."""
    monkeypatch.chdir(tmp_path)

    async def prepare() -> None:
        for name in ("features", "predictions", "dead-letters", "outcome-deltas"):
            await create_topic(
                embedded_broker.bootstrap,
                names(name),
                2,
                configs={"retention.ms": str(30 * DAY_MS), "cleanup.policy": "delete"},
            )
        async with producer(embedded_broker.bootstrap) as writer:
            events = [
                orjson.dumps(
                    {"id": f"e{i}", "features": {"zip": "1010", "born": i % 3, "mail": f"user{i}@example.org"}}
                )
                for i in range(30)
            ]
            keys = [b"person %d" % i for i in range(30)]
            await send_batch(writer, TopicPartition(names("features"), 0), events, keys=keys)
            await send_batch(
                writer, TopicPartition(names("predictions"), 1), [b'{"id":"e1"}'], keys=[b"anna@example.org"]
            )

    asyncio.run(prepare())

    def run(arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        place = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
        status = main(["privacy", *arguments.split(), *place])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def test_the_report_judges_the_topics(forebay: Command, tmp_path: Path) -> None:
    status, out, err = forebay(
        "report --json --html page.html --quasi zip --quasi born --set privacy.max_retention_days=7"
    )
    assert status == 1, err
    document = json.loads(out)
    verdicts = {one["name"]: one["verdict"] for one in document["judgements"]}
    assert verdicts == {
        "sensitive_data": "failed",
        "anonymisation": "passed",
        "minimisation": "not_judged",
        "retention": "failed",
    }
    found = {(row["place"], row["field"]): row["findings"] for row in document["judgements"][0]["evidence"]}
    assert found == {("value", "features.mail"): 30, ("key", ""): 1}
    page = (tmp_path / "page.html").read_text()
    assert "example.org" not in out + page and "features.mail" in page
    status, out, _ = forebay("report --limit 4 --set privacy.accepted_findings=features,predictions:email")
    assert status == 0 and "read 5 records of 4 topics" in out, out
    assert "example.org" not in out


def test_help_has_examples_and_errors_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["privacy", "report", "--help"]) == 0
    assert "forebay privacy report --limit 50000" in capsys.readouterr().out
    assert main(["privacy", "report", "--set", 'privacy.topic_retention_days={"features": 0}']) == 2
    assert "must have a number of days above 0" in capsys.readouterr().err


def test_forget_writes_tombstones_where_it_can(forebay: Command, embedded_broker: Broker, names: Names) -> None:
    async def prepare() -> None:
        await create_topic(embedded_broker.bootstrap, names("profiles"), 2, configs={"cleanup.policy": "compact"})
        async with producer(embedded_broker.bootstrap) as writer:
            place = TopicPartition(names("profiles"), 1)
            await send_batch(writer, place, [b"1", b"2"], keys=[b"anna@example.org", b"other"])

    asyncio.run(prepare())
    key = f"forget anna@example.org --topic {names('profiles')}"
    status, _, err = forebay(key)
    assert status == 2 and "add --yes" in err
    status, out, err = forebay(f"{key} --dry-run")
    assert status == 0, err
    assert "retention only" in out and "the topic is not compacted" in out
    status, out, _ = forebay(f"{key} --yes --json")
    document = json.loads(out)
    assert (status, document["records"], document["tombstones_written"]) == (0, 2, 1)
    states = {one["topic"]: one["erasure"] for one in document["topics"]}
    assert states == {names("predictions"): "retention", names("profiles"): "tombstone"}
    (last,) = [one for one in asyncio.run(records(embedded_broker, names("profiles"))) if one[1] is None]
    assert last == (b"anna@example.org", None, 1)
    status, out, _ = forebay(f"{key} --yes --json")
    assert json.loads(out)["tombstones_written"] == 0
    assert "no topic holds a record" in forebay("forget carl --yes")[1]
    status, _, err = forebay("forget carl --yes --topic missing")
    assert status == 1 and "there is no such topic" in err


async def records(broker: Broker, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
    return [(record.key, record.value, record.partition) for record in await read_committed(broker.bootstrap, topic, 2)]
