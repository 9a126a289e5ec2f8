"""Responses are encoded once for many requests, and are never old."""

from __future__ import annotations

from collections.abc import Callable

from forebay.stream.admin.response_cache import MAX_AGE_S, MAX_ENTRIES, ResponseCache
from tests.core.build import ManualClock


def counting_encoder() -> tuple[Callable[[], bytes], list[bytes]]:
    encoded: list[bytes] = []

    def make() -> bytes:
        encoded.append(b"%d" % len(encoded))
        return encoded[-1]

    return make, encoded


def test_many_requests_in_a_short_time_cost_one_encoding() -> None:
    clock = ManualClock()
    cache, (make, encoded) = ResponseCache(clock), counting_encoder()
    assert [cache.get("status", make) for _ in range(1000)] == [b"0"] * 1000
    assert cache.get("history", make) == b"1"
    clock.advance(MAX_AGE_S)
    assert cache.get("status", make) == b"2"
    assert len(encoded) == 3


def test_a_cleared_cache_encodes_again() -> None:
    cache, (make, _) = ResponseCache(ManualClock()), counting_encoder()
    cache.get("status", make)
    cache.clear()
    assert cache.get("status", make) == b"1"


def test_the_number_of_cached_responses_is_limited() -> None:
    cache, (make, _) = ResponseCache(ManualClock()), counting_encoder()
    for number in range(10 * MAX_ENTRIES):
        cache.get(number, make)
    assert len(cache._entries) == MAX_ENTRIES
