"""Chains for tests."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forebay.stream.audit.block import AuditRows
from forebay.stream.audit.chain import Place
from forebay.stream.audit.chain_writer import ChainWriter, CheckpointPolicy, CommitContext
from forebay.stream.audit.signing import Signer, TrustedKeys
from forebay.stream.audit.verifier import ChainVerifier, Finding
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition

PARTITION = TopicPartition("features", 3)
NAME = "forebay|features|3"
POLICY = CheckpointPolicy(rows=10, interval_ms=1_000_000)


@functools.cache
def private_key(number: int = 0) -> Ed25519PrivateKey:
    """Return a key, the same for the same number."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def keys(*numbers: int) -> TrustedKeys:
    """Return the public keys of these private keys."""
    return TrustedKeys({Signer(private_key(n)).key_id: private_key(n).public_key() for n in numbers})


def rows(start: int, count: int, *, outcome: str = "predicted") -> AuditRows:
    """Return rows for the records from `start` on."""
    zeros_N = np.zeros(count, dtype=np.int64)
    return AuditRows(
        np.arange(start, start + count),
        row_N=zeros_N - 1,
        count_N=zeros_N + 1,
        event_ms_N=np.arange(start, start + count) * 7 % 5 + 1_000,
        outcome_N=zeros_N,
        model_N=zeros_N,
        principal_N=zeros_N,
        denial_N=zeros_N,
        outcomes=[outcome],
        models=[ModelRef("fraud", 2)],
        ids=[f"event-{number}" for number in range(start, start + count)],
    )


class Stored(NamedTuple):
    """A record of the topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def writer(*, key: int | None = 0, policy: CheckpointPolicy = POLICY, max_bytes: int = 1 << 20) -> ChainWriter:
    """Return a writer that signs with this key."""
    signer = None if key is None else Signer(private_key(key))
    return ChainWriter("forebay", worker="w1", signer=signer, policy=policy, max_bytes=max_bytes)


def append(chains: ChainWriter, start: int, count: int, *, now_ms: int = 0) -> list[Stored]:
    """Return the blocks of a commit of `count` records."""
    context = CommitContext(start + count, now_ms)
    return [Stored(*block) for block in chains.extend(PARTITION, rows(start, count), context)]


def chain(num_blocks: int, *, per_block: int = 4, key: int | None = 0) -> tuple[list[Stored], ChainWriter]:
    """Return a chain of blocks, and its writer."""
    chains = writer(key=key)
    blocks: list[Stored] = []
    for number in range(num_blocks):
        blocks += append(chains, number * per_block, per_block, now_ms=number)
    return blocks, chains


def committed(chains: ChainWriter, offset: int) -> dict[TopicPartition, Committed | None]:
    """Return the committed offset with the head of the chain in its metadata."""
    from forebay.stream.audit.chain import join_metadata

    return {PARTITION: Committed(offset, join_metadata("", chains.head(PARTITION)))}


def verify(
    blocks: list[Stored],
    chains: ChainWriter,
    *,
    trusted: TrustedKeys | None = None,
    log_start: int = 0,
    policy: CheckpointPolicy = POLICY,
) -> list[Finding]:
    """Return the findings of a topic with these records, whose chain ends at the writer's head."""
    head = chains.head(PARTITION)
    verifier = ChainVerifier(
        {0: 0, 1: 0, 2: 0, 3: log_start},
        heads={} if head is None else {NAME: head},
        keys=keys(0) if trusted is None else trusted,
        policy=policy,
    )
    for offset, stored in enumerate(blocks, log_start):
        verifier.add(Place(3, offset), stored.key, stored.value, stored.headers)
    return verifier.finish()
