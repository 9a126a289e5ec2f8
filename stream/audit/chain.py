"""Chains of blocks: their names, their heads, and how a head travels in the metadata of a committed offset.

    <what else the metadata has> | forebay-audit1 17 9f86d081...

A chain belongs to one input partition of one consumer group. Only the owner of the partition extends it, and its head is
committed with the offset, in the transaction that holds the block. So the next owner continues it, whatever became of the last.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.records import Committed, TopicPartition

FORMAT: Final = "forebay-audit1"
MAX_METADATA_BYTES: Final = 4096
"""What Kafka stores with an offset (`offset.metadata.max.bytes`)."""
METADATA_ROOM: Final = 110
"""The bytes that a head needs of it at most."""
_SEPARATOR: Final = " | "
_HEAD: Final = re.compile(r"(?:(?P<inner>.*) \| )?forebay-audit(?P<format>\d+) (?P<rest>[^|]*)", re.DOTALL)
_REST: Final = re.compile(r"(\d{1,18}) ([0-9a-f]{64})")


ACTIONS: Final = "actions:"
"""What the name of a process follows in the place of a topic. No topic can be called so."""


class ChainName(NamedTuple):
    """The chain of an input partition, or of the actions of a process. group: id of the workers' consumer group."""

    group: str
    topic: str
    partition: int

    @property
    def is_of_actions(self) -> bool:
        """Whether the chain has the actions of a process."""
        return self.topic.startswith(ACTIONS)

    def __str__(self) -> str:
        return f"{self.group}|{self.topic}|{self.partition}"


class ChainHead(NamedTuple):
    """The last block of a chain. digest: SHA-256 of its value, in hexadecimal."""

    sequence: int
    digest: str


class Place(NamedTuple):
    """Where a block is in the audit topic."""

    partition: int
    offset: int


BEFORE_FIRST: Final = ChainHead(-1, "0" * 64)
"""What the first block of a chain follows."""


def block_digest(value: bytes) -> str:
    """Return the digest of a block, which the next block of the chain names."""
    return hashlib.sha256(value).hexdigest()


def join_metadata(inner: str, head: ChainHead | None) -> str:
    """Return the metadata of an offset. inner: that of windows and rollouts; head: None before the first block.

    Raises ForebayError if it is too long.
    """
    if head is None:
        return inner
    text = f"{FORMAT} {head.sequence} {head.digest}"
    if inner:
        text = inner + _SEPARATOR + text
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ForebayError(
            f"the metadata of an offset would have {len(text.encode())} bytes; Kafka stores at most {MAX_METADATA_BYTES}",
            kind="offset_metadata_too_large",
            remedy="set audit.enabled = false, or serve fewer models with rollouts or windows in one worker; nothing of this "
            "commit was sent",
        )
    return text


def split_metadata(partition: TopicPartition, committed: Committed) -> tuple[ChainHead | None, Committed]:
    """Return the head in the metadata of an offset, and the offset without it. Raises BrokerError for a later format."""
    found = _HEAD.fullmatch(committed.metadata)
    if found is None:
        return None, committed
    rest = _REST.fullmatch(found["rest"])
    if found["format"] != "1" or rest is None:
        raise BrokerError(
            f"{partition.topic}-{partition.partition}: the metadata of the committed offset has "
            f"{committed.metadata[found.start('format') - 13 :][:60]!r}; this version reads {FORMAT}",
            kind="audit_state_unknown",
            remedy="a later version of Forebay wrote it: upgrade this one, or use another group_id",
        )
    return ChainHead(int(rest[1]), rest[2]), committed._replace(metadata=found["inner"] or "")
