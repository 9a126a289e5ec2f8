"""The Faust table that restores the aggregator's state from the changelog."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from faust import Table
from faust.types import TP, EventT

from forebay.stream.aggregate.state import merge_changelog
from forebay.stream.aggregate.transport import FAUST_LOG, partitions_of

log = logging.getLogger("forebay.aggregate")

OnRestored = Callable[[int, dict[bytes, bytes]], None]


class StateTable(Table):  # type: ignore[type-arg]
    """A plain table without Faust's windows, whose keys begin with their partition.

    It differs from Faust's own table in two ways. Nothing is written through it: the agent writes the changelog and waits for
    the confirmation, because a table's own writes are flushed for only a tenth of a second before the source is committed.
    And of two records of one key, recovery keeps the one that has counted further, not the later one.
    """

    logger = FAUST_LOG
    on_restored: OnRestored

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows: dict[int, dict[bytes, bytes]] = {}

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        # Another member may have closed buckets meanwhile: read all of a newly assigned partition again.
        for partition in partitions_of(revoked | newly_assigned):
            self._rows.pop(partition, None)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        for event in batch:
            message = event.message
            if message.key is None:
                continue
            try:
                merge_changelog(self._rows.setdefault(message.partition, {}), [(message.key, message.value)])
            except (LookupError, TypeError, ValueError):
                # Recovery would log an error that is raised here, and apply the remaining records twice.
                log.error(
                    "ignored a record that is not of the changelog's format: %s-%d@%d",
                    message.topic,
                    message.partition,
                    message.offset,
                )

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        await super().on_recovery_completed(active_tps, standby_tps)
        for partition in sorted(partitions_of(active_tps)):
            self.on_restored(partition, self._rows.get(partition, {}))
