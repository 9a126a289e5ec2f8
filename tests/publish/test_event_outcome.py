"""The outcome of an event, for `forebay publish --wait`. tests/chart/test_pods.py tests it end to end."""

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


class FakeRecord(NamedTuple):
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


class Reader:
    """A reader whose polls, one topic each, are a second apart."""

    def __init__(self, clock: ManualClock, *polls: tuple[str, list[FakeRecord]]) -> None:
        self.clock = clock
        self.topic_polls = polls

    async def polls(self, **_: object) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        for topic, records in self.topic_polls:
            self.clock.advance(1.0)
            yield TopicPartition(topic, 0), cast("list[Record]", records)
        while True:
            self.clock.advance(1.0)
            yield TopicPartition("", -1), ()


def prediction(partition: object, offset: int, topic: str = "features") -> FakeRecord:
    return FakeRecord(orjson.dumps({"source": {"topic": topic, "partition": partition, "offset": offset}}))


def dead_letter(partition: int, offset: int, topic: str = "features") -> FakeRecord:
    place = {names.ERROR_TOPIC: topic, names.ERROR_PARTITION: partition, names.ERROR_OFFSET: offset}
    return FakeRecord(b"{", tuple((name.upper(), str(value).encode()) for name, value in place.items()))


def outcome_among(*polls: tuple[str, list[FakeRecord]], timeout_s: float = 10) -> EventOutcome:
    clock = ManualClock()
    reader: Any = Reader(clock, *polls)
    outcomes = OutcomeReader(cast(TopicReader, reader), predictions="predictions", clock=clock)
    return asyncio.run(outcomes.wait_for("features", SENT, timeout_s))


def test_the_prediction_of_the_event_is_found() -> None:
    others = [
        prediction(1, 6),
        prediction(0, 7),
        prediction(1, 7, "others"),
        prediction("x", 7),
        FakeRecord(b"no JSON"),
        FakeRecord(None),
    ]
    outcome = outcome_among(
        ("dead-letters", [dead_letter(1, 6), FakeRecord(b"")]),
        ("predictions", others),
        ("predictions", [prediction(1, 7)]),
    )
    assert outcome == EventOutcome(True, TopicPartition("predictions", 0), prediction(1, 7))


def test_the_dead_letter_of_the_event_is_found() -> None:
    outcome = outcome_among(("predictions", [prediction(0, 7)]), ("dead-letters", [dead_letter(1, 7)]))
    assert not outcome.predicted and outcome.record == dead_letter(1, 7)


def test_a_missing_outcome_is_reported_after_the_timeout() -> None:
    with pytest.raises(BrokerError, match="neither a prediction nor a dead letter for e1 within 3 s") as raised:
        outcome_among(*[("predictions", [prediction(0, 1)])] * 3, ("predictions", [prediction(1, 7)]), timeout_s=3)
    assert raised.value.kind == "no_answer"


def test_wait_can_only_be_used_with_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "events.jsonl", "--wait", "3"]) == 2
    assert "--wait can only be used with --features" in capsys.readouterr().err


def test_wait_is_refused_with_windows(capsys: pytest.CaptureFixture[str]) -> None:
    windows = ["--set", "window.kind=tumbling", "--set", "window.size_ms=60000"]
    assert main(["publish", "--features", "[1]", "--wait", "3", *windows]) == 2
    assert "--wait works only if single events are predicted" in capsys.readouterr().err
