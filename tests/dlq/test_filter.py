"""The selection of dead letters, and the errors for conditions that cannot be parsed."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.filter import (
    DeadLetterFilter,
    NewestDeadLetters,
    check_kinds,
    parse_moment,
    parse_position,
    parse_record_place,
    parse_time_range,
)
from tests.core.build import JULY
from tests.dlq.build import make_dead_letter

MODEL_ERROR = make_dead_letter(kind=FailureKind.MODEL_ERROR, model="late")


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(kinds=frozenset({"not_json", "model_error"})), True),
        (DeadLetterFilter(kinds=frozenset({"not_json"})), False),
        (DeadLetterFilter(stages=frozenset({"model"})), True),
        (DeadLetterFilter(stages=frozenset({"decode"})), False),
        (DeadLetterFilter(models=frozenset({"late"})), True),
        (DeadLetterFilter(models=frozenset({"early"})), False),
        (DeadLetterFilter(topics=frozenset({"features"})), True),
        (DeadLetterFilter(topics=frozenset({"dead-letters"})), False),
        (DeadLetterFilter(since_ms=JULY), True),
        (DeadLetterFilter(since_ms=JULY + 1), False),
        (DeadLetterFilter(until_ms=JULY + 1), True),
        (DeadLetterFilter(until_ms=JULY), False),
        (DeadLetterFilter(kinds=frozenset({"model_error"}), models=frozenset({"early"})), False),
    ],
)
def test_a_dead_letter_must_meet_every_condition(condition: DeadLetterFilter, matches: bool) -> None:
    assert condition.matches(MODEL_ERROR) is matches


def test_a_dead_letter_without_a_model_matches_no_model() -> None:
    assert not DeadLetterFilter(models=frozenset({"late"})).matches(make_dead_letter())


@pytest.mark.parametrize(
    ("kind", "hint"), [("not_jsn", "'not_json'"), ("Model-Error", "'model_error'"), ("zzz", "the kinds are")]
)
def test_an_unknown_kind_is_reported_with_the_nearest(kind: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no failure kind '{kind}'") as caught:
        check_kinds(["not_json", kind])
    assert hint in str(caught.value.remedy) and "deadline_exceeded" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", JULY - 900_000),
        ("2h", JULY - 7_200_000),
        ("1.5d", JULY - 129_600_000),
        ("90s", JULY - 90_000),
        ("250ms", JULY - 250),
        ("999999999d", 0),
        (str(JULY), JULY),
        ("2013-07-01T00:00:00Z", JULY),
        ("2013-07-01T02:00:00.250+02:00", JULY + 250),
    ],
)
def test_times_are_parsed(text: str, expected: int) -> None:
    assert parse_moment("--since", text, now_ms=JULY) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "2013-07-01", "2013-07-01T00:00:00", "-5m", "5 weeks", "1e3"])
def test_invalid_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--until .* is not a time") as caught:
        parse_moment("--until", text, now_ms=JULY)
    assert "15m" in str(caught.value.remedy)


def test_an_empty_time_range_is_refused() -> None:
    assert parse_time_range("2h", "1h", now_ms=JULY) == (JULY - 7_200_000, JULY - 3_600_000)
    assert parse_time_range(None, None, now_ms=JULY) == (None, None)
    with pytest.raises(ConfigError, match="from --since 1h to --until 2h is empty"):
        parse_time_range("1h", "2h", now_ms=JULY)


def test_positions_of_dead_letters_and_events_are_parsed() -> None:
    assert parse_record_place("3:1041") == parse_record_place("3@1041") == (3, 1041)
    assert parse_position("features-3@5").offset == 5
    for wrong in ("3", "3:", "a:1", "-1:5"):
        with pytest.raises(ConfigError, match="PARTITION:OFFSET"):
            parse_record_place(wrong)
    with pytest.raises(ConfigError, match="TOPIC-PARTITION@OFFSET"):
        parse_position("features")


def test_the_newest_dead_letters_are_selected_over_all_partitions() -> None:
    newest = NewestDeadLetters(3)
    for number, time in enumerate([5, 1, 9, 7, 3]):
        newest.add(make_dead_letter(number, at=TopicPartition("dead-letters", number % 2), timestamp=time))
    assert [dead_letter.timestamp for dead_letter in newest.dead_letters()] == [5, 7, 9] and newest.num_added == 5
    everything = NewestDeadLetters(None)
    for number in range(5):
        everything.add(make_dead_letter(number))
    assert [dead_letter.position.offset for dead_letter in everything.dead_letters()] == list(range(5))
