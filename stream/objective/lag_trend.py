"""How many events arrive, and whether those that are not read become more, from polls of the consumer lag."""

from __future__ import annotations

from collections.abc import Mapping


class LagTrend:
    """Compares each poll of the lag with the one before.

    records: events that are not read; None before the first poll.
    arrival_rate: events per second that were published between the last two polls; None if unknown.
    growth: how many events per second the lag grows.
    """

    def __init__(self) -> None:
        self._last: tuple[float, dict[object, int], int] | None = None
        self.records: int | None = None
        self.arrival_rate: float | None = None
        self.growth = 0.0

    def add(self, ends: Mapping[object, int], records: int, *, now_s: float) -> None:
        """Take a poll. ends: end offsets of the assigned partitions."""
        last, self._last = self._last, (now_s, dict(ends), records)
        self.records, self.arrival_rate, self.growth = records, None, 0.0
        # After a rebalance other partitions are counted.
        if last is not None and last[1].keys() == ends.keys() and now_s > last[0]:
            passed_s = now_s - last[0]
            self.arrival_rate = max(0.0, (sum(ends.values()) - sum(last[1].values())) / passed_s)
            self.growth = (records - last[2]) / passed_s
