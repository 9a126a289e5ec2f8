"""Fetch pacing slows down only consumers whose broker answers empty fetches at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from forebay.stream.kafka.patches import fetch_pacing
from forebay.stream.kafka.patches.fetch_pacing import MAX_HELD_BYTES, MAX_HOLD_S, FetchHold, pace_fetches
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


def held_fetcher(hold: FetchHold, *answers: tuple[bool, float], num_bytes: int = 100) -> Fetcher:
    fetcher = Fetcher()
    fetcher.answers = list(answers)
    consumer = Consumer(fetcher)
    pace_fetches(consumer, monotonic=lambda: fetcher.now_s, hold=hold, sizes={1: num_bytes})  # type: ignore[arg-type]
    return fetcher


async def is_held(fetcher: Fetcher, node_id: int = 1) -> asyncio.Task[bool]:
    """Begin a fetch and return its task, after as many turns as a fetch needs that is not held."""
    task = asyncio.create_task(fetcher._proc_fetch_request(Assignment(), node_id, None))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_a_fetch_after_one_with_few_records_waits_until_it_is_released() -> None:
    hold = FetchHold(max_hold_s=60)
    fetcher = held_fetcher(hold, (True, 0.0), (True, 0.0), (True, 0.0), (False, 1.0))
    assert await fetcher._proc_fetch_request(Assignment(), 1, None), "the first one is not held"
    held = await is_held(fetcher)
    other = await is_held(fetcher, node_id=2)
    assert not held.done() and other.done(), "brokers do not wait for one another"
    hold.release()
    assert await held
    held = await is_held(fetcher)
    assert not held.done(), "until the next release"
    hold.release()
    assert not await held
    fetcher.answers = [(True, 0.0)]
    assert await fetcher._proc_fetch_request(Assignment(), 1, None), "an empty response holds nothing"


async def test_a_fetch_is_held_for_a_limited_time() -> None:
    hold = FetchHold(max_hold_s=MAX_HOLD_S)
    fetcher = held_fetcher(hold, (True, 0.0), (True, 0.0), (True, 0.0))
    assert await fetcher._proc_fetch_request(Assignment(), 1, None)
    assert await fetcher._proc_fetch_request(Assignment(), 1, None), "after the limit, although nothing releases it"
    fetcher.now_s += MAX_HOLD_S
    assert (await is_held(fetcher)).done()


async def test_a_backlog_is_fetched_without_a_wait() -> None:
    fetcher = held_fetcher(FetchHold(max_hold_s=60), (True, 0.0), (True, 0.0), num_bytes=MAX_HELD_BYTES + 1)
    assert await fetcher._proc_fetch_request(Assignment(), 1, None)
    assert await fetcher._proc_fetch_request(Assignment(), 1, None)


async def test_a_held_fetch_that_is_cancelled_ends_as_the_fetcher_expects() -> None:
    fetcher = held_fetcher(FetchHold(max_hold_s=60), (True, 0.0))
    assert await fetcher._proc_fetch_request(Assignment(), 1, None)
    held = await is_held(fetcher)
    held.cancel()
    assert await held is False


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
