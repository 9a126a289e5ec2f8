"""Answers are made once for many requests, and are never old."""

from __future__ import annotations

from collections.abc import Callable

from forebay.stream.admin.response_cache import MAX_AGE_S, MAX_ENTRIES, ResponseCache
from tests.core.build import ManualClock


def counted() -> tuple[Callable[[], bytes], list[bytes]]:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"%d" % len(made))
        return made[-1]

    return make, made


def test_many_requests_within_a_moment_cost_one_answer() -> None:
    clock = ManualClock()
    answers, (make, made) = ResponseCache(clock), counted()
    assert [answers.get("status", make) for _ in range(1000)] == [b"0"] * 1000
    assert answers.get("history", make) == b"1"
    clock.advance(MAX_AGE_S)
    assert answers.get("status", make) == b"2"
    assert len(made) == 3


def test_what_has_changed_is_answered_at_once() -> None:
    answers, (make, _) = ResponseCache(ManualClock()), counted()
    answers.get("status", make)
    answers.clear()
    assert answers.get("status", make) == b"1"


def test_few_answers_are_kept_whatever_is_asked() -> None:
    answers, (make, _) = ResponseCache(ManualClock()), counted()
    for number in range(10 * MAX_ENTRIES):
        answers.get(number, make)
    assert len(answers._answers) == MAX_ENTRIES
