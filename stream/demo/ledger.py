"""The outcome of each published event, in arrays: an object per event would take CPU time that the worker needs.

N: published events, by their index in the order of sending. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import FAILURES, Outcome
from forebay.stream.demo.evaluated import EvaluatedVersion

CODES: Final[dict[Outcome, int]] = {Outcome.PREDICTED: 1, Outcome.REJECTED: 2, Outcome.FAILED: 3}
_SPECS: Final = {str(kind): spec for kind, spec in FAILURES.items()}
_MAX_EXAMPLES: Final = 10


class Ledger:
    """Keeps the first outcome of each event, and counts all outcomes.

    ids: ids of the events in the order of sending.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self._index = {event_id: index for index, event_id in enumerate(ids)}
        if len(self._index) != len(ids):
            raise ValueError("the ids are not unique")
        count = len(ids)
        self.due_s_N = np.full(count, np.nan)
        """When each event was due to be sent; NaN before it is sent."""
        self.readable_s_N = np.full(count, np.nan)
        """When the subscriber had read the first outcome; NaN before."""
        self.outcome_N = np.zeros(count, dtype=np.int8)
        self.num_outcomes_N = np.zeros(count, dtype=np.int32)
        self.probability_N = np.full(count, np.nan, dtype=np.float32)
        """The predicted probability of class 1."""
        self.kinds: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """One error message for each failure kind."""
        self.unexpected: list[str] = []
        """The first ids that were read but not published."""
        self.num_unexpected = 0
        self.evaluated: tuple[EvaluatedVersion, ...] = ()
        """The quality of each version so far, as the evaluator publishes it."""
        self.num_sent = 0
        self.num_accounted = 0
        """The number of events with at least one outcome."""

    def record_sent(self, first: int, until: int, due_s: Sequence[float] | float) -> None:
        """Record that the events from index `first` to before `until` were sent. due_s: when they were due."""
        self.due_s_N[first:until] = due_s
        self.num_sent = until

    def record_prediction(self, event_id: str, probability: float, now_s: float) -> None:
        """Record that a prediction was read."""
        index = self._count(event_id, Outcome.PREDICTED, now_s)
        if index is not None:
            self.probability_N[index] = probability

    def record_dead_letter(self, event_id: str, kind: str, message: str, now_s: float) -> None:
        """Record that a dead letter was read. An unknown kind, or a kind of windows, counts as failed."""
        spec = _SPECS.get(kind)
        outcome = Outcome.FAILED if spec is None or spec.outcome not in CODES else spec.outcome
        if self._count(event_id, outcome, now_s) is not None:
            self.kinds[kind] += 1
            self.examples.setdefault(kind, message)

    def record_unexpected(self, description: str) -> None:
        """Record that a record was read that does not belong to a published event."""
        self.num_unexpected += 1
        if len(self.unexpected) < _MAX_EXAMPLES:
            self.unexpected.append(description)

    def _count(self, event_id: str, outcome: Outcome, now_s: float) -> int | None:
        """Count an outcome. Return the event's index if it is the event's first outcome, else None."""
        index = self._index.get(event_id)
        if index is None:
            self.record_unexpected(event_id)
            return None
        self.num_outcomes_N[index] += 1
        if self.num_outcomes_N[index] > 1:
            return None
        self.outcome_N[index] = CODES[outcome]
        self.readable_s_N[index] = now_s
        self.num_accounted += 1
        return index

    def num_with(self, outcome: Outcome) -> int:
        """Return the number of events whose first outcome is this one."""
        return int(np.count_nonzero(self.outcome_N == CODES[outcome]))

    def num_labelled(self, labels_N: npt.NDArray[np.int8]) -> int:
        """Return the number of predicted events that have a label. labels_N: as in `Replay`."""
        return int(np.count_nonzero((self.outcome_N == CODES[Outcome.PREDICTED]) & (labels_N >= 0)))

    @property
    def complete(self) -> bool:
        """Whether every event has an outcome."""
        return self.num_accounted == len(self.ids)
