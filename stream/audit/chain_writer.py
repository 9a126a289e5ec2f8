"""The chains that a worker extends: which block comes next in each, and whether it is a checkpoint.

    committed metadata -- restore --> head -- extend --> next head, committed with the block

`extend` moves the head at once, before the commit. After a commit that failed, the source reads the committed offsets again,
and `restore` returns to their heads. A chain therefore has no gap and no fork, whichever workers wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from forebay.schemas.headers import AUDIT_SHA256, AUDIT_SIGNATURE
from forebay.stream.audit.block import MAX_ROWS, AuditRows, BlockHead, encode_block
from forebay.stream.audit.chain import BEFORE_FIRST, ChainHead, ChainName, block_digest, split_metadata
from forebay.stream.audit.signing import Signer
from forebay.stream.core.records import Committed, TopicPartition

_HEAD_BYTES: Final = 8_192
_ROW_BYTES: Final = 52
_DIGEST_BYTES: Final = 67


class CheckpointPolicy(NamedTuple):
    """When a block is signed: with the first row of a chain, then after this many rows or milliseconds, if not before."""

    rows: int
    interval_ms: int

    def is_due(self, rows_since: int, ms_since: int | None) -> bool:
        """Return whether a block must be signed. rows_since: with its own; ms_since: None without an earlier signature."""
        return ms_since is None or rows_since >= self.rows or ms_since >= self.interval_ms


class CommitContext(NamedTuple):
    """What all blocks of a commit for a partition have in common.

    position: the offset that is committed. revisions: see `BlockHead`.
    """

    position: int
    now_ms: int
    revisions: Mapping[str, int] = {}
    policy_revision: str | None = None


class SealedBlock(NamedTuple):
    """A block as a record. headers: its digest, and its signature if it is a checkpoint."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class _Chain:
    """The state of a chain. next_offset: -1 if unknown. signed_ms: None before the first checkpoint of this owner."""

    head: ChainHead = BEFORE_FIRST
    next_offset: int = -1
    rows_since: int = 0
    signed_ms: int | None = None


class ChainWriter:
    """Extends the chains of the partitions that a worker owns.

    worker: its instance id.
    signer: None if checkpoints are not signed.
    max_bytes: size of the largest record.
    """

    def __init__(
        self, group: str, *, worker: str, signer: Signer | None, policy: CheckpointPolicy, max_bytes: int
    ) -> None:
        self._group = group
        self._worker = worker
        self._signer = signer
        self._policy = policy
        self._max_bytes = max_bytes
        self._chains: dict[TopicPartition, _Chain] = {}

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> None:
        """Begin with the heads in the metadata of committed offsets: at an assignment and after each failed commit.

        Raises BrokerError for the metadata of a later version.
        """
        chains = {}
        for partition, offset in committed.items():
            chain = chains[partition] = _Chain()
            if offset is not None:
                head, _ = split_metadata(partition, offset)
                chain.head, chain.next_offset = head or BEFORE_FIRST, offset.offset
        self._chains = chains

    def head(self, partition: TopicPartition) -> ChainHead | None:
        """Return the last block of a partition's chain; None if there is none."""
        chain = self._chains.get(partition)
        return None if chain is None or chain.head == BEFORE_FIRST else chain.head

    def extend(self, partition: TopicPartition, rows: AuditRows, context: CommitContext) -> Iterator[SealedBlock]:
        """Yield the blocks of a commit, in order. Consume all of them. rows: at least one, by position."""
        chain = self._chains.setdefault(partition, _Chain())
        size = self._rows_per_block(rows)
        starts = range(0, len(rows), size)
        first_offset = int(rows.offset_N[0]) if chain.next_offset < 0 else chain.next_offset
        for part, start in enumerate(starts):
            part_rows = rows if len(starts) == 1 else rows.take(slice(start, start + size))
            yield self._seal(partition, chain, part_rows, context, part=(part, len(starts), first_offset))
        chain.next_offset = context.position

    def _seal(
        self,
        partition: TopicPartition,
        chain: _Chain,
        rows: AuditRows,
        context: CommitContext,
        *,
        part: tuple[int, int, int],
    ) -> SealedBlock:
        chain.rows_since += len(rows)
        ms_since = None if chain.signed_ms is None else context.now_ms - chain.signed_ms
        signer = self._signer if self._policy.is_due(chain.rows_since, ms_since) else None
        name = ChainName(self._group, *partition)
        number, count, first_offset = part
        value = encode_block(
            BlockHead(
                name,
                chain.head,
                written_ms=context.now_ms,
                worker=self._worker,
                first_offset=first_offset,
                next_offset=context.position,
                revisions=context.revisions,
                policy_revision=context.policy_revision,
                key_id=None if signer is None else signer.key_id,
                part=number,
                parts=count,
            ),
            rows,
        )
        digest = block_digest(value)
        headers = [(AUDIT_SHA256, digest.encode())]
        if signer is not None:
            headers.append((AUDIT_SIGNATURE, signer.sign(digest)))
            chain.rows_since, chain.signed_ms = 0, context.now_ms
        chain.head = ChainHead(chain.head.sequence + 1, digest)
        return SealedBlock(str(name).encode(), value, headers)

    def _rows_per_block(self, rows: AuditRows) -> int:
        """Return how many of these rows fit into one block, whatever they contain."""
        row_bytes = _ROW_BYTES + _DIGEST_BYTES * len(rows.digests)
        if rows.ids is not None:
            # In JSON a character takes up to six bytes, of ASCII only control characters, quotes and backslashes do.
            row_bytes += 6 * max(map(len, rows.ids)) + 3
        if len(rows.principals) > 1:
            row_bytes += (
                4 * max(map(len, rows.principals)) + 3
            )  # names are printable: a character takes up to four bytes
        return max(1, min(MAX_ROWS, (self._max_bytes - _HEAD_BYTES) // row_bytes))
