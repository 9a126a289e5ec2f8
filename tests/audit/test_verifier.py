"""Verification finds and locates what was done to a chain."""

from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.headers import AUDIT_SHA256, AUDIT_SIGNATURE
from forebay.stream.audit.chain import Place, block_digest
from forebay.stream.audit.chain_writer import CheckpointPolicy
from forebay.stream.audit.signing import Signer
from forebay.stream.audit.verifier import ChainVerifier
from tests.audit.build import NAME, PARTITION, Stored, append, chain, committed, keys, private_key, verify, writer

NUM_BLOCKS = 12


def resealed(stored: Stored, **changes: object) -> Stored:
    """Return the block with other fields and a digest that fits, as an attacker without the key would write it."""
    value = orjson.dumps({**orjson.loads(stored.value), **changes})
    headers = [(name, content) for name, content in stored.headers if name != AUDIT_SHA256]
    return Stored(stored.key, value, [(AUDIT_SHA256, block_digest(value).encode()), *headers])


def test_an_untouched_chain_has_no_findings() -> None:
    blocks, chains = chain(NUM_BLOCKS)
    assert verify(blocks, chains) == []
    assert sum(AUDIT_SIGNATURE in dict(stored.headers) for stored in blocks) == 4


def test_the_next_owner_continues_the_chain() -> None:
    blocks, chains = chain(3)
    lost = append(chains, 12, 4)  # of a commit that failed
    successor = writer()
    successor.restore(committed(chain(3)[1], 12))
    blocks += append(successor, 12, 4, now_ms=9)
    assert lost[0].value != blocks[-1].value
    assert verify(blocks, successor) == []


def test_a_failed_commit_leaves_no_gap() -> None:
    blocks, chains = chain(3)
    before = committed(chains, 12)
    append(chains, 12, 4)
    chains.restore(before)
    blocks += append(chains, 12, 5, now_ms=9)
    assert verify(blocks, chains) == []


def test_a_large_commit_has_several_blocks() -> None:
    chains = writer(max_bytes=16_384)
    blocks = append(chains, 0, 500)
    assert len(blocks) > 1 and max(len(stored.value) for stored in blocks) <= 16_384
    assert verify(blocks, chains) == []


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(["deleted", "inserted", "changed", "swapped", "cut_off"]), seed=st.integers(0, 2**32))
def test_any_manipulation_is_found_and_located(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    blocks, chains = chain(NUM_BLOCKS)
    last = NUM_BLOCKS - 1
    if kind == "deleted":
        at = rng.randrange(last)
        del blocks[at]
        expected = {("deleted", at, Place(3, at))}
    elif kind == "cut_off":
        at = rng.randrange(NUM_BLOCKS)
        del blocks[at:]
        expected = {("cut_off", at, None)}
    elif kind == "swapped":
        at = rng.randrange(last)
        blocks[at], blocks[at + 1] = blocks[at + 1], blocks[at]
        expected = {("swapped", at, Place(3, at + 1))}
    elif kind == "inserted":
        source, at = rng.randrange(NUM_BLOCKS), 0
        at = rng.randrange(source + 1, NUM_BLOCKS + 1)  # a copy, later
        blocks.insert(at, blocks[source])
        expected = {("inserted", source, Place(3, at))}
    else:
        at = rng.randrange(NUM_BLOCKS)
        stored = blocks[at]
        if rng.random() < 0.5:
            position = rng.randrange(len(stored.value))
            value = bytearray(stored.value)
            value[position] ^= 1 << rng.randrange(8)
            blocks[at] = stored._replace(value=bytes(value))
        else:
            blocks[at] = resealed(stored, worker="someone else")
        found = verify(blocks, chains)
        assert any(f.kind == "changed" and f.place == Place(3, at) for f in found), found
        return
    assert {(f.kind, f.sequence, f.place) for f in verify(blocks, chains)} == expected


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_several_manipulations_are_not_overlooked(seed: int) -> None:
    rng = random.Random(seed)
    blocks, chains = chain(NUM_BLOCKS)
    original = list(blocks)
    for _ in range(rng.randrange(1, 5)):
        action = rng.randrange(4)
        at = rng.randrange(len(blocks)) if blocks else 0
        if action == 0 and blocks:
            del blocks[at]
        elif action == 1:
            blocks.insert(at, rng.choice(original))
        elif action == 2 and blocks:
            other = rng.randrange(len(blocks))
            blocks[at], blocks[other] = blocks[other], blocks[at]
        elif blocks:
            blocks[at] = resealed(blocks[at], written_ms=rng.randrange(1 << 40))
    assert (verify(blocks, chains) == []) == (blocks == original)


def test_a_chain_that_is_written_again_without_the_key_is_found() -> None:
    # The attacker also commits the group's offset with the new head.
    for key in (None, 1):
        forged, chains = chain(NUM_BLOCKS, key=key)
        assert {finding.kind for finding in verify(forged, chains)} == {"unsigned"}


def test_a_signature_cannot_be_moved() -> None:
    blocks, chains = chain(NUM_BLOCKS)
    signature = dict(blocks[0].headers)[AUDIT_SIGNATURE]
    forged = writer(key=None)
    value = append(forged, 0, 4)[0]
    fields = {"key_id": Signer(private_key()).key_id, "worker": "someone else"}
    changed = orjson.dumps({**orjson.loads(value.value), **fields})
    blocks[0] = Stored(
        value.key, changed, [(AUDIT_SHA256, block_digest(changed).encode()), (AUDIT_SIGNATURE, signature)]
    )
    assert ("changed", 0) in {(finding.kind, finding.sequence) for finding in verify(blocks, chains)}


def test_keys_can_be_rotated() -> None:
    blocks, chains = chain(4)
    successor = writer(key=1)
    successor.restore(committed(chains, 16))
    blocks += append(successor, 16, 20, now_ms=50)
    assert verify(blocks, successor, trusted=keys(0, 1)) == []
    assert {finding.kind for finding in verify(blocks, successor, trusted=keys(0))} == {"unsigned"}


def test_what_retention_removes_is_not_missing() -> None:
    blocks, chains = chain(NUM_BLOCKS)
    for first in range(NUM_BLOCKS):
        assert verify(blocks[first:], chains, log_start=first + 20) == []
    assert {finding.kind for finding in verify(blocks[5:], chains)} == {"deleted"}


def test_a_chain_that_begins_again_is_reported_unless_it_is_signed() -> None:
    first, _ = chain(2)
    second = writer()
    again = append(second, 3, 3, now_ms=70)
    assert verify(first + again, second) == []
    unsigned = writer(key=None)
    again = append(unsigned, 3, 3, now_ms=70)
    assert {finding.kind for finding in verify(first + again, unsigned)} == {"restarted", "unsigned"}


def test_blocks_after_the_committed_head_are_found() -> None:
    blocks, chains = chain(3)
    longer = writer()
    longer.restore(committed(chains, 12))
    blocks += append(longer, 12, 2, now_ms=5)
    assert [(finding.kind, finding.sequence) for finding in verify(blocks, chains)] == [("inserted", 3)]


@pytest.mark.parametrize(
    "rows_since, ms_since, due", [(1, None, True), (9, 999, False), (10, 0, True), (1, 1000, True)]
)
def test_checkpoints_are_due_by_rows_or_time(rows_since: int, ms_since: int | None, due: bool) -> None:
    assert CheckpointPolicy(rows=10, interval_ms=1000).is_due(rows_since, ms_since) is due


def test_the_partition_has_a_head_only_after_a_block() -> None:
    chains = writer()
    assert chains.head(PARTITION) is None
    append(chains, 0, 1)
    assert chains.head(PARTITION) is not None


@pytest.mark.parametrize("starts, found", [((0, 0, 0, 0), True), ((5, 9, 1, 0), True), ((0, 0, 0, 7), False)])
def test_a_chain_may_only_be_missing_if_its_own_partition_was_cut(starts: tuple[int, ...], found: bool) -> None:
    _, chains = chain(5)
    head = chains.head(PARTITION)
    assert head is not None
    # Partition 3 of the input, and partition 7, are both in partition 3 of the topic.
    for name in (NAME, "forebay|features|7"):
        findings = ChainVerifier(dict(enumerate(starts)), heads={name: head}).finish()
        assert [finding.kind for finding in findings] == ["cut_off"] * found


def test_positions_that_are_left_out_before_a_new_beginning_are_a_gap_however_it_is_signed() -> None:
    first, _ = chain(6)  # positions 0 to 23
    again = writer()
    second = append(again, 24, 4, now_ms=9) + append(again, 28, 4, now_ms=10)
    assert verify(first + second, again) == []
    for left in range(1, 6):
        findings = verify(first[:left] + second, again)
        assert [(finding.kind, finding.sequence, finding.place) for finding in findings] == [("gap", 0, Place(3, left))]
        assert f"positions {left * 4} to 23 of the input" in findings[0].detail
    # Offsets that were moved back leave nothing out.
    back = writer()
    assert verify(first + append(back, 10, 4, now_ms=9), back) == []


def test_older_blocks_are_verified_with_the_limits_of_their_time() -> None:
    before = CheckpointPolicy(rows=100, interval_ms=1_000_000)
    chains = writer(policy=before)
    blocks = [block for number in range(12) for block in append(chains, number * 4, 4, now_ms=number)]
    assert verify(blocks, chains, policy=before) == []
    assert {finding.kind for finding in verify(blocks, chains)} == {"unsigned"}


def test_blocks_from_before_there_was_a_key_are_unsigned_until_they_are_deleted() -> None:
    blocks, without = chain(2, key=None)
    chains = writer()
    chains.restore(committed(without, 8))
    blocks += append(chains, 8, 4, now_ms=9)
    assert {finding.kind for finding in verify(blocks, chains)} == {"unsigned"}
    assert verify(blocks[2:], chains, log_start=2) == []
