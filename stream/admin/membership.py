"""What a worker tells of itself in the group: the members of the consumer group are the register of services. Pure.

It travels as the user data of the member's subscription, which the group's coordinator keeps and anybody who may describe the
group can read. It is part of a join, so it holds only what does not change while the worker lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from stream.records import Partition

FORMAT: Final = 1
MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Advertisement:
    """worker: its instance; url: of its admin HTTP, None where that is off; release: the version of Forebay."""

    worker: str
    url: str | None
    model: str
    version: int
    release: str

    def encode(self) -> bytes:
        return orjson.dumps({"forebay": FORMAT, **asdict(self)})


def decode_advertisement(user_data: bytes | None) -> Advertisement | None:
    """What a member tells; None where it is no worker of ours, or says nothing that could be understood."""
    try:
        told = orjson.loads(user_data or b"")
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("forebay") != FORMAT:
        return None
    worker, url, model, version, release = (told.get(n) for n in ("worker", "url", "model", "version", "release"))
    if not (isinstance(worker, str) and isinstance(model, str) and isinstance(release, str)):
        return None
    if not (url is None or (isinstance(url, str) and url.startswith(("http://", "https://")))):
        return None
    if not isinstance(version, int):
        return None
    return Advertisement(
        worker[:MAX_TEXT], url if url is None else url[:MAX_TEXT], model[:MAX_TEXT], version, release[:MAX_TEXT]
    )


@dataclass(frozen=True, slots=True)
class Member:
    """user_data: what it told at its join; empty while the group is being rebalanced."""

    member_id: str
    client_id: str
    host: str
    user_data: bytes
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class GroupLook:
    """state: as the coordinator calls it; committed: None where there is no offset; ends: where committed records end."""

    group_id: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[Partition, int | None]
    ends: Mapping[Partition, int]
