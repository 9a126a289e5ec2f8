"""The group coordinator: members, generations, and committed offsets with those of open transactions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from forebay.stream.core.records import Committed, TopicPartition
from tests.simulation.world import World

NONE: Final = 0
ILLEGAL_GENERATION: Final = 22
UNKNOWN_MEMBER_ID: Final = 25
REBALANCE_IN_PROGRESS: Final = 27
UNSTABLE_OFFSET_COMMIT: Final = 88
LOOK_S: Final = 0.25

Reply = Callable[[Any], None]


@dataclass(slots=True, eq=False)
class Member:
    """A member of the group. joining, syncing: the answers that it waits for."""

    id: str
    metadata: bytes
    protocol: str
    session_timeout_s: float
    heard_s: float
    joining: Reply | None = None
    syncing: Reply | None = None


class _Pending(NamedTuple):
    order: int
    committed: Committed


class Group:
    """The coordinator of one group.

    on_committed: called with each partition whose committed offset changes, the offset before and the offset now.
    """

    def __init__(self, world: World, on_committed: Callable[[TopicPartition, int, int], None]) -> None:
        self._world = world
        self._on_committed = on_committed
        self.generation = 0
        self.members: dict[str, Member] = {}
        self._num_members = 0
        self._rebalance_until_s: float | None = None
        self._assignment: dict[str, bytes] | None = None
        self.offsets: dict[TopicPartition, Committed] = {}
        self._orders: dict[TopicPartition, int] = {}
        self._writes = 0
        self._pending: dict[int, dict[TopicPartition, _Pending]] = {}
        world.after(LOOK_S, self._look)

    # ---- membership

    @property
    def is_rebalancing(self) -> bool:
        """Whether the coordinator waits for members to join."""
        return self._rebalance_until_s is not None

    def join(self, request: Any, reply: Reply) -> None:
        """Answer JoinGroup once all members have joined, or the rebalance timeout is over."""
        ((protocol, metadata), *_) = request.group_protocols
        member = self.members.get(request.member_id)
        if member is None:
            if request.member_id:
                return reply(_join_error(UNKNOWN_MEMBER_ID))
            self._num_members += 1
            member = Member(f"member-{self._num_members}", metadata, protocol, session_timeout_s=0.0, heard_s=0.0)
            self.members[member.id] = member
        member.metadata, member.session_timeout_s = metadata, request.session_timeout / 1000
        member.joining, member.heard_s = reply, self._world.now_s
        if self._rebalance_until_s is None:
            self._begin_rebalance(request.rebalance_timeout / 1000)
        self._complete_join()

    def sync(self, request: Any, reply: Reply) -> None:
        """Answer SyncGroup once the leader has sent the assignment."""
        if code := self._code(request.member_id, request.generation_id):
            return reply(SimpleNamespace(error_code=code, member_assignment=b""))
        if self.is_rebalancing:
            return reply(SimpleNamespace(error_code=REBALANCE_IN_PROGRESS, member_assignment=b""))
        member = self.members[request.member_id]
        member.syncing, member.heard_s = reply, self._world.now_s
        if request.group_assignment:
            self._assignment = dict(request.group_assignment)
        if self._assignment is not None:
            for other in self.members.values():
                if other.syncing is not None:
                    assignment = self._assignment.get(other.id, b"")
                    other.syncing(SimpleNamespace(error_code=NONE, member_assignment=assignment))
                    other.syncing = None

    def heartbeat(self, member_id: str, generation: int) -> int:
        """Take a heartbeat; return an error code."""
        if code := self._code(member_id, generation):
            return code
        self.members[member_id].heard_s = self._world.now_s
        return REBALANCE_IN_PROGRESS if self.is_rebalancing else NONE

    def leave(self, member_id: str) -> int:
        """Remove a member; return an error code."""
        if member_id not in self.members:
            return UNKNOWN_MEMBER_ID
        self._remove(member_id)
        return NONE

    def _code(self, member_id: str, generation: int) -> int:
        if member_id not in self.members:
            return UNKNOWN_MEMBER_ID
        return NONE if generation == self.generation else ILLEGAL_GENERATION

    def _begin_rebalance(self, timeout_s: float) -> None:
        self._rebalance_until_s = self._world.now_s + timeout_s
        for member in self.members.values():
            if member.syncing is not None:
                member.syncing(SimpleNamespace(error_code=REBALANCE_IN_PROGRESS, member_assignment=b""))
                member.syncing = None

    def _complete_join(self) -> None:
        if any(member.joining is None for member in self.members.values()):
            return
        self._rebalance_until_s = None
        self._assignment = None
        self.generation += 1
        members = sorted(self.members.values(), key=lambda member: member.id)
        for member in members:
            assert member.joining is not None
            member.heard_s = self._world.now_s
            is_leader = member is members[0]
            member.joining(
                SimpleNamespace(
                    API_VERSION=5,
                    error_code=NONE,
                    generation_id=self.generation,
                    group_protocol=member.protocol,
                    leader_id=members[0].id,
                    member_id=member.id,
                    members=[(other.id, None, other.metadata) for other in members] if is_leader else [],
                )
            )
            member.joining = None

    def _remove(self, member_id: str) -> None:
        del self.members[member_id]
        if self._rebalance_until_s is None and self.members:
            self._begin_rebalance(8.0)
        if self.members:
            self._complete_join()
        else:
            self._rebalance_until_s = None

    def _look(self) -> None:
        """Remove the members that are silent, and those for which a rebalance does not wait any longer."""
        now_s = self._world.now_s
        is_over = now_s >= (math.inf if self._rebalance_until_s is None else self._rebalance_until_s)
        for member in list(self.members.values()):
            if member.joining is None and (is_over or now_s - member.heard_s > member.session_timeout_s):
                self._remove(member.id)
        self._world.after(LOOK_S, self._look)

    # ---- offsets

    def fetch(self, partitions: Collection[TopicPartition], *, require_stable: bool) -> dict[TopicPartition, Any]:
        """Return the committed offset of each partition, None, or an error code."""
        unstable = {partition for offsets in self._pending.values() for partition in offsets} if require_stable else ()
        return {
            partition: UNSTABLE_OFFSET_COMMIT if partition in unstable else self.offsets.get(partition)
            for partition in partitions
        }

    def commit(self, offsets: Mapping[TopicPartition, Committed], member_id: str, generation: int) -> int:
        """Commit offsets outside of a transaction; return an error code."""
        if generation >= 0 or self.members:
            if code := self._code(member_id, generation):
                return code
            self.members[member_id].heard_s = self._world.now_s
        self._writes += 1
        for partition, committed in offsets.items():
            self._apply(partition, _Pending(self._writes, committed))
        return NONE

    def commit_in_transaction(
        self, offsets: Mapping[TopicPartition, Committed], producer_id: int, member_id: str, generation: int
    ) -> int:
        """Add offsets to an open transaction; return an error code. Without member and generation nothing is checked."""
        if (generation >= 0 or member_id) and (code := self._code(member_id, generation)):
            return code
        self._writes += 1
        pending = self._pending.setdefault(producer_id, {})
        pending.update({partition: _Pending(self._writes, committed) for partition, committed in offsets.items()})
        return NONE

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Apply or drop the offsets of a transaction."""
        for partition, pending in self._pending.pop(producer_id, {}).items():
            if commit and pending.order > self._orders.get(partition, 0):
                self._apply(partition, pending)

    def _apply(self, partition: TopicPartition, pending: _Pending) -> None:
        before = self.offsets.get(partition)
        self.offsets[partition], self._orders[partition] = pending.committed, pending.order
        self._on_committed(partition, 0 if before is None else before.offset, pending.committed.offset)


def _join_error(code: int) -> Any:
    return SimpleNamespace(API_VERSION=5, error_code=code, generation_id=-1, member_id="", members=[])
