"""The client's round-robin assignor, with user data that each member sends when it joins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata


class AdvertisingAssignor(RoundRobinPartitionAssignor):
    """A round-robin assignor with user data. It keeps the name of the client's own, so that both can be in one group.

    user_data: called at each join for this member's data.
    on_members: called with the data of all members, in the member that leads the group.
    """

    def __init__(self, user_data: Callable[[], bytes], on_members: Callable[[Sequence[bytes]], None]) -> None:
        self._user_data = user_data
        self._on_members = on_members

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> Any:
        """Assign as the client's round-robin assignor does."""
        self._on_members([member.user_data or b"" for member in members.values()])
        return super().assign(cluster, members)

    def metadata(self, topics: Iterable[str]) -> Any:
        # In the client, `assign` and `metadata` are class methods; it calls them on what it is configured with, an object here.
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._user_data())
