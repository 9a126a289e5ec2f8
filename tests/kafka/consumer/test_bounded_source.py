"""A source with an end: what lies at and beyond it, and what a rewind does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import PartitionLag
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.consumer.bounded_source import BoundedSource
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRange, FrozenRanges, RangeRestorer, join_range
from forebay.stream.kafka.consumer.lag_guard import is_too_far_behind
from forebay.stream.kafka.consumer.read_throttle import ReadThrottle
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from tests.kafka.consumer.scripted import CLIENT_P0, P0, Scene

END = 12
METADATA = join_range(FrozenRange(7, END, "b.", (ModelRef("fraud", 1),)), "")


class BoundedScene(Scene):
    """A scene whose source ends at END. position: where the client is, which a seek changes."""

    def __init__(self) -> None:
        super().__init__()
        self.throttle = ReadThrottle()
        self.coordinator.metadata = METADATA
        self.position = 7
        consumer: Any = self.consumer
        consumer._subscription = SimpleNamespace(
            subscription=SimpleNamespace(assignment=SimpleNamespace(state_value=self._state))
        )
        consumer.seek = self._seek
        consumer.position = self._position
        ranges = FrozenRanges()
        self.source = BoundedSource(
            ranges,
            self.throttle,
            consumer,
            topics={"features": 1},
            group_id="group",
            policy=StartPolicy("none"),
            restorer=RangeRestorer(WithoutWindows(), ranges),
            on_revoked=self._on_revoked,
            on_fatal=self.fatal.append,
            clock=self.clock,
        )

    def _state(self, _partition: object) -> Any:
        return SimpleNamespace(has_valid_position=True, position=self.position)

    def _seek(self, _partition: object, offset: int) -> None:
        self.position = offset

    async def _position(self, _partition: object) -> int:
        return self.position

    async def poll_to(self, position: int, *offsets: int) -> Mapping[Any, Sequence[Any]]:
        """Poll records with these offsets, after which the client is at a position."""
        self.consumer.records = {CLIENT_P0: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {}
        self.position = position
        return await self.poll()

    @property
    def is_held(self) -> bool:
        return CLIENT_P0 in self.consumer.paused


@pytest.fixture
async def scene() -> BoundedScene:
    made = BoundedScene()
    await made.source.start()
    await made.open()
    return made


def offsets(records: Mapping[Any, Sequence[Any]]) -> list[int]:
    return [record.offset for record in records.get(P0, ())]


async def test_records_beyond_the_end_are_not_returned_and_nothing_more_is_fetched(scene: BoundedScene) -> None:
    assert offsets(await scene.poll_to(9, 7, 8)) == [7, 8] and not scene.is_held
    assert offsets(await scene.poll_to(15, 9, 11, 12, 14)) == [9, 11]
    assert scene.is_held and scene.source.positions() == {P0: END}
    scene.source.pause()
    scene.source.resume()
    assert scene.is_held, "a resumed source does not read beyond the end"


async def test_the_position_decides_about_the_end_where_the_last_offsets_have_no_records(scene: BoundedScene) -> None:
    """Transaction markers, aborted records and gaps of compaction: the client passes them without a record."""
    assert offsets(await scene.poll_to(10, 9)) == [9]
    assert not scene.source.is_at_end(P0)
    assert await scene.poll_to(12) == {} and scene.source.is_at_end(P0) and scene.is_held
    await scene.source.rewind()
    await scene.until_open()
    assert scene.position == 7
    assert await scene.poll_to(40, 30) == {}, "a gap over the end"
    assert scene.source.positions() == {P0: END} and scene.position == END


async def test_an_idle_commit_keeps_the_range(scene: BoundedScene) -> None:
    sent: list[Mapping[Any, str]] = []

    async def commit(_positions: Any, metadata: Mapping[Any, str], _epoch: Any) -> None:
        sent.append(metadata)

    scene.source._offsets.commit = commit  # type: ignore[method-assign]
    await scene.poll_to(END)
    positions = scene.source.positions()
    assert positions is not None
    await scene.source.commit_idle(positions, {P0: "windows"})
    assert sent == [{P0: f"{METADATA} | windows"}]


async def test_the_lag_is_that_to_the_end(scene: BoundedScene) -> None:
    await scene.poll_to(9)
    assert await scene.source.partition_lags() == {P0: PartitionLag(9, END)}


async def test_the_throttle_limits_polls(scene: BoundedScene) -> None:
    scene.throttle.held = True
    assert await scene.poll_to(9, 7, 8) == {}
    scene.throttle.held = False
    assert offsets(await scene.poll_to(9, 7, 8)) == [7, 8]


def test_a_rate_allows_what_has_become_due_and_a_short_burst() -> None:
    throttle = ReadThrottle(100)
    assert throttle.allowance(50, now_s=0.0) == 0 and throttle.wait_s() == pytest.approx(0.01)
    assert throttle.allowance(50, now_s=0.1) == 10
    throttle.on_read(10)
    assert throttle.allowance(50, now_s=0.1) == 0
    assert throttle.allowance(50, now_s=60.0) == 25, "a pause does not add up"
    assert throttle.allowance(5, now_s=60.0) == 5
    assert ReadThrottle().allowance(50, now_s=0.0) == 50


def test_a_lag_holds_above_the_limit_until_it_is_half_of_it() -> None:
    held = False
    answers = [held := is_too_far_behind(lag, 100, was=held) for lag in (100, 101, 60, 50, 60)]
    assert answers == [False, True, True, False, False]
