"""What became of an event: `forebay publish --wait`. The whole way is walked in tests/chart/test_pods.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast

import orjson
import pytest

from forebay.schemas import headers as names
from forebay.schemas.errors import BrokerError
from forebay.stream.cli import main
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.publish.event_outcome import EventOutcome, OutcomeReader
from forebay.stream.publish.publish_job import PublishedEvent
from tests.core.build import ManualClock

SENT = PublishedEvent("e1", 1, 7)


class Given(NamedTuple):
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


class Reader:
    """Polls of a topic each, a second apart."""

    def __init__(self, clock: ManualClock, *polls: tuple[str, list[Given]]) -> None:
        self.clock = clock
        self.given = polls

    async def polls(self, **_: object) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        for topic, records in self.given:
            self.clock.advance(1.0)
            yield TopicPartition(topic, 0), cast("list[Record]", records)
        while True:
            self.clock.advance(1.0)
            yield TopicPartition("", -1), ()


def prediction(partition: object, offset: int, topic: str = "features") -> Given:
    return Given(orjson.dumps({"source": {"topic": topic, "partition": partition, "offset": offset}}))


def letter(partition: int, offset: int, topic: str = "features") -> Given:
    place = {names.ERROR_TOPIC: topic, names.ERROR_PARTITION: partition, names.ERROR_OFFSET: offset}
    return Given(b"{", tuple((name.upper(), str(value).encode()) for name, value in place.items()))


def answer(*polls: tuple[str, list[Given]], timeout_s: float = 10) -> EventOutcome:
    clock = ManualClock()
    reader: Any = Reader(clock, *polls)
    outcomes = OutcomeReader(cast(TopicReader, reader), predictions="predictions", clock=clock)
    return asyncio.run(outcomes.wait_for("features", SENT, timeout_s))


def test_the_prediction_of_its_own_position() -> None:
    others = [
        prediction(1, 6),
        prediction(0, 7),
        prediction(1, 7, "others"),
        prediction("x", 7),
        Given(b"no JSON"),
        Given(None),
    ]
    found = answer(
        ("dead-letters", [letter(1, 6), Given(b"")]), ("predictions", others), ("predictions", [prediction(1, 7)])
    )
    assert found == EventOutcome(True, TopicPartition("predictions", 0), prediction(1, 7))


def test_the_dead_letter_of_its_own_position() -> None:
    found = answer(("predictions", [prediction(0, 7)]), ("dead-letters", [letter(1, 7)]))
    assert not found.predicted and found.record == letter(1, 7)


def test_none_in_time() -> None:
    with pytest.raises(BrokerError, match="neither a prediction nor a dead letter for e1 within 3 s") as raised:
        answer(*[("predictions", [prediction(0, 1)])] * 3, ("predictions", [prediction(1, 7)]), timeout_s=3)
    assert raised.value.kind == "no_answer"


def test_only_for_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "events.jsonl", "--wait", "3"]) == 2
    assert "--wait can only be used with --features" in capsys.readouterr().err


def test_not_for_windows(capsys: pytest.CaptureFixture[str]) -> None:
    windows = ["--set", "window.kind=tumbling", "--set", "window.size_ms=60000"]
    assert main(["publish", "--features", "[1]", "--wait", "3", *windows]) == 2
    assert "--wait works only if single events are predicted" in capsys.readouterr().err
