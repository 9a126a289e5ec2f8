"""Decides when an open micro-batch is closed early, because waiting for more events would only delay it (decision 41)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay.stream.core.records import BatchResult
from forebay.stream.pipeline.in_flight import InFlight

FEW_EVENTS: Final = 256
"""A poll that returns more shows a backlog, or a rate at which waiting for larger micro-batches pays."""


class EarlyClosing:
    """Watches polls and commits. enabled: False if something else decides how long micro-batches wait."""

    def __init__(self, in_flight: InFlight, *, enabled: bool) -> None:
        self._in_flight = in_flight
        self._enabled = enabled
        self._polled_few = False
        self._committing = 0

    def on_polled(self, num_events: int) -> None:
        """Record how many events the last poll returned."""
        self._polled_few = num_events <= FEW_EVENTS

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        """Record the results of the commit that begins."""
        self._committing = sum(result.is_last_part for result in batches)

    def on_commit_ended(self) -> None:
        """Record that no commit is in progress."""
        self._committing = 0

    @property
    def is_due(self) -> bool:
        """Whether no closed micro-batch waits for the next commit, so that it can have the open ones."""
        return self._enabled and self._polled_few and self._in_flight.batches <= self._committing
