"""The client's round robin, whose members say something of themselves when they join."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata


class AdvertisingAssignor(RoundRobinPartitionAssignor):
    """user_data is asked for at each join. Under the plain assignor's name, so that both can be members of one group."""

    def __init__(self, user_data: Callable[[], bytes]) -> None:
        self._user_data = user_data

    def metadata(self, topics: Iterable[str]) -> Any:
        # The client's own is a class method; it calls it on whatever it was given, here an object.
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._user_data())
