"""A consumer group as its coordinator describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.stream.core.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group. user_data: metadata of its subscription; empty during a rebalance."""

    member_id: str
    client_id: str
    host: str
    user_data: bytes
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """The state of a consumer group at one moment.

    state: the coordinator's name of the state.
    committed: committed offset by partition; None without one.
    ends: last stable offset by partition.
    """

    group_id: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[TopicPartition, int | None]
    ends: Mapping[TopicPartition, int]
