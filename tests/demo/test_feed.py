"""The flights without a demo: `feed`, `forebay demo flights` and `forebay demo model`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import orjson
import pytest

from forebay.stream.cli import main
from forebay.stream.demo.feed import feed
from forebay.stream.demo.flights import Flight, FlightData
from forebay.stream.demo.train import MODEL_NAME
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.core.build import ManualClock


class TwoAMonth(FlightData):
    """Return the first two flights of each requested month, the later one first."""

    def read(self, months: Sequence[int]) -> list[Flight]:  # type: ignore[override]
        return list(islice(super().read(months), 2))[::-1]


class Sink:
    """Keeps the sent events, and raises an error after `most`."""

    num_delivered = 0

    def __init__(self, most: int | None = None) -> None:
        self.sent: list[tuple[bytes | None, dict[str, object]]] = []
        self._most = most

    async def send(self, keys: Sequence[bytes | None], values: Sequence[bytes], **_: object) -> None:
        self.sent += [(key, orjson.loads(value)) for key, value in zip(keys, values, strict=True)]
        if self._most is not None and len(self.sent) >= self._most:
            raise StopAsyncIteration


def few() -> FlightData:
    return TwoAMonth(FlightData.find().folder)


async def test_flights_are_sent_in_the_order_of_their_schedule() -> None:
    sink = Sink()
    sent = await feed(few(), sink, rate=None, limit=None, repeat=False, clock=ManualClock())
    ids = [str(event["id"]) for _, event in sink.sent]
    assert sent == len(ids) == 12
    assert [each[:7] for each in ids[::2]] == [f"2013-{month:02}" for month in range(7, 13)]
    times = [event["timestamp"] for _, event in sink.sent]
    assert times == sorted(times)  # type: ignore[type-var]
    assert all(key is not None and key.decode() in str(event["id"]) for key, event in sink.sent)


async def test_the_feed_stops_at_the_limit() -> None:
    sink = Sink()
    assert await feed(few(), sink, rate=None, limit=5, repeat=True, clock=ManualClock()) == 5
    assert len(sink.sent) == 5


async def test_a_repeated_round_has_its_own_ids() -> None:
    sink = Sink(most=24)
    with pytest.raises(StopAsyncIteration):
        await feed(few(), sink, rate=None, limit=None, repeat=True, clock=ManualClock())
    first, second = sink.sent[:12], sink.sent[12:]
    assert [event["id"] for _, event in second] == [f"{event['id']}-2" for _, event in first]
    for (key, before), (again, after) in zip(first, second, strict=True):
        assert key == again and before | {"id": 0} == after | {"id": 0}


@pytest.mark.parametrize("value", ["-1", "often"])
def test_the_feed_without_a_rate_does_not_wait(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "flights", "--rate", value]) == 2
    assert "--rate" in capsys.readouterr().err


async def test_the_command_publishes_to_the_configured_topic(
    embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--set", f"kafka.bootstrap_servers={embedded_broker.bootstrap}", "--set", f"topics.prefix={names('')}"]
    command = ["demo", "flights", *where, "--limit", "50", "--rate", "0"]
    assert await asyncio.to_thread(main, ["topics", "create", *where]) == 0
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "forebay"),
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0 and "published 50 events" in said.decode(), said.decode()
    records = await read_committed(embedded_broker.bootstrap, names("features"), 4)
    assert len({json.loads(record.value)["id"] for record in records}) == 50


def test_an_existing_model_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / MODEL_NAME / "3" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"metrics": {"roc_auc": 0.5}}')
    assert main(["demo", "model", str(tmp_path)]) == 0
    assert "from an earlier run" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / MODEL_NAME).iterdir()] == ["3"]
