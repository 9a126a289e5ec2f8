"""When topic ids are compared and what follows, with a scripted client and a manual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import NodeNotReadyError

from forebay.stream.core.errors import TopicRecreated
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topic_identity import recreated_error
from forebay.stream.kafka.consumer.cluster_watch import INTERVAL_S, ClusterWatch
from forebay.stream.kafka.protocol.offset_requests import NO_TOPIC_ID
from tests.core.build import ManualClock
from tests.eventually import eventually

OLD, NEW = UUID(int=1), UUID(int=2)
P0 = TopicPartition("features", 0)


class ScriptedClient:
    """A client of two brokers, which answers with `topic_id` or raises the broker's error. asked: the brokers asked."""

    def __init__(self) -> None:
        self.topic_id: UUID | None = OLD
        self.errors: dict[int, Exception] = {}
        self.asked: list[int] = []
        self.blocked: asyncio.Future[None] | None = None
        self.listeners: list[Callable[[object], None]] = []
        self._md_update_fut: object = None
        self.cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=1), SimpleNamespace(nodeId=2)], add_listener=self.listeners.append
        )

    async def send(self, node_id: int, _request: object) -> Any:
        self.asked.append(node_id)
        if self.blocked is not None:
            await self.blocked
        if node_id in self.errors:
            raise self.errors[node_id]
        missing = self.topic_id is None
        topic = {"error_code": 3 if missing else 0, "topic": "features", "topic_id": self.topic_id or NO_TOPIC_ID}
        return SimpleNamespace(to_object=lambda: {"topics": [topic], "brokers": []})


def watch() -> tuple[ClusterWatch, ScriptedClient, ManualClock]:
    """Return a watch that tracks `features`."""
    client, clock = ScriptedClient(), ManualClock()
    watched = ClusterWatch(client, ["features"], clock=clock)  # type: ignore[arg-type]
    watched.track([P0])
    return watched, client, clock


async def test_a_topic_that_returns_after_it_left_the_assignment_is_a_new_topic() -> None:
    watched, client, clock = watch()
    await watched.refuse_recreated({P0: 10}, [P0])
    watched.track([])  # an assignment without it
    client.topic_id = NEW
    clock.advance(INTERVAL_S)
    assert await watched.check() == frozenset()
    await watched.refuse_recreated({P0: 0})
    watched.track([P0])
    clock.advance(INTERVAL_S)
    assert await watched.check() == frozenset()
    client.topic_id = OLD
    clock.advance(INTERVAL_S)
    assert await watched.check() == {"features"}, "tracked again, and recreated again"


@pytest.mark.parametrize(("is_tracked", "committed"), [(True, []), (False, [P0])])
async def test_positions_of_the_old_topic_are_refused(is_tracked: bool, committed: list[TopicPartition]) -> None:
    watched, client, _clock = watch()
    await watched.refuse_recreated({P0: 10})
    watched.track([P0] if is_tracked else [])
    client.topic_id = NEW
    with pytest.raises(TopicRecreated, match="records before offset 10 of features-0"):
        await watched.refuse_recreated({P0: 10}, committed)


async def test_it_sends_one_request_a_second_and_detects_another_id() -> None:
    watched, client, clock = watch()
    for _ in range(3):
        assert await watched.check() == frozenset()
    assert client.asked == [1]
    client.topic_id = NEW
    assert await watched.check() == frozenset()
    clock.advance(INTERVAL_S)
    assert await watched.check() == {"features"}
    assert client.asked == [1, 1]


@pytest.mark.parametrize("cause", ["expired", "metadata refreshed", "metadata being refreshed"])
async def test_a_resume_or_a_refresh_of_the_clients_metadata_requires_a_new_comparison(cause: str) -> None:
    watched, client, _clock = watch()
    await watched.check()
    client.topic_id = NEW
    if cause == "expired":
        watched.expire()
    elif cause == "metadata refreshed":
        client.listeners[0](client.cluster)
    else:
        client._md_update_fut = object()
    assert await watched.check() == {"features"}


async def test_a_topic_that_is_missing_for_a_while_is_compared_when_it_exists_again() -> None:
    watched, client, _clock = watch()
    await watched._recreated()
    client.topic_id = None
    assert await watched._recreated() == frozenset()
    client.topic_id = OLD
    assert await watched._recreated() == frozenset()
    client.topic_id = NEW
    assert await watched._recreated() == {"features"}


async def test_the_next_broker_is_tried_and_reading_continues_if_no_broker_answers() -> None:
    watched, client, clock = watch()
    client.errors = {1: NodeNotReadyError()}
    await watched._recreated()
    assert client.asked == [1, 2]
    client.errors[2] = NodeNotReadyError()
    assert await watched.check() == frozenset()
    with pytest.raises(NodeNotReadyError):
        await watched._recreated()
    client.errors, client.topic_id = {}, NEW
    clock.advance(INTERVAL_S)
    assert await watched.check() == {"features"}


async def test_a_late_response_is_used_by_a_later_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.stream.kafka.consumer.cluster_watch.WAIT_S", 0)
    watched, client, _clock = watch()
    await watched._recreated()
    client.topic_id, client.blocked = NEW, asyncio.get_running_loop().create_future()
    assert await watched.check() == frozenset()
    client.blocked.set_result(None)
    assert await eventually(watched.check, "a topic that was created again", every_s=0) == {"features"}
    await watched.stop()


async def test_brokers_without_topic_ids_are_not_compared_and_that_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched, client, _clock = watch()
    client.topic_id = NO_TOPIC_ID
    with caplog.at_level("INFO"):
        assert await watched._recreated() == await watched._recreated() == frozenset()
    assert [record.message for record in caplog.records] == [
        "the brokers report no topic ids: an input topic that is deleted and created again is not detected"
    ]


def test_the_error_names_what_would_be_skipped() -> None:
    error = recreated_error({"b"}, {TopicPartition("a", 0): 5, TopicPartition("b", 1): 7, TopicPartition("b", 0): 0})
    assert error.kind == "topic_recreated"
    assert error.message == (
        "b was deleted and created again while this worker held positions in the old topic; continuing would skip records "
        "before offset 7 of b-1"
    )
