"""Stops a worker that would only drain its input into the dead letters: a wrong topic or model, a broken producer. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from forebay.schemas.errors import DataError
from forebay.schemas.failures import Outcome
from forebay.stream.output.ledger import Ledger


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """max_ratio: of the dead letters among the last `window_events` outcomes, 1 for any; max_in_a_row: without a prediction in
    between, None for any number."""

    max_ratio: float
    window_events: int
    max_in_a_row: int | None


class DeadLetterLimit:
    """Looks at each commit before anything is sent: what passes a limit is not committed, and will be read again."""

    def __init__(self, limits: DeadLetterLimits) -> None:
        self._limits = limits
        self._last: deque[tuple[int, int]] = deque()
        self._num_events = self._num_letters = self._in_a_row = 0

    def check(self, ledger: Ledger) -> None:
        """Raises DataError, with the commonest kind, where this commit would pass a limit."""
        limits = self._limits
        in_a_row = self._row_with(ledger)
        if limits.max_in_a_row is not None and in_a_row > limits.max_in_a_row:
            raise self._limit(
                f"{in_a_row:,} dead letters in a row (limits.max_dead_letters_in_a_row is {limits.max_in_a_row:,})",
                ledger,
            )
        events = self._num_events + _events(ledger)
        letters = self._num_letters + _letters(ledger)
        if events >= limits.window_events and letters > limits.max_ratio * events:
            raise self._limit(
                f"{letters / events:.1%} of the last {events:,} events are dead letters "
                f"(limits.max_dead_letter_ratio is {limits.max_ratio:g})",
                ledger,
            )

    def on_committed(self, ledger: Ledger) -> None:
        """This commit went through."""
        self._in_a_row = self._row_with(ledger)
        events, letters = _events(ledger), _letters(ledger)
        self._last.append((events, letters))
        self._num_events += events
        self._num_letters += letters
        while self._num_events - self._last[0][0] >= self._limits.window_events:
            old_events, old_letters = self._last.popleft()
            self._num_events -= old_events
            self._num_letters -= old_letters

    def _row_with(self, ledger: Ledger) -> int:
        # Within a commit the order is lost: one prediction anywhere in it counts as the end of the row.
        good = any(ledger.outcomes[outcome] for outcome in Outcome if outcome.is_good)
        return 0 if good else self._in_a_row + _letters(ledger)

    def _limit(self, what: str, ledger: Ledger) -> DataError:
        ((kind, count),) = ledger.kinds.most_common(1)
        return DataError(
            f"{what}; the commonest kind just now: {kind} ({count:,})",
            kind="dead_letter_limit",
            remedy="`forebay dlq stats` and `forebay dlq list` show them; mend the producer, the topic or the model, or raise "
            "the limit. What this worker has not committed will be read again",
        )


def _events(ledger: Ledger) -> int:
    return ledger.outcomes.total() - ledger.num_without_letter


def _letters(ledger: Ledger) -> int:
    # A batch that cannot be read is one letter, however many records it states: one batch must not stop a worker.
    return sum(count for outcome, count in ledger.outcomes.items() if outcome.is_letter) - ledger.num_without_letter
