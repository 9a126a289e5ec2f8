"""The consumer thread: it passes on each record with the position that it follows, and none from before a seek."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from forebay.stream.aggregate.transport import PREVIOUS_HEADER, AggregatorApp, ConsumerThread

SOURCE, OTHER = TP("deltas", 0), TP("changelog", 0)


def record(offset: int, tp: TP = SOURCE) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(tp.topic, tp.partition, offset, 5, 0, b"k", b"v", None, 1, 1, (("h", b"x"),))


class Scene:
    """A consumer thread with scripted fetches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: dict[TP, list[Any]] = {}
        self.during: Any = None
        self.sought: list[tuple[TP, int]] = []
        app = AggregatorApp.__new__(AggregatorApp)
        app.owner = SimpleNamespace(source_topic="deltas")  # type: ignore[assignment]
        self.thread = ConsumerThread.__new__(ConsumerThread)
        self.thread.app = app
        self.thread.delivered_to, self.thread._num_seeks = {}, 0
        consumer = SimpleNamespace(
            assignment=lambda: {SOURCE, OTHER}, seek=lambda tp, offset: self.sought.append((tp, offset))
        )
        self.consumer: Any = consumer
        self.thread._consumer = consumer

        async def fetch(*_: object, **__: object) -> dict[TP, list[Any]]:
            if self.during is not None:
                await self.during()
            return self.fetched

        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)

    async def fetch(self, *offsets: int) -> list[tuple[int, int]]:
        """Return (position before, offset) of each record that is passed on."""
        self.fetched = {SOURCE: [record(offset) for offset in offsets], OTHER: [record(9, OTHER)]}
        handed = await self.thread._fetch_records(self.consumer, {SOURCE, OTHER})
        assert [one.offset for one in handed[OTHER]] == [9]
        found = handed.get(SOURCE, [])
        return [(int(dict(one.headers)[PREVIOUS_HEADER]), one.offset) for one in found]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_nothing_is_delivered_before_the_seek_to_the_position_of_the_table(scene: Scene) -> None:
    assert await scene.fetch(7, 8) == []


async def test_each_record_carries_the_position_that_it_follows(scene: Scene) -> None:
    await scene.thread._seek_source({SOURCE: 5})
    assert scene.sought == [(SOURCE, 5)]
    # 5 and 8 are marks of transactions, which readers never see.
    assert await scene.fetch(6, 7, 9) == [(5, 6), (7, 7), (8, 9)]
    assert await scene.fetch(10) == [(10, 10)]
    assert scene.thread.delivered_to == {SOURCE: 11}


async def test_records_fetched_during_a_seek_are_read_again(scene: Scene) -> None:
    await scene.thread._seek_source({SOURCE: 5})

    async def seek() -> None:
        await scene.thread._seek_source({SOURCE: 3})

    scene.during = seek
    assert await scene.fetch(6, 7) == []
    assert scene.sought[-1] == (SOURCE, 3)
    scene.during = None
    assert await scene.fetch(3, 4) == [(3, 3), (4, 4)]


async def test_only_assigned_partitions_are_sought(scene: Scene) -> None:
    await scene.thread._seek_source({TP("deltas", 3): 5})
    assert scene.sought == [] and scene.thread.delivered_to == {}
