"""Adds to each commit the blocks of the audit: every outcome of its records, and the heads of the chains to its metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from forebay.schemas.errors import ForebayError
from forebay.stream.audit.chain import join_metadata, split_metadata
from forebay.stream.audit.chain_writer import ChainWriter, CommitContext
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import Headers, OutputTopic
from forebay.stream.core.records import BatchResult, Committed, TopicPartition
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer
from forebay.stream.output.emitter import NO_HEADERS, Emission, EmissionBuilder, EmissionSteps
from forebay.stream.pipeline.audit_rows import AuditContent, OutcomeRows, RowGroup
from forebay.stream.pipeline.audited_access import AuditedAccess


class AuditRecorder:
    """Makes the blocks of commits.

    topic: `audit`. The chain of input partition p is in its partition p modulo the number of its partitions.
    revisions: returns the revisions of rollouts after the commit, by model.
    access: None without rules of access.
    """

    def __init__(
        self,
        chains: ChainWriter,
        topic: OutputTopic,
        content: AuditContent,
        *,
        clock: Clock,
        revisions: Callable[[TopicPartition], Mapping[str, int]] = lambda _partition: {},
        access: AuditedAccess | None = None,
    ) -> None:
        self._chains = chains
        self._topic = topic
        self._content = content
        self._clock = clock
        self._revisions = revisions
        self._access = access

    def record(self, batches: Sequence[BatchResult], emission: Emission) -> None:
        """Add the blocks of a commit, and the heads of their chains to its metadata. Call in the order of the commits.

        Raises ForebayError, before anything is sent, if there is not one row for each outcome, which is a bug.
        """
        groups_of: dict[TopicPartition, list[RowGroup]] = {}
        outcome_rows = OutcomeRows(self._content, self._access)
        for result in batches:
            first_row = 0
            for part in result.batch.chunks:
                groups_of.setdefault(part.partition, []).extend(outcome_rows.of_part(result, part, first_row))
                first_row += part.num_rows
        _require_all(groups_of, emission)
        now_ms = self._clock.wall_ms()
        for partition, groups in groups_of.items():
            if not any(map(len, groups)):
                continue
            target = TopicPartition(self._topic.name, partition.partition % self._topic.num_partitions)
            outgoing = emission.records_of(target)
            by_revision = outcome_rows.by_revision(groups)
            for policy_revision, rows in by_revision:
                next_offset = int(rows.offset_N[-1]) + 1
                is_last = rows is by_revision[-1][1]
                context = CommitContext(
                    emission.positions.get(partition, next_offset) if is_last else next_offset,
                    now_ms,
                    revisions=self._revisions(partition),
                    policy_revision=policy_revision,
                )
                for block in self._chains.extend(partition, rows, context):
                    outgoing.append(block.key, block.value, block.headers, offset=0)
            if self._access is not None:
                self._access.on_committed(partition, int(by_revision[0][1].offset_N[0]))
        for partition in emission.positions:
            if metadata := self.metadata(partition, emission.metadata.get(partition, "")):
                emission.metadata[partition] = metadata

    def metadata(self, partition: TopicPartition, inner: str) -> str:
        """Return the metadata of the last committed position. inner: that of windows and rollouts."""
        return join_metadata(inner, self._chains.head(partition))

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> None:
        """Continue the chains whose heads were committed."""
        self._chains.restore(committed)


class AuditedEmissions:
    """Builds emissions with the blocks of the audit. inner: builds the emissions without them."""

    def __init__(self, inner: EmissionBuilder, recorder: AuditRecorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build the emission of these micro-batches, in slices."""
        emission = yield from self._inner.build(batches, delta_headers=delta_headers)
        self._recorder.record(batches, emission)
        return emission


class ChainRestorer:
    """Restores a worker whose offsets may name heads of chains. Windows and rollouts see only their part of the metadata.

    recorder: None without the audit. The chains then begin again when it is turned on.
    """

    def __init__(self, inner: OffsetRestorer, recorder: AuditRecorder | None) -> None:
        self._inner = inner
        self._recorder = recorder

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition. Raises BrokerError if reading must not continue."""
        own = {
            partition: None if offset is None else split_metadata(partition, offset)[1]
            for partition, offset in committed.items()
        }
        positions = self._inner.restore(own)
        if self._recorder is not None:
            self._recorder.restore(committed)
        return positions


def _require_all(groups_of: Mapping[TopicPartition, Sequence[RowGroup]], emission: Emission) -> None:
    audited = {partition: sum(int(group.count_N.sum()) for group in groups) for partition, groups in groups_of.items()}
    for partition, passed in emission.ledger.passed.items():
        if audited.get(partition, 0) != passed:
            raise ForebayError(
                f"{partition.topic}-{partition.partition}: {passed} records but {audited.get(partition, 0)} audited outcomes "
                "in one commit",
                kind="audit_conservation",
                remedy="this is a bug; nothing of this commit was sent",
            )
