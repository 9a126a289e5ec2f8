"""Adds to each commit the blocks of the audit: every outcome of its records, and the heads of the chains to its metadata."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import ForebayError
from forebay.schemas.failures import FailureKind
from forebay.stream.audit.block import NO_ROW, AuditRows
from forebay.stream.audit.chain import join_metadata, split_metadata
from forebay.stream.audit.chain_writer import ChainWriter, CommitContext
from forebay.stream.core.clock import Clock
from forebay.stream.core.decisions import ABSTENTIONS
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Headers, OutputTopic
from forebay.stream.core.record_columns import offsets_of
from forebay.stream.core.records import BatchResult, Chunk, Committed, Record, TopicPartition
from forebay.stream.core.rows import RowRecords
from forebay.stream.eventtime.window_chunk import WindowChunk, window_label
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer
from forebay.stream.output.emitter import NO_HEADERS, Emission, EmissionBuilder, EmissionSteps

Ints = npt.NDArray[np.int64]
PREDICTED: Final = "predicted"
ABSTAINED: Final = "abstained"
MAX_ID_LENGTH: Final = 256
_WINDOW: Final = "window:"


class AccessLog(Protocol):
    """What the rules of access say about records."""

    @property
    def policy_revision(self) -> int:
        """The revision of the policy that is in force."""

    def principals(self, records: Sequence[Record]) -> Sequence[str]:
        """Return the hashed principal of each record; "" for none."""


class AuditContent(NamedTuple):
    """What the rows have besides positions, times, models and outcomes."""

    event_ids: bool = True
    input_digests: bool = False
    output_digests: bool = False


@dataclass(slots=True)
class _Part:
    """Rows of one chunk. outcomes: by index in `outcome_N`."""

    offset_N: Ints
    row_N: Ints
    count_N: Ints
    event_ms_N: Ints
    outcome_N: Ints
    ids: list[str]
    principals: Sequence[str] | None
    input_digests: list[str]
    output_digests: list[str]
    model: ModelRef


class _Texts:
    """Texts as small numbers, in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, text: object) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


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
        access: AccessLog | None = None,
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
        parts: dict[TopicPartition, list[_Part]] = {}
        outcomes = _Texts()
        for result in batches:
            first_row = 0
            for chunk in result.batch.chunks:
                found = parts.setdefault(chunk.partition, [])
                if isinstance(chunk, WindowChunk):
                    found += self._of_windows(result, chunk, first_row, outcomes)
                else:
                    found += self._of_events(result, cast(Chunk, chunk), first_row, outcomes)
                first_row += chunk.num_rows
        self._require_all(parts, emission)
        now_ms = self._clock.wall_ms()
        for partition, of_partition in parts.items():
            rows = self._rows(of_partition, outcomes.all())
            if not len(rows):
                continue
            context = CommitContext(
                emission.positions.get(partition, int(rows.offset_N[-1]) + 1),
                now_ms,
                revisions=self._revisions(partition),
                policy_revision=None if self._access is None else self._access.policy_revision,
            )
            target = TopicPartition(self._topic.name, partition.partition % self._topic.num_partitions)
            outgoing = emission.records_of(target)
            for block in self._chains.extend(partition, rows, context):
                outgoing.append(block.key, block.value, block.headers, offset=0)
        for partition in emission.positions:
            if metadata := self.metadata(partition, emission.metadata.get(partition, "")):
                emission.metadata[partition] = metadata

    def metadata(self, partition: TopicPartition, inner: str) -> str:
        """Return the metadata of the last committed position. inner: that of windows and rollouts."""
        return join_metadata(inner, self._chains.head(partition))

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> None:
        """Continue the chains whose heads were committed."""
        self._chains.restore(committed)

    # ---- rows

    def _of_events(self, result: BatchResult, chunk: Chunk, first_row: int, outcomes: _Texts) -> list[_Part]:
        parts, count = [], len(chunk.records)
        if count:
            records = chunk.records
            outcome_N = np.full(count, outcomes.number(PREDICTED), dtype=np.int64)
            if result.decisions_B is not None:
                abstained_B = np.isin(result.decisions_B[first_row : first_row + count], list(ABSTENTIONS))
                outcome_N[abstained_B] = outcomes.number(ABSTAINED)
            failed = _failed_rows(result, first_row, count)
            for row, kind in failed.items():
                outcome_N[row] = outcomes.number(kind.value)
            parts.append(
                _Part(
                    offsets_of(records),
                    records.row_B.astype(np.int64) if isinstance(records, RowRecords) else _filled(count, NO_ROW),
                    count_N=_filled(count, 1),
                    event_ms_N=np.asarray(chunk.timestamps, dtype=np.int64),
                    outcome_N=outcome_N,
                    ids=list(chunk.ids) if self._content.event_ids else [],
                    principals=None if self._access is None else self._access.principals(records),
                    input_digests=_values_digests(records) if self._content.input_digests else [],
                    output_digests=self._output_digests(result, range(first_row, first_row + count)),
                    model=chunk.model,
                )
            )
        refused = [(rejection.record, rejection.kind, "", rejection.count) for rejection in chunk.rejections]
        return parts + self._of_refused(refused, chunk.model, outcomes)

    def _of_windows(self, result: BatchResult, chunk: WindowChunk, first_row: int, outcomes: _Texts) -> list[_Part]:
        events = [(event.record, event.kind, event.id or "", event.count) for event in chunk.events.refused]
        parts = self._of_refused(events, chunk.model, outcomes)
        place, count = chunk.next_offset - 1, len(chunk.windows)
        if num_accepted := len(chunk.events.accepted):
            ms = int(chunk.events.accepted[-1])
            rows = [(place, num_accepted, ms, "accepted", "")]
            parts.append(self._of_texts(rows, chunk.model, outcomes))
        if count:
            kinds = ["window_predicted"] * count
            if result.decisions_B is not None:
                codes = result.decisions_B[first_row : first_row + count].tolist()
                kinds = ["window_abstained" if code in ABSTENTIONS else "window_predicted" for code in codes]
            for row, kind in _failed_rows(result, first_row, count).items():
                kinds[row] = _WINDOW + kind.value
            rows = [
                (place, 0, window.end, kind, window_label(window).id)
                for window, kind in zip(chunk.windows, kinds, strict=True)
            ]
            part = self._of_texts(rows, chunk.model, outcomes)
            part.output_digests = self._output_digests(result, range(first_row, first_row + count))
            parts.append(part)
        return parts

    def _of_refused(
        self,
        refused: Sequence[tuple[Record, FailureKind, str, int]],
        model: ModelRef,
        outcomes: _Texts,
    ) -> list[_Part]:
        if not refused:
            return []
        rows = [(record.offset, count, record.timestamp, kind.value, id) for record, kind, id, count in refused]
        part = self._of_texts(rows, model, outcomes)
        part.row_N = np.fromiter((getattr(entry[0], "row", NO_ROW) for entry in refused), np.int64, len(refused))
        if self._access is not None:
            part.principals = self._access.principals([entry[0] for entry in refused])
        return [part]

    def _of_texts(self, rows: Sequence[tuple[int, int, int, str, str]], model: ModelRef, outcomes: _Texts) -> _Part:
        """Return rows from tuples of offset, count, time, outcome and id."""
        count, content = len(rows), self._content
        return _Part(
            np.fromiter((row[0] for row in rows), np.int64, count),
            _filled(count, NO_ROW),
            count_N=np.fromiter((row[1] for row in rows), np.int64, count),
            event_ms_N=np.fromiter((row[2] for row in rows), np.int64, count),
            outcome_N=np.fromiter((outcomes.number(row[3]) for row in rows), np.int64, count),
            ids=[row[4] for row in rows] if content.event_ids else [],
            principals=None if self._access is None else [""] * count,
            input_digests=[""] * count if content.input_digests else [],
            output_digests=[""] * count if content.output_digests else [],
            model=model,
        )

    def _output_digests(self, result: BatchResult, rows: range) -> list[str]:
        if not self._content.output_digests:
            return []
        values_BO = np.ascontiguousarray(result.values_BO, dtype="<f4")
        return ["" if row in result.failures else hashlib.sha256(values_BO[row].tobytes()).hexdigest() for row in rows]

    def _rows(self, parts: Sequence[_Part], outcomes: Sequence[str]) -> AuditRows:
        """Return the rows of a partition, by position."""
        models, principals = _Texts(), _Texts()
        model_N = np.repeat([models.number(part.model) for part in parts], [len(part.offset_N) for part in parts])
        principals.number("")
        if self._access is None:
            principal_N = _filled(len(model_N), 0)
        else:
            texts = (text for part in parts for text in part.principals or ())
            principal_N = np.fromiter(map(principals.number, texts), np.int64, len(model_N))
        columns: dict[str, Any] = {
            f"{name}_N": np.concatenate([getattr(part, f"{name}_N") for part in parts] or [_filled(0, 0)])
            for name in ("offset", "row", "count", "event_ms", "outcome")
        }
        rows = AuditRows(
            **columns,
            model_N=model_N.astype(np.int64),
            principal_N=principal_N,
            outcomes=outcomes,
            models=models.all(),
            principals=principals.all(),
            ids=[id[:MAX_ID_LENGTH] for part in parts for id in part.ids] if self._content.event_ids else None,
            digests={
                name: [digest for part in parts for digest in getattr(part, attribute)]
                for name, attribute, is_on in (
                    ("input_sha256", "input_digests", self._content.input_digests),
                    ("output_sha256", "output_digests", self._content.output_digests),
                )
                if is_on
            },
        )
        offset_N = rows.offset_N
        if (offset_N[1:] < offset_N[:-1]).any():
            rows = rows.take(np.argsort(offset_N, kind="stable"))
        return rows

    def _require_all(self, parts: Mapping[TopicPartition, Sequence[_Part]], emission: Emission) -> None:
        audited: Counter[TopicPartition] = Counter()
        for partition, of_partition in parts.items():
            audited[partition] = sum(int(part.count_N.sum()) for part in of_partition)
        for partition, passed in emission.ledger.passed.items():
            if audited[partition] != passed:
                raise ForebayError(
                    f"{partition.topic}-{partition.partition}: {passed} records but {audited[partition]} audited outcomes in "
                    "one commit",
                    kind="audit_conservation",
                    remedy="this is a bug; nothing of this commit was sent",
                )


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


def _filled(count: int, value: int) -> Ints:
    return np.full(count, value, dtype=np.int64)


def _failed_rows(result: BatchResult, first_row: int, count: int) -> dict[int, FailureKind]:
    """Return the kinds of failure by row of the chunk. Those that the emitter found are in the result as well."""
    if not result.failures:
        return {}
    return {
        row - first_row: failure.kind
        for row, failure in result.failures.items()
        if first_row <= row < first_row + count
    }


def _values_digests(records: Sequence[Record]) -> list[str]:
    return [hashlib.sha256(record.value or b"").hexdigest() for record in records]
