"""What letters prove of earlier replays, whatever their headers state: forged ones hide nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, Position
from forebay.stream.dlq.replay_history import PriorReplays, ReplayHistory, event_headers, fingerprint
from tests.dlq.build import DEAD_0, DEAD_1, make_dead_letter

EVENT = b'{"id":"e1","timestamp":1,"features":[1,2]}'
RAW = ("content-type", b"application/x-forebay-f32")


def stated(position: str, count: int = 1) -> list[tuple[str, bytes]]:
    return [("forebay.replay.count", b"%d" % count), ("forebay.replay.from", position.encode())]


def history(dead_letters: Sequence[DeadLetter]) -> ReplayHistory:
    made = ReplayHistory()
    for each in dead_letters:
        made.add(each)
    return made


def resolve(*dead_letters: DeadLetter) -> PriorReplays:
    return history(dead_letters).resolve()


def test_a_letter_of_the_same_event_stands_for_the_one_that_it_names() -> None:
    first, second = make_dead_letter(1), make_dead_letter(4, at=DEAD_1, headers=stated("dead-letters-0@1"))
    for dead_letters in ((first, second), (second, first)):
        found = resolve(*dead_letters)
        assert found.superseded == {first.position} and found.num_unproven == 0
        assert (found.count(first.position), found.count(second.position)) == (0, 1)


@pytest.mark.parametrize(
    "forged",
    [
        make_dead_letter(4, value=b"another value", headers=stated("dead-letters-0@1")),
        make_dead_letter(4, value=None, headers=stated("dead-letters-0@1")),
        make_dead_letter(4, key=b"another key", headers=stated("dead-letters-0@1")),
        make_dead_letter(4, key=None, headers=stated("dead-letters-0@1")),
        make_dead_letter(4, source=TopicPartition("other", 1), headers=stated("dead-letters-0@1")),
        make_dead_letter(4, headers=[("tenant", b"y"), *stated("dead-letters-0@1")]),
        make_dead_letter(4, headers=stated("dead-letters-0@99")),
        make_dead_letter(4, headers=stated("other-letters-0@1")),
        make_dead_letter(4, headers=stated("nonsense", 99)),
        make_dead_letter(4, headers=[("forebay.replay.count", b"99")]),
        make_dead_letter(4, headers=[("forebay.replay.from", b"")]),
    ],
)
def test_a_forged_claim_hides_nothing_counts_nothing_and_is_reported(forged: DeadLetter) -> None:
    found = resolve(make_dead_letter(1), forged)
    assert (found.superseded, dict(found.counts), found.num_unproven) == (frozenset(), {}, 1)


def test_a_count_is_that_of_the_letters_and_not_of_the_header() -> None:
    chain = [make_dead_letter(1)] + [
        make_dead_letter(n + 1, headers=stated(f"dead-letters-0@{n}", 90)) for n in range(1, 4)
    ]
    found = resolve(*chain)
    assert [found.count(each.position) for each in chain] == [0, 1, 2, 3]
    assert found.superseded == {each.position for each in chain[:-1]} and found.num_unproven == 0


def test_letters_that_name_each_other_or_themselves_prove_nothing() -> None:
    itself = make_dead_letter(7, headers=stated("dead-letters-0@7"))
    circle = [make_dead_letter(n, headers=stated(f"dead-letters-0@{9 + (n - 8) % 3}")) for n in (9, 10, 11)]
    hanging = make_dead_letter(20, headers=stated("dead-letters-0@9"))
    found = resolve(itself, *circle, hanging)
    assert found.num_unproven == 4
    assert found.superseded == {circle[0].position} and dict(found.counts) == {hanging.position: 1}


def test_a_letter_that_cannot_be_published_does_not_stand_for_one_that_can() -> None:
    large = b"x" * 2000
    first, second = (
        make_dead_letter(1, value=large),
        make_dead_letter(2, value=large, headers=stated("dead-letters-0@1"), max_bytes=1500),
    )
    assert second.truncated is not None and fingerprint(first) == fingerprint(second)
    found = resolve(first, second)
    assert not found.superseded and found.count(first.position) == 1, "it was replayed all the same"


def test_a_raw_event_is_known_again_by_the_time_that_the_replay_gave_it() -> None:
    first = make_dead_letter(1, value=b"\0" * 8, headers=[RAW])
    again = make_dead_letter(
        2, value=b"\0" * 8, headers=[*event_headers(first), *stated("dead-letters-0@1")], source_timestamp=5
    )  # type: ignore[list-item]
    later = make_dead_letter(3, value=b"\0" * 8, headers=[RAW], source_timestamp=6)
    assert fingerprint(first) == fingerprint(again) != fingerprint(later)


def test_what_was_not_read_and_has_to_be_is_named() -> None:
    made = history(
        [
            make_dead_letter(50, headers=stated("dead-letters-0@40")),
            make_dead_letter(51, headers=stated("dead-letters-0@30")),
        ]
    )
    assert made.unread({DEAD_0: 50}) == {DEAD_0: 30}
    assert made.unread({DEAD_0: 30}) == {} and made.unread({DEAD_1: 50}) == {}
    for offset in (30, 40):  # a second reading, further back
        made.add(make_dead_letter(offset))
    assert made.resolve().superseded == {Position("dead-letters", 0, 30), Position("dead-letters", 0, 40)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([DEAD_0, DEAD_1]),
            st.sampled_from([b"a", b"b"]),
            st.none() | st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 5)),
        ),
        max_size=12,
    )
)
def test_no_event_vanishes_whatever_headers_state(
    rows: list[tuple[TopicPartition, bytes, tuple[int, int, int] | None]],
) -> None:
    dead_letters = [
        make_dead_letter(
            offset,
            at=at,
            value=value,
            headers=[] if claim is None else stated(f"dead-letters-{claim[0]}@{claim[1]}", claim[2]),
        )
        for offset, (at, value, claim) in enumerate(rows)
    ]
    found = resolve(*dead_letters)
    left = [each for each in dead_letters if each.position not in found.superseded]
    assert {each.value for each in left} == {each.value for each in dead_letters}
    for each in dead_letters:
        assert found.count(each.position) < sum(other.value == each.value for other in dead_letters)
