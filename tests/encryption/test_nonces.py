"""Nonces do not repeat: within a sequence, after its counter ends, and in forked processes."""

from __future__ import annotations

from itertools import count

import pytest

from forebay.stream.encryption import nonces
from forebay.stream.encryption.nonces import NonceSequence


def test_a_new_prefix_is_drawn_when_the_counter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "NUM_COUNTS", 5)
    prefixes = count(1)
    sequence = NonceSequence(lambda size: next(prefixes).to_bytes(size, "big"), lambda: 1)
    taken = sequence.take(3) + sequence.take(4) + sequence.take(6)
    assert len(set(taken)) == 13 and {len(nonce) for nonce in taken} == {12}
    assert [int.from_bytes(nonce[:8], "big") for nonce in taken] == [1] * 5 + [2] * 5 + [3] * 3


def test_a_forked_process_has_a_prefix_of_its_own() -> None:
    prefixes, process = count(1), [1]
    sequence = NonceSequence(lambda size: next(prefixes).to_bytes(size, "big"), lambda: process[0])
    before = sequence.take(1)
    process[0] = 2
    assert before[0][:8] != sequence.take(1)[0][:8]
