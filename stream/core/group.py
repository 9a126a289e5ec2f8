"""A consumer group as its coordinator describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.stream.core.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Member:
    """user_data: the metadata of the member's subscription; empty while the group is being rebalanced."""

    member_id: str
    client_id: str
    host: str
    user_data: bytes
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """state: the coordinator's name for it; committed: None where there is no offset; ends: where committed records end."""

    group_id: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[TopicPartition, int | None]
    ends: Mapping[TopicPartition, int]
