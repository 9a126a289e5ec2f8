"""What became of each published event, in arrays: an object for each would cost the time that the worker needs.

N = events published, by their place in the order of sending. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from forebay.schemas.failures import FAILURES, Outcome

NOTHING: Final = 0
CODES: Final[dict[Outcome, int]] = {Outcome.PREDICTED: 1, Outcome.REJECTED: 2, Outcome.FAILED: 3}
_SPECS: Final = {str(kind): spec for kind, spec in FAILURES.items()}
_MOST_SHOWN: Final = 10


class Ledger:
    """Keeps the first outcome of each event and counts all of them."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self._place = {event_id: place for place, event_id in enumerate(ids)}
        if len(self._place) != len(ids):
            raise ValueError("the ids are not unique")
        count = len(ids)
        self.due_s_N = np.full(count, np.nan)
        """When each event was to be sent; NaN while it is not."""
        self.readable_s_N = np.full(count, np.nan)
        """When a subscriber had its first outcome in hand; NaN while there is none."""
        self.outcome_N = np.zeros(count, dtype=np.int8)
        self.num_outcomes_N = np.zeros(count, dtype=np.int32)
        self.probability_N = np.full(count, np.nan, dtype=np.float32)
        """What was predicted as the chance of class 1."""
        self.kinds: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """One message for each kind of failure."""
        self.unexpected: list[str] = []
        """The first few ids that nobody had published."""
        self.num_unexpected = 0
        self.num_sent = 0
        self.num_accounted = 0
        """Events that have at least one outcome."""

    def sent(self, first: int, until: int, due_s: Sequence[float] | float) -> None:
        """Events from place `first` up to `until` went out; `due_s` is when they were to."""
        self.due_s_N[first:until] = due_s
        self.num_sent = until

    def predicted(self, event_id: str, probability: float, now_s: float) -> None:
        """A prediction was read."""
        place = self._count(event_id, Outcome.PREDICTED, now_s)
        if place is not None:
            self.probability_N[place] = probability

    def dead_letter(self, event_id: str, kind: str, message: str, now_s: float) -> None:
        """A dead letter was read. A kind that is not in the table, or of windows, counts as failed."""
        spec = _SPECS.get(kind)
        outcome = Outcome.FAILED if spec is None or spec.outcome not in CODES else spec.outcome
        if self._count(event_id, outcome, now_s) is not None:
            self.kinds[kind] += 1
            self.examples.setdefault(kind, message)

    def record_unexpected(self, what: str) -> None:
        """A record was read that belongs to no published event."""
        self.num_unexpected += 1
        if len(self.unexpected) < _MOST_SHOWN:
            self.unexpected.append(what)

    def _count(self, event_id: str, outcome: Outcome, now_s: float) -> int | None:
        """The event's place where this is its first outcome."""
        place = self._place.get(event_id)
        if place is None:
            self.record_unexpected(event_id)
            return None
        self.num_outcomes_N[place] += 1
        if self.num_outcomes_N[place] > 1:
            return None
        self.outcome_N[place] = CODES[outcome]
        self.readable_s_N[place] = now_s
        self.num_accounted += 1
        return place

    def num(self, outcome: Outcome) -> int:
        """How many events have this outcome."""
        return int(np.count_nonzero(self.outcome_N == CODES[outcome]))

    @property
    def complete(self) -> bool:
        """Whether every event has an outcome."""
        return self.num_accounted == len(self.ids)
