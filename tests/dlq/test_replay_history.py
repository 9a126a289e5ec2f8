"""The replays that dead letters prove, whatever their headers state: forged headers hide nothing."""

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
    result = ReplayHistory()
    for dead_letter in dead_letters:
        result.add(dead_letter)
    return result


def resolve(*dead_letters: DeadLetter) -> PriorReplays:
    return history(dead_letters).resolve()


def test_a_dead_letter_of_the_same_event_supersedes_the_one_that_it_names() -> None:
    first, second = make_dead_letter(1), make_dead_letter(4, at=DEAD_1, headers=stated("dead-letters-0@1"))
    for dead_letters in ((first, second), (second, first)):
        replays = resolve(*dead_letters)
        assert replays.superseded == {first.position} and replays.num_unproven == 0
        assert (replays.count(first.position), replays.count(second.position)) == (0, 1)


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
def test_a_forged_header_supersedes_nothing_and_is_reported(forged: DeadLetter) -> None:
    replays = resolve(make_dead_letter(1), forged)
    assert (replays.superseded, dict(replays.counts), replays.num_unproven) == (frozenset(), {}, 1)


def test_replays_are_counted_by_dead_letters_not_by_headers() -> None:
    chain = [make_dead_letter(1)] + [
        make_dead_letter(n + 1, headers=stated(f"dead-letters-0@{n}", 90)) for n in range(1, 4)
    ]
    replays = resolve(*chain)
    assert [replays.count(dead_letter.position) for dead_letter in chain] == [0, 1, 2, 3]
    assert replays.superseded == {dead_letter.position for dead_letter in chain[:-1]} and replays.num_unproven == 0


def test_circular_headers_prove_nothing() -> None:
    itself = make_dead_letter(7, headers=stated("dead-letters-0@7"))
    circle = [make_dead_letter(n, headers=stated(f"dead-letters-0@{9 + (n - 8) % 3}")) for n in (9, 10, 11)]
    hanging = make_dead_letter(20, headers=stated("dead-letters-0@9"))
    replays = resolve(itself, *circle, hanging)
    assert replays.num_unproven == 4
    assert replays.superseded == {circle[0].position} and dict(replays.counts) == {hanging.position: 1}


def test_a_dead_letter_that_cannot_be_published_supersedes_none_that_can() -> None:
    large = b"x" * 2000
    first, second = (
        make_dead_letter(1, value=large),
        make_dead_letter(2, value=large, headers=stated("dead-letters-0@1"), max_bytes=1500),
    )
    assert second.truncated is not None and fingerprint(first) == fingerprint(second)
    replays = resolve(first, second)
    assert not replays.superseded and replays.count(first.position) == 1, "the event was replayed nevertheless"


def test_a_replayed_raw_event_is_recognised_by_its_original_time() -> None:
    first = make_dead_letter(1, value=b"\0" * 8, headers=[RAW])
    again = make_dead_letter(
        2, value=b"\0" * 8, headers=[*event_headers(first), *stated("dead-letters-0@1")], source_timestamp=5
    )  # type: ignore[list-item]
    later = make_dead_letter(3, value=b"\0" * 8, headers=[RAW], source_timestamp=6)
    assert fingerprint(first) == fingerprint(again) != fingerprint(later)


def test_the_offsets_that_still_must_be_read_are_returned() -> None:
    result = history(
        [
            make_dead_letter(50, headers=stated("dead-letters-0@40")),
            make_dead_letter(51, headers=stated("dead-letters-0@30")),
        ]
    )
    assert result.unread({DEAD_0: 50}) == {DEAD_0: 30}
    assert result.unread({DEAD_0: 30}) == {} and result.unread({DEAD_1: 50}) == {}
    for offset in (30, 40):  # a second read, from earlier offsets
        result.add(make_dead_letter(offset))
    assert result.resolve().superseded == {Position("dead-letters", 0, 30), Position("dead-letters", 0, 40)}


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
def test_no_event_is_lost_whatever_headers_state(
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
    replays = resolve(*dead_letters)
    left = [dead_letter for dead_letter in dead_letters if dead_letter.position not in replays.superseded]
    assert {dead_letter.value for dead_letter in left} == {dead_letter.value for dead_letter in dead_letters}
    for dead_letter in dead_letters:
        assert replays.count(dead_letter.position) < sum(other.value == dead_letter.value for other in dead_letters)
