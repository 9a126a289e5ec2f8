"""The client's round robin, whose members say something of themselves when they join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata


class AdvertisingAssignor(RoundRobinPartitionAssignor):
    """Under the plain assignor's name, so that both can be members of one group.

    user_data: asked for at each join; on_members: called with every member's, in the member that leads the group.
    """

    def __init__(self, user_data: Callable[[], bytes], on_members: Callable[[Sequence[bytes]], None]) -> None:
        self._user_data = user_data
        self._on_members = on_members

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> Any:
        """Assign as the plain assignor does. The client's own is a class method, as `metadata` is."""
        self._on_members([member.user_data or b"" for member in members.values()])
        return super().assign(cluster, members)

    def metadata(self, topics: Iterable[str]) -> Any:
        # The client's own is a class method; it calls it on whatever it was given, here an object.
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._user_data())
