"""Waiting for a condition: the result, the failure message, and an immediate end if the wait cannot succeed."""

from __future__ import annotations

import pytest

from tests.eventually import eventually, eventually_sync


async def test_what_was_seen_is_returned_once_it_is_accepted() -> None:
    answers = iter((1, 2, 3, 4))

    async def look() -> int:
        return next(answers)

    assert await eventually(look, "more than two", until=lambda seen: seen > 2, every_s=0) == 3
    assert await eventually(lambda: next(answers), "a true value", every_s=0) == 4
    numbers = iter((0, 5))
    assert eventually_sync(lambda: next(numbers), "a true value", every_s=0) == 5


async def test_a_failure_names_what_was_awaited_what_was_seen_last_and_the_context() -> None:
    awaited = r"not within 0 s: three records; last seen: \[1, 2\]\nthe log"
    with pytest.raises(AssertionError, match=awaited):
        await eventually(
            lambda: [1, 2], "three records", until=lambda seen: len(seen) == 3, timeout_s=0, context=lambda: "the log"
        )
    with pytest.raises(AssertionError, match=awaited):
        eventually_sync(
            lambda: [1, 2], "three records", until=lambda seen: len(seen) == 3, timeout_s=0, context=lambda: "the log"
        )


async def test_what_look_raises_ends_the_wait() -> None:
    def ended() -> bool:
        raise AssertionError("the worker ended")

    with pytest.raises(AssertionError, match="the worker ended"):
        await eventually(ended, "a worker that is ready")
    with pytest.raises(AssertionError, match="the worker ended"):
        eventually_sync(ended, "a worker that is ready")
