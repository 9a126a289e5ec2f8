"""Whatever a record says of itself, reading it takes no more memory than its size and the limits of the format allow."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.audit.block import MAX_ROWS, Block, decode_block
from forebay.stream.audit.chain import Place
from forebay.stream.audit.verifier import ChainVerifier
from tests.audit.build import NAME, PARTITION, Stored, append, chain, rows, writer

INTS = ("partition", "sequence", "written_ms", "first_offset", "next_offset", "part", "parts", "records", "rows")
COLUMNS = ("offset", "row", "count", "event_ms", "outcome", "model", "principal", "denial")


def forged(**changes: object) -> bytes:
    """Return a block with columns of equal steps and other fields."""
    document = orjson.loads(chain(1)[0][0].value)
    document["columns"] = {name: {"first": 0, "steps": 0} for name in COLUMNS}
    return orjson.dumps({**document, **changes})


@pytest.mark.parametrize("sequence", [5_000_000, 2**62])
@pytest.mark.parametrize("follows", [False, True])
def test_a_high_number_takes_no_memory(sequence: int, follows: bool) -> None:
    verifier = ChainVerifier({3: 0})
    if follows:
        (first,) = chain(1)[0]
        verifier.add(Place(3, 0), first.key, first.value, first.headers)
    tracemalloc.start()
    try:
        verifier.add(Place(3, 1), NAME.encode(), forged(sequence=sequence), [])
        deleted = [finding for finding in verifier.finish() if finding.kind == "deleted"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    first_missing = 1 if follows else 0
    assert [finding.detail for finding in deleted] == [
        f"blocks {first_missing} to {sequence - 1} are missing before this one"
    ]


@pytest.mark.parametrize("name", INTS)
@pytest.mark.parametrize("number", [-1, 2**63, 2**64 - 1, 1.5, True, None, "1"])
def test_numbers_outside_of_int64_are_refused(name: str, number: object) -> None:
    with pytest.raises(DataError):
        decode_block(forged(**{name: number}))


@pytest.mark.parametrize("revisions", [{"fraud": 1e300}, {"fraud": "1"}, {"fraud": -1}, [1], None])
def test_revisions_of_other_types_are_refused(revisions: object) -> None:
    with pytest.raises(DataError):
        decode_block(forged(revisions=revisions))


def test_a_block_that_claims_more_rows_than_the_format_allows_is_unreadable() -> None:
    for claimed in (MAX_ROWS + 1, 10**12, 2**63 - 1):
        with pytest.raises(DataError, match="at most 65,536"):
            decode_block(forged(rows=claimed))
    verifier = ChainVerifier({3: 0})
    assert verifier.add(Place(3, 0), NAME.encode(), forged(rows=10**12), []) is None
    assert [finding.kind for finding in verifier.finish()] == ["changed"]
    assert len(decode_block(forged(rows=MAX_ROWS)).rows()) == MAX_ROWS


def test_no_block_is_written_with_more_rows_than_can_be_read() -> None:
    # Without ids, columns with equal steps are written in a few bytes however many rows there are.
    from dataclasses import replace

    from forebay.stream.audit.chain_writer import CommitContext

    count = MAX_ROWS + 10
    content = replace(rows(0, count), ids=None)
    found = writer(max_bytes=1 << 30).extend(PARTITION, content, CommitContext(count, 0))
    blocks: list[Block] = [decode_block(block.value) for block in found]
    assert [block.num_rows for block in blocks] == [MAX_ROWS, 10]


def test_numbers_that_are_missing_before_a_new_beginning_do_not_hide_in_the_next_chain() -> None:
    blocks, _ = chain(5)
    del blocks[3]
    again = writer()
    blocks += [block for number in range(5) for block in append(again, 20 + number * 4, 4, now_ms=9 + number)]
    assert found(blocks) == [("deleted", 3)]


def found(blocks: list[Stored]) -> list[tuple[str, int | None]]:
    """Return the findings without keys and heads."""
    verifier = ChainVerifier({3: 0})
    for offset, stored in enumerate(blocks):
        verifier.add(Place(3, offset), stored.key, stored.value, stored.headers)
    return [(finding.kind, finding.sequence) for finding in verifier.finish() if finding.kind != "restarted"]
