"""What went wrong lately: dead letters by kind with samples, and what the worker has warned of."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from schemas.failures import FAILURES, FailureKind, Outcome
from stream.outcomes import Ledger

KEPT_SAMPLES: Final = 5
KEPT_WARNINGS: Final = 20
MAX_MESSAGE: Final = 500


@dataclass(slots=True)
class KindErrors:
    """Of one kind since the start; message: a template without values, as in the outcome deltas."""

    count: int = 0
    last_seen_ms: int = 0
    message: str | None = None
    sample_ids: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))


class ErrorBook:
    """Dead letters by kind, of which there is a closed list."""

    def __init__(self) -> None:
        self._kinds: dict[FailureKind, KindErrors] = {}

    def committed(self, ledger: Ledger, *, wall_ms: int) -> None:
        """The outcomes of one commit."""
        if not ledger.kinds:
            return
        for key, delta in ledger.deltas.items():
            if key.outcome is Outcome.PREDICTED:
                continue
            errors = self._kinds.setdefault(FailureKind(key.kind), KindErrors())
            errors.count += delta.count
            errors.last_seen_ms = wall_ms
            errors.sample_ids.extend(delta.sample_ids)
            if delta.exemplar is not None:
                errors.message = delta.exemplar["message"]

    def to_list(self) -> list[dict[str, object]]:
        """The commonest first."""
        return [
            {
                "kind": kind.value,
                "outcome": FAILURES[kind].outcome.value,
                "stage": FAILURES[kind].stage.value,
                "count": errors.count,
                "last_seen": errors.last_seen_ms,
                "message": errors.message,
                "sample_ids": list(errors.sample_ids),
                "description": FAILURES[kind].description,
                "remedy": FAILURES[kind].remedy,
            }
            for kind, errors in sorted(self._kinds.items(), key=lambda item: -item[1].count)
        ]


class RecentWarnings(logging.Handler):
    """The last warnings and errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[dict[str, object]] = deque(maxlen=KEPT_WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(
            {
                "at": int(record.created * 1000),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage()[:MAX_MESSAGE],
            }
        )

    def to_list(self) -> list[dict[str, object]]:
        """The newest first."""
        return list(reversed(self._kept))
