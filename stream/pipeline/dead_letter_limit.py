"""The limit on dead letters. It stops a worker that would turn its whole input into dead letters, for example because of a
wrong topic or model or a broken producer. Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from forebay.schemas.errors import DataError
from forebay.schemas.failures import FailureKind, Outcome
from forebay.stream.output.ledger import Ledger


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """Limits on dead letters.

    max_ratio: largest share of dead letters among the last `window_events` outcomes; 1 for no limit.
    max_in_a_row: largest number of dead letters without a prediction in between; None for no limit.
    counts_denied: whether denied events count. If not, they count neither as dead letters nor as events.
    """

    max_ratio: float
    window_events: int
    max_in_a_row: int | None
    counts_denied: bool = True


class DeadLetterLimit:
    """Checks each commit before anything is sent. A commit that exceeds a limit is not made; its events will be read again."""

    def __init__(self, limits: DeadLetterLimits) -> None:
        self._limits = limits
        self._last: deque[tuple[int, int]] = deque()
        self._num_events = self._num_letters = self._in_a_row = 0

    def check(self, ledger: Ledger) -> None:
        """Raise DataError, with the most common kind of failure, if this commit would exceed a limit."""
        limits = self._limits
        in_a_row = self._in_a_row_after(ledger)
        if limits.max_in_a_row is not None and in_a_row > limits.max_in_a_row:
            raise self._error(
                f"{in_a_row:,} dead letters in a row (limits.max_dead_letters_in_a_row is {limits.max_in_a_row:,})",
                ledger,
            )
        events = self._num_events + self._events_of(ledger)
        letters = self._num_letters + self._letters_of(ledger)
        if events >= limits.window_events and letters > limits.max_ratio * events:
            raise self._error(
                f"{letters / events:.1%} of the last {events:,} events are dead letters "
                f"(limits.max_dead_letter_ratio is {limits.max_ratio:g})",
                ledger,
            )

    def on_committed(self, ledger: Ledger) -> None:
        """Record a successful commit."""
        self._in_a_row = self._in_a_row_after(ledger)
        events, letters = self._events_of(ledger), self._letters_of(ledger)
        self._last.append((events, letters))
        self._num_events += events
        self._num_letters += letters
        while self._num_events - self._last[0][0] >= self._limits.window_events:
            old_events, old_letters = self._last.popleft()
            self._num_events -= old_events
            self._num_letters -= old_letters

    def _in_a_row_after(self, ledger: Ledger) -> int:
        # The order within a commit is unknown: any prediction in it restarts the count.
        has_good = any(ledger.outcomes[outcome] for outcome in Outcome if outcome.is_good)
        return 0 if has_good else self._in_a_row + self._letters_of(ledger)

    def _error(self, problem: str, ledger: Ledger) -> DataError:
        ((kind, count),) = ledger.kinds.most_common(1)
        return DataError(
            f"{problem}; most common in this commit: {kind} ({count:,})",
            kind="dead_letter_limit",
            remedy="see `forebay dlq stats` and `forebay dlq list`; fix the producer, the topic or the model, or raise "
            "the limit. Uncommitted events will be read again",
        )

    def _events_of(self, ledger: Ledger) -> int:
        return ledger.outcomes.total() - ledger.num_without_letter - self._ignored(ledger)

    def _letters_of(self, ledger: Ledger) -> int:
        # An unreadable batch is one letter, whatever number of records it states: one batch must not stop a worker.
        letters = sum(count for outcome, count in ledger.outcomes.items() if outcome.is_letter)
        return letters - ledger.num_without_letter - self._ignored(ledger)

    def _ignored(self, ledger: Ledger) -> int:
        return 0 if self._limits.counts_denied else ledger.kinds[FailureKind.DENIED.value]
