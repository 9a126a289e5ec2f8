"""Recent errors of the worker: dead letters by kind with samples, and the last warnings that it logged."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.core.records import BatchResult, Chunk, Record
from forebay.stream.core.rows import row_of
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.output.ledger import Ledger

MAX_SAMPLES: Final = 5
MAX_WARNINGS: Final = 20
MAX_MESSAGE_CHARS: Final = 500


@dataclass(slots=True)
class KindErrors:
    """Errors of one kind since the start.

    message: a template without values, as in the outcome deltas.
    samples: positions of some of the last errors, as `topic-partition@offset`.
    """

    count: int = 0
    last_seen_ms: int = 0
    message: str | None = None
    samples: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))


class ErrorSummary:
    """Dead letters by kind. The kinds are a closed list, so this does not grow."""

    def __init__(self) -> None:
        self._kinds: dict[FailureKind, KindErrors] = {}

    def record_commit(self, batches: Sequence[BatchResult], ledger: Ledger, *, wall_ms: int) -> None:
        """Add the outcomes of one commit."""
        if not ledger.kinds:
            return
        for key, delta in ledger.deltas.items():
            if key.outcome.is_good:
                continue
            errors = self._kinds.setdefault(FailureKind(key.kind), KindErrors())
            errors.count += delta.count
            errors.last_seen_ms = wall_ms
            if delta.exemplar is not None:
                errors.message = delta.exemplar["message"]
        for result in batches:
            for kind, position in _samples(result):
                self._kinds.setdefault(kind, KindErrors()).samples.append(position)

    def to_list(self) -> list[dict[str, object]]:
        """Return the errors as JSON objects, the most frequent kind first."""
        return [
            {
                "kind": kind.value,
                "outcome": FAILURES[kind].outcome.value,
                "stage": FAILURES[kind].stage.value,
                "count": errors.count,
                "last_seen": errors.last_seen_ms,
                "message": errors.message,
                "samples": list(errors.samples),
                "description": FAILURES[kind].description,
                "remedy": FAILURES[kind].remedy,
            }
            for kind, errors in sorted(self._kinds.items(), key=lambda item: -item[1].count)
        ]


def _samples(result: BatchResult) -> Iterator[tuple[FailureKind, str]]:
    """Yield kind and position of the last few errors of each chunk; the cost does not grow with the number of errors."""
    first_row = 0
    for chunk in result.batch.chunks:
        name = f"{chunk.partition.topic}-{chunk.partition.partition}"
        if isinstance(chunk, WindowChunk):
            for refused in chunk.events.refused[-MAX_SAMPLES:]:
                yield refused.kind, f"{name}@{_place(refused.record)}"
            places: Sequence[object] = [window.first_offset for window in chunk.windows] if result.failures else ()
        else:
            assert isinstance(chunk, Chunk)
            for rejection in chunk.rejections[-MAX_SAMPLES:]:
                yield rejection.kind, f"{name}@{_place(rejection.record)}"
            places = list(map(_place, chunk.records)) if result.failures else ()
        rows = range(first_row, first_row + chunk.num_rows)
        for row in [row for row in result.failures if row in rows][-MAX_SAMPLES:]:
            yield result.failures[row].kind, f"{name}@{places[row - first_row]}"
        first_row += chunk.num_rows


def _place(record: Record) -> str:
    """Return the offset of an event, with its row if it has one."""
    row = row_of(record)
    return str(record.offset) if row is None else f"{record.offset} row {row}"


class RecentWarnings(logging.Handler):
    """A log handler that keeps the last warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: deque[dict[str, object]] = deque(maxlen=MAX_WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(
            {
                "at": int(record.created * 1000),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage()[:MAX_MESSAGE_CHARS],
            }
        )

    def to_list(self) -> list[dict[str, object]]:
        """Return the log records as JSON objects, the newest first."""
        return list(reversed(self._records))
