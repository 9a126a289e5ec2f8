"""Which letters are meant, and what is said where it cannot be told."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.filter import Filter, Newest, check_kinds, read_moment, read_place, read_position, read_span
from tests.core.build import JULY
from tests.dlq.build import letter

MODEL_ERROR = letter(kind=FailureKind.MODEL_ERROR, model="late")


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        (Filter(), True),
        (Filter(kinds=frozenset({"not_json", "model_error"})), True),
        (Filter(kinds=frozenset({"not_json"})), False),
        (Filter(stages=frozenset({"model"})), True),
        (Filter(stages=frozenset({"decode"})), False),
        (Filter(models=frozenset({"late"})), True),
        (Filter(models=frozenset({"early"})), False),
        (Filter(topics=frozenset({"features"})), True),
        (Filter(topics=frozenset({"dead-letters"})), False),
        (Filter(since_ms=JULY), True),
        (Filter(since_ms=JULY + 1), False),
        (Filter(until_ms=JULY + 1), True),
        (Filter(until_ms=JULY), False),
        (Filter(kinds=frozenset({"model_error"}), models=frozenset({"early"})), False),
    ],
)
def test_each_filter_must_let_it_through(chosen: Filter, taken: bool) -> None:
    assert chosen.takes(MODEL_ERROR) is taken


def test_what_no_model_has_seen_is_of_no_model() -> None:
    assert not Filter(models=frozenset({"late"})).takes(letter())


@pytest.mark.parametrize(
    ("kind", "hint"), [("not_jsn", "'not_json'"), ("Model-Error", "'model_error'"), ("zzz", "the kinds are")]
)
def test_an_unknown_kind_is_told_with_the_nearest(kind: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no kind '{kind}'") as caught:
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
def test_moments(text: str, expected: int) -> None:
    assert read_moment("--since", text, now_ms=JULY) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "2013-07-01", "2013-07-01T00:00:00", "-5m", "5 weeks", "1e3"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--until .* is not a time") as caught:
        read_moment("--until", text, now_ms=JULY)
    assert "15m" in str(caught.value.remedy)


def test_a_span_has_something_in_it() -> None:
    assert read_span("2h", "1h", now_ms=JULY) == (JULY - 7_200_000, JULY - 3_600_000)
    assert read_span(None, None, now_ms=JULY) == (None, None)
    with pytest.raises(ConfigError, match="nothing is between"):
        read_span("1h", "2h", now_ms=JULY)


def test_places_of_letters_and_of_events() -> None:
    assert read_place("3:1041") == read_place("3@1041") == (3, 1041)
    assert read_position("features-3@5").offset == 5
    for wrong in ("3", "3:", "a:1", "-1:5"):
        with pytest.raises(ConfigError, match="PARTITION:OFFSET"):
            read_place(wrong)
    with pytest.raises(ConfigError, match="TOPIC-PARTITION@OFFSET"):
        read_position("features")


def test_the_newest_are_by_time_over_all_partitions() -> None:
    newest = Newest(3)
    for number, time in enumerate([5, 1, 9, 7, 3]):
        newest.add(letter(number, at=TopicPartition("dead-letters", number % 2), timestamp=time))
    assert [found.timestamp for found in newest.letters()] == [5, 7, 9] and newest.num_added == 5
    everything = Newest(None)
    for number in range(5):
        everything.add(letter(number))
    assert [found.position.offset for found in everything.letters()] == list(range(5))
