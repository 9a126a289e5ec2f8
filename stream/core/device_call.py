"""How a micro-batch ran on a device."""

from __future__ import annotations

from typing import NamedTuple


class DeviceCall(NamedTuple):
    """How a micro-batch ran on a device whose calls overlap.

    bucket: number of rows for which the memory is reserved.
    is_graph: whether it replayed a captured graph, which computes all rows of the bucket.
    wait_s: how long the thread waited for the results.
    """

    num_rows: int
    bucket: int
    is_graph: bool
    wait_s: float

    @property
    def num_padding(self) -> int:
        """The number of rows that the device computed in addition."""
        return self.bucket - self.num_rows if self.is_graph else 0
