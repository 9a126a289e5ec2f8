"""Fetch pacing slows down only consumers whose broker answers empty fetches at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from forebay.stream.kafka.patches import fetch_pacing
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from tests.brokers.clients import consumer, create_topic, producer, read, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually


class Assignment:
    active = True


class Fetcher:
    """Answers each fetch as specified: whether it returns data, and how long the broker holds it."""

    _fetch_max_wait_ms = 500

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answers: list[tuple[bool, float]] = []

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        brought_data, held_s = self.answers.pop(0)
        self.now_s += held_s
        return brought_data


class Consumer:
    def __init__(self, fetcher: Fetcher | None) -> None:
        self._fetcher = fetcher


async def slept_after(monkeypatch: pytest.MonkeyPatch, *answers: tuple[bool, float]) -> list[float]:
    """Return the wait after each of these responses, in seconds; 0 for none."""
    fetcher = Fetcher()
    fetcher.answers = list(answers)
    pace_fetches(Consumer(fetcher), 0.005, monotonic=lambda: fetcher.now_s)  # type: ignore[arg-type]
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits[-1] = wait_s

    monkeypatch.setattr(fetch_pacing.asyncio, "sleep", sleep)
    for brought_data, _ in answers:
        waits.append(0.0)
        assert await fetcher._proc_fetch_request(Assignment(), 1, None) is brought_data
    return waits


async def test_an_immediate_empty_response_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await slept_after(monkeypatch, (False, 0.0), (False, 0.249)) == [0.005, 0.005]


async def test_data_is_never_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await slept_after(monkeypatch, (True, 0.0), (False, 0.0), (True, 0.0)) == [0, 0.005, 0]


async def test_a_response_that_the_broker_held_is_not_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await slept_after(monkeypatch, (False, 0.25), (False, 0.5), (False, 3.0)) == [0, 0, 0]


async def test_after_a_long_idle_time_the_wait_is_longer_until_the_first_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [(False, 0.0)] * 52 + [(True, 0.0), (False, 0.0)]
    assert await slept_after(monkeypatch, *answers) == [0.005] * 50 + [0.03] * 2 + [0, 0.005]


async def test_a_cancelled_wait_ends_as_the_fetcher_expects() -> None:
    fetcher = Fetcher()
    fetcher.answers = [(False, 0.0)]
    pace_fetches(Consumer(fetcher), 60.0, monotonic=lambda: fetcher.now_s)  # type: ignore[arg-type]
    task = asyncio.create_task(fetcher._proc_fetch_request(Assignment(), 1, None))
    await asyncio.sleep(0)
    task.cancel()
    assert await task is False


def test_a_consumer_that_was_not_started_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="started"):
        pace_fetches(Consumer(None))  # type: ignore[arg-type]


@pytest.mark.slow
async def test_an_idle_consumer_fetches_rarely_and_still_gets_its_records(broker: Broker, names: Names) -> None:
    """The waits bound the number of fetches, however slow the machine is; unpaced, the embedded broker gets thousands."""
    partitions = await create_topic(broker.bootstrap, names("features"), 4)
    async with consumer(broker.bootstrap, names("features")) as reader, producer(broker.bootstrap) as sender:
        await _until_assigned(reader, 4)
        fetches = count_fetches(reader)
        started_s = time.monotonic()
        await reader.getmany(timeout_ms=3000, max_records=512)
        idle_s, num_fetches = time.monotonic() - started_s, len(fetches)
        await send_batch(sender, partitions[2], [b"x"])
        assert [record.value for record in await read(reader, 1)] == [b"x"]
    assert 0 < num_fetches <= 50 + idle_s / 0.03 + 2, f"{num_fetches} fetches in {idle_s:.1f} s"


def count_fetches(reader: AIOKafkaConsumer) -> list[int]:
    """Return a list to which each fetch request from now on appends the id of its node."""
    fetches: list[int] = []
    client: Any = reader._client
    send = client.send

    async def counted(node_id: int, request: Any, **options: Any) -> Any:
        if type(request).__name__.startswith("FetchRequest"):
            fetches.append(node_id)
        return await send(node_id, request, **options)

    client.send = counted
    return fetches


async def _until_assigned(reader: AIOKafkaConsumer, count: int) -> None:
    await eventually(lambda: len(reader.assignment()), f"{count} partitions", until=lambda seen: seen == count)
