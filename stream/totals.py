"""What a worker has committed since it started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.failures import Outcome
from stream.outcomes import Ledger


@dataclass(slots=True)
class Totals:
    """Sums over all commits."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    commits: int = 0
    rewinds: int = 0

    def add(self, ledger: Ledger, batches: int) -> None:
        self.outcomes.update(ledger.outcomes)
        self.kinds.update(ledger.kinds)
        self.batches += batches
        self.commits += 1
