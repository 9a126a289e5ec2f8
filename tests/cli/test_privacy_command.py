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
from tests.brokers.clients import create_topic, producer, send_batch
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
