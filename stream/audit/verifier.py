"""Verification of chains: finds blocks that were deleted, inserted, changed, swapped or cut off, and where. Pure.

Blocks come in the order of their offsets in the audit topic. A block is identified by its chain and sequence number.

- *changed*: its digest is not the one in its header, or not the one that the next block names, or its signature is invalid;
- *deleted*: a sequence number is missing, and later ones are present;
- *swapped*: a block comes after one that follows it in the chain;
- *inserted*: a sequence number occurs again, or the block follows the head that is committed with the offset;
- *cut off*: the chain ends before the head that is committed with the offset;
- *unsigned*: a checkpoint is missing where the configuration demands one, or its key is not trusted;
- *restarted*: a chain begins again without a trusted signature;
- *gap*: a chain begins again at a later position of the input than it had come to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from forebay.schemas.errors import DataError
from forebay.schemas.headers import AUDIT_SHA256, AUDIT_SIGNATURE
from forebay.stream.audit.block import Block, decode_block
from forebay.stream.audit.chain import ChainHead, ChainName, Place, block_digest
from forebay.stream.audit.chain_writer import CheckpointPolicy
from forebay.stream.audit.missing import MissingNumbers
from forebay.stream.audit.signing import TrustedKeys

FindingKind = Literal["changed", "deleted", "swapped", "inserted", "cut_off", "unsigned", "restarted", "gap"]
NO_KEYS: Final = TrustedKeys({})


class Finding(NamedTuple):
    """Something that is wrong with a chain.

    sequence: number of the block; None if it is unknown.
    place: the block, or the one before which it is missing; None for the end of the log.
    """

    kind: FindingKind
    chain: str
    sequence: int | None
    place: Place | None
    detail: str


@dataclass(slots=True)
class ChainReport:
    """What was read of a chain.

    first_sequence: of the first block that is left. first_offset, next_offset: the positions of the input that it covers.
    checkpoint: sequence of the last block with a valid signature, else -1.
    restarts: the offsets in the audit topic at which it begins again, with a trusted signature.
    """

    name: ChainName
    first_sequence: int
    first_offset: int
    next_offset: int
    blocks: int = 0
    rows: int = 0
    records: int = 0
    sequence: int = -1
    checkpoint: int = -1
    written_ms: int = 0
    restarts: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Chain:
    """The state of a chain while it is read.

    digest: of the block with the highest number; None if it is unknown, because the block was changed.
    missing: numbers that were passed over.
    """

    report: ChainReport
    place: Place
    digest: str | None = None
    is_signed: bool = False
    missing: MissingNumbers = field(default_factory=MissingNumbers)
    firsts: set[str] = field(default_factory=set)
    rows_since: int = 0
    signed_ms: int | None = None


class ChainVerifier:
    """Verifies the chains of an audit topic.

    log_starts: first offset of each partition of the topic: blocks before it were removed by retention.
    heads: the heads that the group had committed before the topic was read, by name of the chain.
    policy: when blocks have to be signed; not checked without keys.
    """

    def __init__(
        self,
        log_starts: Mapping[int, int],
        *,
        heads: Mapping[str, ChainHead] = MappingProxyType({}),
        keys: TrustedKeys = NO_KEYS,
        policy: CheckpointPolicy | None = None,
    ) -> None:
        self._log_starts = log_starts
        self._heads = heads
        self._keys = keys
        self._policy = policy if len(keys) else None
        self._chains: dict[str, _Chain] = {}
        self._at_heads: dict[str, tuple[str | None, Place]] = {}
        self.findings: list[Finding] = []

    @property
    def reports(self) -> list[ChainReport]:
        """What was read of each chain, by name."""
        return [self._chains[name].report for name in sorted(self._chains)]

    def add(
        self, place: Place, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Block | None:
        """Verify the next record of a partition, and return its block; None if it cannot be read."""
        by_name = dict(headers)
        stored = by_name.get(AUDIT_SHA256, b"").decode("ascii", "replace")
        digest = block_digest(value or b"")
        try:
            block = decode_block(value)
        except DataError as error:
            self._add_unreadable(place, (key or b"").decode("utf-8", "replace"), stored, str(error))
            return None
        name, chain = str(block.head.chain), self._chains.get(str(block.head.chain))
        if digest != stored:
            self._find(
                "changed", name, block.head.sequence, place, detail="its bytes do not have the digest in its header"
            )
        is_signed = self._check_signature(name, block, place, digest=digest, signature=by_name.get(AUDIT_SIGNATURE))
        # Of a changed block the header names what it was, unless that was changed as well.
        known = digest if digest == stored else stored if len(stored) == 64 else None
        if chain is None:
            self._begin(name, block, place, known, is_signed=is_signed)
        else:
            self._continue(chain, block, place, known, is_signed=is_signed)
        return block

    def finish(self, latest: Mapping[str, ChainHead] | None = None) -> list[Finding]:
        """Return all findings, once everything was read. latest: the heads that are committed since; None for `heads`."""
        for name, chain in self._chains.items():
            self._report_missing(name, chain)
        for name, head in self._heads.items():
            self._check_head(name, head)
        for name, head in (self._heads if latest is None else latest).items():
            own = self._chains.get(name)
            if own is not None and own.report.sequence > head.sequence:
                detail = f"the group has committed block {head.sequence}, after which this one comes"
                self._find("inserted", name, own.report.sequence, own.place, detail=detail)
        return self.findings

    def _begin(self, name: str, block: Block, place: Place, digest: str | None, is_signed: bool) -> None:
        head = block.head
        report = ChainReport(head.chain, head.sequence, head.first_offset, head.next_offset)
        chain = self._chains[name] = _Chain(report, place)
        if self._log_starts.get(place.partition, 0) == 0:
            # Nothing was removed by retention, so all of the chain should be there.
            chain.missing.append(0, head.sequence - 1, place)
        self._extend(chain, block, place, digest, is_signed=is_signed)

    def _continue(self, chain: _Chain, block: Block, place: Place, digest: str | None, is_signed: bool) -> None:
        report, head = chain.report, block.head
        name, sequence = str(head.chain), head.sequence
        expected = report.sequence + 1
        if chain.missing.remove(sequence):
            self._count(chain, block)
            self._find("swapped", name, sequence, place, detail=f"it comes after block {report.sequence}")
        elif sequence == 0 and digest is not None and digest not in chain.firsts:
            self._restart(chain, block, place, digest, is_signed=is_signed)
        elif sequence < expected:
            self._find(
                "inserted", name, sequence, place, detail=f"this number has been read; block {expected} should follow"
            )
        else:
            if sequence == expected and chain.digest not in (None, head.previous.digest):
                self._find_broken_link(chain, block, place, is_signed)
            if sequence > expected:
                chain.rows_since, chain.signed_ms = 0, head.written_ms  # one of the missing blocks may be a checkpoint
            chain.missing.append(expected, sequence - 1, place)
            self._extend(chain, block, place, digest, is_signed=is_signed)

    def _restart(self, chain: _Chain, block: Block, place: Place, digest: str, is_signed: bool) -> None:
        if is_signed:
            chain.report.restarts.append(place.offset)
        else:
            self._find(
                "restarted",
                str(block.head.chain),
                0,
                place,
                detail=f"the chain begins again after block {chain.report.sequence}: the group's offsets were reset, the audit "
                "was turned off for a while, or blocks were replaced",
            )
        if block.head.first_offset > chain.report.next_offset:
            # A valid signature does not show whether blocks were removed or the audit was off.
            left_out = f"{chain.report.next_offset} to {block.head.first_offset - 1}"
            detail = (
                f"positions {left_out} of the input are in no block: the audit was turned off for a while, the group's offset "
                "was moved forward, or blocks were removed before this one"
            )
            self._find("gap", str(block.head.chain), 0, place, detail=detail)
        # The numbers begin again, so those that are missing of the chain before cannot come any more.
        self._report_missing(str(block.head.chain), chain)
        chain.rows_since, chain.signed_ms = 0, None
        self._extend(chain, block, place, digest, is_signed=is_signed)

    def _extend(self, chain: _Chain, block: Block, place: Place, digest: str | None, is_signed: bool) -> None:
        """Take a block as the newest of its chain."""
        report, head = chain.report, block.head
        self._count(chain, block)
        report.sequence, report.next_offset, report.written_ms = head.sequence, head.next_offset, head.written_ms
        if head.sequence == 0 and digest is not None:
            chain.firsts.add(digest)
        name = str(head.chain)
        if name in self._heads and self._heads[name].sequence == head.sequence:
            self._at_heads[name] = (digest, place)
        chain.digest, chain.place, chain.is_signed = digest, place, is_signed
        chain.rows_since += block.num_rows
        if is_signed:
            report.checkpoint, chain.rows_since, chain.signed_ms = head.sequence, 0, head.written_ms
        elif self._policy is not None and head.key_id is None and not head.chain.is_of_actions:
            ms_since = None if chain.signed_ms is None else head.written_ms - chain.signed_ms
            if ms_since is None and report.first_sequence > 0 and report.checkpoint < 0:
                chain.signed_ms = head.written_ms  # its last checkpoint may have been removed by retention
            elif self._policy.is_due(chain.rows_since, ms_since):
                self._find(
                    "unsigned",
                    str(head.chain),
                    head.sequence,
                    place,
                    detail="it should be a checkpoint, and is not signed",
                )
                chain.rows_since, chain.signed_ms = 0, head.written_ms

    def _count(self, chain: _Chain, block: Block) -> None:
        report = chain.report
        report.blocks += 1
        report.rows += block.num_rows
        report.records += block.records
        report.first_offset = min(report.first_offset, block.head.first_offset)

    def _find_broken_link(self, chain: _Chain, block: Block, place: Place, is_signed: bool) -> None:
        name, sequence = str(block.head.chain), block.head.sequence
        if chain.is_signed:
            self._find(
                "changed", name, sequence, place, detail="it does not name the block before, whose signature is valid"
            )
            return
        follower = f"{place.partition}@{place.offset}"
        sure = "which is signed" if is_signed else "unless that one was changed"
        detail = f"block {sequence} at {follower} names another digest, {sure}"
        self._find("changed", name, sequence - 1, chain.place, detail=detail)

    def _add_unreadable(self, place: Place, name: str, stored: str, reason: str) -> None:
        chain = self._chains.get(name)
        sequence = None if chain is None else chain.report.sequence + 1
        self._find("changed", name, sequence, place, detail=reason)
        if chain is not None and sequence is not None:
            # Taken as the next block, so that the one after it is not reported as well.
            chain.report.sequence, chain.place = sequence, place
            chain.digest, chain.is_signed = stored if len(stored) == 64 else None, False

    def _check_signature(self, name: str, block: Block, place: Place, *, digest: str, signature: bytes | None) -> bool:
        """Return whether a block has the valid signature of a trusted key."""
        key_id, sequence = block.head.key_id, block.head.sequence
        if key_id is None or not len(self._keys):
            return False
        if key_id not in self._keys:
            self._find("unsigned", name, sequence, place, detail=f"its key {key_id} is not among the trusted keys")
        elif signature is None or not self._keys.verifies(key_id, digest, signature):
            self._find("changed", name, sequence, place, detail=f"it does not have a valid signature of key {key_id}")
        else:
            return True
        return False

    def _log_start_of(self, name: str) -> int:
        """Return the first offset of the partition of the topic that a chain belongs to."""
        number = int(name.rpartition("|")[2])
        return self._log_starts.get(number % max(1, len(self._log_starts)), 0)

    def _report_missing(self, name: str, chain: _Chain) -> None:
        for first, last, place in chain.missing:
            blocks = f"block {first} is" if first == last else f"blocks {first} to {last} are"
            self._find("deleted", name, first, place, detail=f"{blocks} missing before this one")
        chain.missing.clear()

    def _check_head(self, name: str, head: ChainHead) -> None:
        chain = self._chains.get(name)
        if chain is None and self._log_start_of(name) > 0:
            return  # retention may have removed the last block
        last = -1 if chain is None else chain.report.sequence
        digest, place = self._at_heads.get(name, (None, None))
        if last < head.sequence:
            self._find(
                "cut_off",
                name,
                last + 1,
                None,
                detail=f"the group has committed block {head.sequence}, and the topic ends with "
                + (f"block {last}" if last >= 0 else "none of this chain"),
            )
        elif digest not in (None, head.digest):
            self._find("changed", name, head.sequence, place, detail="the group has committed another digest for it")

    def _find(self, kind: FindingKind, chain: str, sequence: int | None, place: Place | None, detail: str) -> None:
        self.findings.append(Finding(kind, chain, sequence, place, detail=detail))
