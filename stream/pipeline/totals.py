"""Totals of what a worker has committed since its start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from forebay.schemas.failures import Outcome
from forebay.stream.core.quantities import quantity
from forebay.stream.output.ledger import Ledger

_OF_WINDOWS: Final = frozenset({Outcome.ACCEPTED, Outcome.LATE, Outcome.WINDOW_PREDICTED, Outcome.WINDOW_FAILED})


@dataclass(slots=True)
class Totals:
    """Sums over all commits of a worker."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    commits: int = 0
    rewinds: int = 0

    def add(self, ledger: Ledger, batches: int) -> None:
        """Add one commit of `batches` micro-batches."""
        self.outcomes.update(ledger.outcomes)
        self.kinds.update(ledger.kinds)
        self.batches += batches
        self.commits += 1

    def __str__(self) -> str:
        """Return one line: the number of events and their outcomes."""
        events = {outcome: count for outcome, count in self.outcomes.items() if not outcome.of_window}
        windowed = any(count and outcome in _OF_WINDOWS for outcome, count in self.outcomes.items())
        usual = (Outcome.ACCEPTED if windowed else Outcome.PREDICTED, Outcome.REJECTED, Outcome.FAILED)
        shown = [outcome for outcome in Outcome if outcome in usual or events.get(outcome)]
        parts = [f"{events.get(outcome, 0):,} {outcome.value}" for outcome in shown]
        summary = f"{quantity(sum(events.values()), 'event')} committed = {' + '.join(parts)}"
        if not windowed:
            return summary
        predicted, failed = self.outcomes[Outcome.WINDOW_PREDICTED], self.outcomes[Outcome.WINDOW_FAILED]
        return f"{summary}; {quantity(predicted + failed, 'window')} = {predicted:,} predicted + {failed:,} failed"
