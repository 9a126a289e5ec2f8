"""Priorities of parts by topic and by header."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.priority import Priority
from forebay.stream.core.records import Chunk, TopicPartition
from forebay.stream.pipeline.priorities import Priorities
from tests.core.build import FakeRecord, chunk

HIGH, NORMAL, LOW = Priority
WORDS = {b"high": HIGH, b"normal": NORMAL, b"low": LOW}


def test_topics_have_classes() -> None:
    priorities = Priorities(frozenset({"a"}), frozenset({"c"}))
    assert [priorities.of_topic(topic) for topic in "abc"] == [HIGH, NORMAL, LOW]
    assert priorities.among("abc", NORMAL) == {"b"}
    part = chunk(range(3), partition=TopicPartition("c", 0), headers=[("forebay-priority", b"high")])
    assert priorities.divide(part) == (((part, LOW),), 0), "headers are not looked at"


def with_headers(part: Chunk, values: list[bytes | None]) -> Chunk:
    records = [
        FakeRecord(
            record.offset, record.value, headers=[] if value is None else [("x", b""), ("Forebay-Priority", value)]
        )
        for record, value in zip(part.records, values, strict=True)
    ]
    return replace(part, records=records)


@given(
    st.lists(st.tuples(st.sampled_from([None, *WORDS, b"urgent"]), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([HIGH, NORMAL, LOW]),
)
def test_a_header_raises_its_record_and_those_before_it(rows: list[tuple[bytes | None, bool]], own: Priority) -> None:
    """Each record gets the most urgent class of its topic and of the headers at or after it. Rejected records have no say."""
    topic = {HIGH: "high", NORMAL: "features", LOW: "low"}[own]
    priorities = Priorities(frozenset({"high"}), frozenset({"low"}), headers=True)
    rejected = [offset for offset, (_, is_rejected) in enumerate(rows) if is_rejected]
    good = [value for value, is_rejected in rows if not is_rejected]
    part = with_headers(chunk(range(len(rows)), partition=TopicPartition(topic, 0), rejected=rejected), good)
    pieces, unknown = priorities.divide(part)
    assert unknown == (good.count(b"urgent") if own is not HIGH else 0)
    assert pieces[0][0].first_offset == 0 and pieces[-1][0].next_offset == len(rows)
    assert all(before.next_offset == after.first_offset for (before, _), (after, _) in pairwise(pieces))
    classes = [priority for piece, priority in pieces for _ in range(piece.num_records)]
    for offset, (_, is_rejected) in enumerate(rows):
        if is_rejected:
            continue
        later = [WORDS.get(value or b"", LOW) for value, rejects in rows[offset:] if not rejects]
        assert classes[offset] == min([own, *later])
