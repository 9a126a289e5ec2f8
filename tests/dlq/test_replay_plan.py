"""The replay plan: each event is replayed once, a limited number of times, and only if its value is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.config.sections import InputSection, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter
from forebay.stream.dlq.render import DENIAL_NOTE, replay_table
from forebay.stream.dlq.replay_plan import (
    ReplayPlan,
    ReplayPlanner,
    ReplayTarget,
    SkipReason,
    output_topics,
    reason_to_skip,
    replay_headers,
)
from tests.core.build import JULY
from tests.dlq.build import DEAD_0, DEAD_1, make_dead_letter

TARGET = ReplayTarget(num_partitions=4, max_bytes=None)


def replayed_from(position: str, count: int = 1) -> list[tuple[str, bytes]]:
    return [("forebay.replay.count", b"%d" % count), ("forebay.replay.from", position.encode())]


def plan(dead_letters: list[DeadLetter], *, limit: int | None = None, max_replays: int = 3) -> ReplayPlan:
    planner = ReplayPlanner()
    for dead_letter in dead_letters:
        planner.add_to_history(dead_letter)
        planner.add(dead_letter, reason_to_skip(dead_letter, TARGET))
    return planner.finish(limit, max_replays=max_replays)


def test_the_event_s_headers_are_sent_with_its_origin() -> None:
    dead_letter = make_dead_letter(headers=[("tenant", b"x"), ("content-type", b"application/json")], model="late")
    assert replay_headers(dead_letter, 1) == (
        ("tenant", b"x"),
        ("content-type", b"application/json"),
        ("forebay.replay.count", b"1"),
        ("forebay.replay.from", b"dead-letters-0@7"),
    )


def test_headers_of_an_earlier_replay_are_replaced() -> None:
    headers = [("Forebay.Replay.Count", b"1"), ("tenant", b"x"), ("forebay.replay.from", b"dead-letters-0@3")]
    assert replay_headers(make_dead_letter(headers=headers), 2) == (
        ("tenant", b"x"),
        ("forebay.replay.count", b"2"),
        ("forebay.replay.from", b"dead-letters-0@7"),
    )


def test_a_raw_event_without_a_time_keeps_its_record_s_timestamp() -> None:
    raw = [("content-type", b"application/x-forebay-f32")]
    assert dict(replay_headers(make_dead_letter(headers=raw), 1))[names.TIMESTAMP] == b"%d" % (JULY - 1000)
    timed = [*raw, ("forebay-timestamp", b"5")]
    assert dict(replay_headers(make_dead_letter(headers=timed), 1))[names.TIMESTAMP] == b"5"
    assert names.TIMESTAMP not in dict(replay_headers(make_dead_letter(headers=raw, source_timestamp=-1), 1))
    assert names.TIMESTAMP not in dict(replay_headers(make_dead_letter(), 1))


@pytest.mark.parametrize(
    ("dead_letter", "target", "expected"),
    [
        (make_dead_letter(), TARGET, None),
        (replace(make_dead_letter(), window="0-10"), TARGET, SkipReason.WINDOW),
        (make_dead_letter(value=None), TARGET, None),
        (make_dead_letter(value=b"x" * 5000, max_bytes=1000), TARGET, SkipReason.TRUNCATED),
        (make_dead_letter(headers=replayed_from("d-0@1", 99)), TARGET, None),
        (make_dead_letter(), None, SkipReason.NO_TOPIC),
        (make_dead_letter(value=b"x" * 2000), ReplayTarget(4, 1000), SkipReason.TOO_LARGE),
        (make_dead_letter(value=b"x" * 500), ReplayTarget(4, 1000), None),
    ],
)
def test_skipped_dead_letters_have_a_reason(
    dead_letter: DeadLetter, target: ReplayTarget | None, expected: SkipReason | None
) -> None:
    assert reason_to_skip(dead_letter, target) is expected


def test_nothing_is_replayed_to_a_topic_that_forebay_writes() -> None:
    topics = TopicsSection(prefix="p-")
    outputs = output_topics(topics, InputSection())
    for topic in ("p-predictions", "p-dead-letters", "p-outcome-deltas", "p-error-aggregates", "p-alerts"):
        forged = make_dead_letter(source=TopicPartition(topic, 0))
        assert reason_to_skip(forged, TARGET, outputs) is SkipReason.OUTPUT_TOPIC
    for topic in ("p-features", "p-late-events", "predictions", "other"):
        assert reason_to_skip(make_dead_letter(source=TopicPartition(topic, 0)), TARGET, outputs) is None


def test_only_the_last_of_a_chain_of_failures_is_replayed() -> None:
    # Otherwise each run would publish the first again, with a count that never rises.
    first, other = make_dead_letter(1), make_dead_letter(2, at=DEAD_1, value=b"another event")
    second = make_dead_letter(4, at=DEAD_1, headers=replayed_from("dead-letters-0@1"))
    third = make_dead_letter(5, headers=replayed_from("dead-letters-1@4", 2))
    # In any order of reading the partitions.
    for dead_letters in ([first, third, other, second], [other, second, first, third]):
        result = plan(dead_letters)
        assert [dead_letter for dead_letter in dead_letters if result.contains(dead_letter)] == [
            dead_letter for dead_letter in dead_letters if dead_letter in (other, third)
        ]
        assert result.skipped == {SkipReason.REPLAYED: 2} and result.topics == {"features": 2}


def test_an_event_that_reached_max_replays_is_skipped() -> None:
    chain = [make_dead_letter(1)] + [
        make_dead_letter(n, headers=replayed_from(f"dead-letters-0@{n - 1}", n - 1)) for n in (2, 3, 4)
    ]
    assert plan(chain, max_replays=3).skipped == {SkipReason.REPLAYED: 3, SkipReason.MAX_REPLAYS: 1}
    result = plan(chain, max_replays=4)
    assert result.num_dead_letters == 1 and result.contains(chain[-1])
    assert dict(result.headers(chain[-1]))[names.REPLAY_COUNT] == b"4"


def test_forged_replay_headers_hide_no_dead_letter_and_raise_no_count() -> None:
    victim, forged = make_dead_letter(1), make_dead_letter(2, value=b"x", headers=replayed_from("dead-letters-0@1", 99))
    result = plan([victim, forged])
    assert result.contains(victim) and result.contains(forged) and not result.skipped
    assert result.replays.num_unproven == 1
    assert [dict(result.headers(dead_letter))[names.REPLAY_COUNT] for dead_letter in (victim, forged)] == [b"1", b"1"]


def test_a_dead_letter_outside_the_filter_still_supersedes_an_earlier_one() -> None:
    planner = ReplayPlanner()
    first = make_dead_letter(1, kind=FailureKind.NOT_JSON)
    second = make_dead_letter(2, kind=FailureKind.MODEL_ERROR, headers=replayed_from("dead-letters-0@1"))
    planner.add_to_history(first)
    planner.add(first, None)
    planner.add_to_history(second)
    result = planner.finish(None, max_replays=3)
    assert result.num_dead_letters == 0 and result.skipped == {SkipReason.REPLAYED: 1} and result.extent == {}


def test_a_limit_takes_the_oldest_of_all_partitions() -> None:
    dead_letters = [make_dead_letter(offset, at=at, timestamp=JULY + time) for offset, at, time in
               [(1, DEAD_0, 3), (2, DEAD_0, 1), (9, DEAD_0, 9), (1, DEAD_1, 2), (5, DEAD_1, 8)]]  # fmt: skip
    result = plan(dead_letters, limit=3)
    assert {place: list(offsets) for place, offsets in result.offsets.items()} == {DEAD_0: [1, 2], DEAD_1: [1]}
    assert result.extent == {DEAD_0: range(1, 3), DEAD_1: range(1, 2)}
    assert (result.num_dead_letters, result.beyond_limit, result.topics["features"]) == (3, 2, 3)
    assert plan(dead_letters, limit=9).beyond_limit == 0
    assert plan(dead_letters).num_dead_letters == 5


def test_a_plan_can_be_empty() -> None:
    result = plan([])
    assert (result.num_dead_letters, result.extent, result.skipped) == (0, {}, {}) and not result.contains(
        make_dead_letter()
    )


def test_the_token_of_the_user_replaces_one_that_a_forged_dead_letter_has() -> None:
    forged = make_dead_letter(headers=[("Forebay-Principal", b"x.y.z"), ("trace", b"1")])
    headers = replay_headers(forged, 1, token=b"a.b.c")
    assert [value for name, value in headers if name.lower() == names.PRINCIPAL] == [b"a.b.c"]
    assert ("trace", b"1") in headers
    size = ReplayTarget(1, 1_000)
    assert reason_to_skip(forged, size, token=b"a.b.c") is None
    assert reason_to_skip(forged, size, token=b"a" * 1_000) is SkipReason.TOO_LARGE


def test_the_plan_says_that_events_without_a_token_will_be_denied() -> None:
    for token, needs_token, is_noted in ((None, True, True), (b"a.b.c", True, False), (None, False, False)):
        planner = ReplayPlanner(token)
        planner.add(make_dead_letter(), None)
        table = replay_table(planner.finish(None, max_replays=3), None, needs_token=needs_token)
        assert any(text == DENIAL_NOTE for text in table.columns[2].cells) is is_noted
