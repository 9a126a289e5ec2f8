"""No topic can hold everything that may be in flight."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from forebay.stream.core.priority import Priority
from forebay.stream.pipeline.in_flight import Bounds
from forebay.stream.pipeline.topic_shares import SHARES, TopicShares


def shares(max_events: int = 300, max_bytes: int = 10**9) -> TopicShares:
    return TopicShares(Bounds(max_events, max_bytes, 10))


def test_a_topic_alone_may_hold_two_thirds() -> None:
    of = shares()
    of.add("a", events=199, num_bytes=1)
    assert of.full() == set()
    of.add("a", events=1, num_bytes=1)
    assert of.full() == {"a"}
    of.remove("a", events=1, num_bytes=1)
    assert of.full() == set()


def test_bytes_count_as_well() -> None:
    of = shares(max_bytes=90)
    of.add("a", events=1, num_bytes=60)
    of.add("b", events=1, num_bytes=1)
    assert of.full() == {"a"}


def test_a_purge_frees_all() -> None:
    of = shares()
    of.add("a", events=300, num_bytes=1)
    of.purge()
    assert of.full() == set()


@example([1, 1, 1, 1, 1, 1, 1, 1, 38, 31, 38, 40], 3)  # the third topic takes most, and first
@given(st.lists(st.integers(1, 40), min_size=1, max_size=200), st.integers(1, 6))
def test_topics_that_are_stuck_leave_room_for_another(additions: list[int], num_stuck: int) -> None:
    of, held = shares(3000), 0
    for index, events in enumerate(additions * 20):
        topic = f"stuck-{index % num_stuck}"
        if topic not in of.full():
            of.add(topic, events=events, num_bytes=1)
            held += events
    # The most is held if one topic after the other takes two thirds of what is free; one addition may exceed this.
    assert held <= 3000 * (1 - 3**-num_stuck) + 40 * num_stuck
    assert "another" not in of.full()


def test_with_priorities_a_backlog_leaves_room_for_more_urgent_topics() -> None:
    of = TopicShares(Bounds(900, 10**9, 10), lambda topic: SHARES[Priority[topic]])
    of.add("LOW", events=300, num_bytes=1)
    assert of.full() == {"LOW"}
    of.add("NORMAL", events=400, num_bytes=1)
    assert of.full() == {"LOW", "NORMAL"}
    of.add("HIGH", events=100, num_bytes=1)
    assert of.full() == {"LOW", "NORMAL"}, "class high may read"
    of.add("HIGH", events=90, num_bytes=1)
    assert of.full() == {"LOW", "NORMAL", "HIGH"}
