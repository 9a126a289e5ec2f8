"""The rows of the audit: the outcome of every record and window of finished micro-batches. Shapes: N = rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import FailureKind
from forebay.stream.access.tokens import Denial
from forebay.stream.audit.block import NO_ROW, AuditRows
from forebay.stream.core.decisions import ABSTENTIONS
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import offsets_of
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, Record
from forebay.stream.core.rows import RowRecords
from forebay.stream.eventtime.window_chunk import WindowChunk, window_label
from forebay.stream.pipeline.audited_access import DENIALS, AccessRows, AuditedAccess

Ints = npt.NDArray[np.int64]
PREDICTED: Final = "predicted"
ABSTAINED: Final = "abstained"
ACCEPTED: Final = "accepted"
MAX_ID_LENGTH: Final = 256
_WINDOW: Final = "window:"


class AuditContent(NamedTuple):
    """What the rows have besides positions, times, models and outcomes."""

    event_ids: bool = True
    input_digests: bool = False
    output_digests: bool = False


@dataclass(slots=True)
class RowGroup:
    """Rows of one chunk.

    outcome_N: numbers of outcomes (see `OutcomeRows`).
    ids: empty if they are not recorded.
    access: None for none of the rows.
    input_digests, output_digests: by row; empty for none.
    """

    model: ModelRef
    offset_N: Ints
    row_N: Ints
    count_N: Ints
    event_ms_N: Ints
    outcome_N: Ints
    ids: Sequence[str]
    access: AccessRows | None = None
    input_digests: Sequence[str] = field(default=())
    output_digests: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.offset_N)


class _Numbers:
    """Values as small numbers, in the order of their first use."""

    def __init__(self, *first: object) -> None:
        self._numbers: dict[Any, int] = {value: number for number, value in enumerate(first)}

    def of(self, value: object) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


class OutcomeRows:
    """The rows of one commit. access: None without rules of access."""

    def __init__(self, content: AuditContent, access: AuditedAccess | None) -> None:
        self._content = content
        self._access = access
        self._outcomes = _Numbers()

    def of_part(self, result: BatchResult, part: BatchPart, first_row: int) -> list[RowGroup]:
        """Return the outcomes of a part of a micro-batch. first_row: its first row in the micro-batch."""
        if isinstance(part, WindowChunk):
            return self._of_windows(result, part, first_row)
        return self._of_events(result, cast(Chunk, part), first_row)

    def joined(self, groups: Sequence[RowGroup]) -> AuditRows:
        """Return the rows of a partition, by position. groups: at least one row in all."""
        models, principals = _Numbers(), _Numbers("")
        sizes = [len(group) for group in groups]
        columns: dict[str, Any] = {
            f"{name}_N": np.concatenate([getattr(group, f"{name}_N") for group in groups])
            for name in ("offset", "row", "count", "event_ms", "outcome")
        }
        columns["model_N"] = np.repeat([models.of(group.model) for group in groups], sizes).astype(np.int64)
        if self._access is None:
            columns |= {"principal_N": _filled(sum(sizes), 0), "denial_N": _filled(sum(sizes), 0)}
        else:
            columns |= {
                "principal_N": np.concatenate([_principal_numbers(group, principals) for group in groups]),
                "denial_N": np.concatenate([_denial_codes(group) for group in groups]),
            }
        has_denials = bool(columns["denial_N"].any())
        rows = AuditRows(
            **columns,
            outcomes=self._outcomes.all(),
            models=models.all(),
            principals=principals.all(),
            denials=DENIALS if has_denials else DENIALS[:1],
            ids=[id[:MAX_ID_LENGTH] for group in groups for id in group.ids] if self._content.event_ids else None,
            digests={
                name: [digest for group in groups for digest in (getattr(group, attribute) or [""] * len(group))]
                for name, attribute, is_on in (
                    ("input_sha256", "input_digests", self._content.input_digests),
                    ("output_sha256", "output_digests", self._content.output_digests),
                )
                if is_on
            },
        )
        if (rows.offset_N[1:] < rows.offset_N[:-1]).any():
            rows = rows.take(np.argsort(rows.offset_N, kind="stable"))
        return rows

    def by_revision(self, groups: Sequence[RowGroup]) -> list[tuple[str | None, AuditRows]]:
        """Return the rows of a partition by the revision of the policy that decided, by position. groups: at least one row.

        Windows, which no policy decides about, are with the records of their own poll.
        """
        by_revision: dict[str | None, list[RowGroup]] = {}
        revision = next((group.access.revision for group in groups if group.access is not None), None)
        for group in groups:
            revision = revision if group.access is None else group.access.revision
            by_revision.setdefault(revision, []).append(group)
        rows = [(key, self.joined(found)) for key, found in by_revision.items() if any(map(len, found))]
        return sorted(rows, key=lambda entry: int(entry[1].offset_N[0]))

    # ---- events

    def _of_events(self, result: BatchResult, chunk: Chunk, first_row: int) -> list[RowGroup]:
        groups, count = [], len(chunk.records)
        if count:
            outcome_N = _filled(count, self._outcomes.of(PREDICTED))
            if result.decisions_B is not None:
                abstained_B = np.isin(result.decisions_B[first_row : first_row + count], list(ABSTENTIONS))
                outcome_N[abstained_B] = self._outcomes.of(ABSTAINED)
            for row, kind in _failed_rows(result, first_row, count).items():
                outcome_N[row] = self._outcomes.of(kind.value)
            group = self._of_records(chunk, chunk.records, ids=chunk.ids, times=chunk.timestamps, outcome_N=outcome_N)
            group.output_digests = self._output_digests(result, range(first_row, first_row + count))
            groups.append(group)
        refused = [(rejection.record, rejection.kind, "", rejection.count) for rejection in chunk.rejections]
        return groups + self._of_refused(chunk, refused)

    def _of_records(
        self, part: BatchPart, records: Sequence[Record], *, ids: Sequence[str], times: Sequence[int], outcome_N: Ints
    ) -> RowGroup:
        """Return a row for each of these valid events. times: of the events."""
        return RowGroup(
            part.model,
            offsets_of(records),
            records.row_B.astype(np.int64) if isinstance(records, RowRecords) else _filled(len(records), NO_ROW),
            count_N=_filled(len(records), 1),
            event_ms_N=np.asarray(times, dtype=np.int64),
            outcome_N=outcome_N,
            ids=ids if self._content.event_ids else [],
            access=self._access_of(part, records),
            input_digests=_values_digests(records) if self._content.input_digests else [],
        )

    def _of_refused(self, part: BatchPart, refused: Sequence[tuple[Record, FailureKind, str, int]]) -> list[RowGroup]:
        if not refused:
            return []
        rows = [(record.offset, count, record.timestamp, kind.value, id) for record, kind, id, count in refused]
        group = self._of_tuples(part.model, rows)
        group.row_N = np.fromiter((getattr(entry[0], "row", NO_ROW) for entry in refused), np.int64, len(refused))
        access = self._access_of(part, [entry[0] for entry in refused])
        if access is not None:
            # A model that came by a rollout may be permitted, where the one that the event was read for is not.
            codes = [
                (int(code) or Denial.RULE) if entry[1] is FailureKind.DENIED else Denial.NONE
                for entry, code in zip(refused, access.denial_N, strict=True)
            ]
            group.access = access._replace(denial_N=np.array(codes, dtype=np.uint8))
        return [group]

    def _access_of(self, part: BatchPart, records: Sequence[Record]) -> AccessRows | None:
        if self._access is None or not len(records):
            return None
        return self._access.of(records, part.partition, part.model)

    # ---- windows

    def _of_windows(self, result: BatchResult, chunk: WindowChunk, first_row: int) -> list[RowGroup]:
        events = [(event.record, event.kind, event.id or "", event.count) for event in chunk.events.refused]
        groups = self._of_refused(chunk, events)
        place, count, accepted = chunk.next_offset - 1, len(chunk.windows), chunk.events.events
        if accepted is not None and len(accepted.records):
            outcome_N = _filled(len(accepted.records), self._outcomes.of(ACCEPTED))
            groups.append(
                self._of_records(
                    chunk, accepted.records, ids=accepted.ids, times=accepted.timestamps, outcome_N=outcome_N
                )
            )
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
            group = self._of_tuples(chunk.model, rows)
            group.output_digests = self._output_digests(result, range(first_row, first_row + count))
            groups.append(group)
        return groups

    def _of_tuples(self, model: ModelRef, rows: Sequence[tuple[int, int, int, str, str]]) -> RowGroup:
        """Return rows from tuples of offset, count, time, outcome and id."""
        count = len(rows)
        return RowGroup(
            model,
            np.fromiter((row[0] for row in rows), np.int64, count),
            _filled(count, NO_ROW),
            count_N=np.fromiter((row[1] for row in rows), np.int64, count),
            event_ms_N=np.fromiter((row[2] for row in rows), np.int64, count),
            outcome_N=np.fromiter((self._outcomes.of(row[3]) for row in rows), np.int64, count),
            ids=[row[4] for row in rows] if self._content.event_ids else [],
        )

    def _output_digests(self, result: BatchResult, rows: range) -> list[str]:
        if not self._content.output_digests:
            return []
        values_BO = np.ascontiguousarray(result.values_BO, dtype="<f4")
        return ["" if row in result.failures else hashlib.sha256(values_BO[row].tobytes()).hexdigest() for row in rows]


def _principal_numbers(group: RowGroup, principals: _Numbers) -> Ints:
    if group.access is None or not len(group):
        return _filled(len(group), 0)
    numbers = np.array([principals.of(text) for text in group.access.principals], dtype=np.int64)
    return numbers[group.access.principal_N]


def _denial_codes(group: RowGroup) -> Ints:
    return _filled(len(group), 0) if group.access is None else group.access.denial_N.astype(np.int64)


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
