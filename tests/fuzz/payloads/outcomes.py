"""What became of polls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What became of polls.

    kinds: how many records ended how: "row", "document", or the kind of the rejection.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    decode_s: float = 0.0
    slowest_poll_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Add what became of other polls."""
        self.kinds.update(other.kinds)
        self.rows += other.rows
        self.decode_s += other.decode_s
        self.slowest_poll_s = max(self.slowest_poll_s, other.slowest_poll_s)

    def add_time(self, elapsed_s: float) -> None:
        """Add the time of one poll."""
        self.decode_s += elapsed_s
        self.slowest_poll_s = max(self.slowest_poll_s, elapsed_s)
