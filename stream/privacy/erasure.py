"""Which records are about a key, and what can be done about them. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import orjson

from forebay.stream.core.time_format import UNBOUNDED_MS
from forebay.stream.privacy.documents import read_document

ID_FIELDS: Final = ("id", "key")


class Place(StrEnum):
    """Where a record has the key: as its own key, or in the field `id` or `key` of its value."""

    KEY = "key"
    ID = "id"
    FIELD_KEY = "field_key"


class Erasure(StrEnum):
    """What becomes of the records of a topic.

    TOMBSTONE: the topic is compacted, and a tombstone removes them.
    DONE: the newest record of the key is a tombstone already.
    RETENTION: they stay until retention removes them.
    NEVER: nothing removes them.
    """

    TOMBSTONE = "tombstone"
    DONE = "done"
    RETENTION = "retention"
    NEVER = "never"


@dataclass(slots=True)
class KeyRecords:
    """The records of a topic that are about the key.

    places: how many have it where. A record can have it in several places.
    newest_ms: the newest timestamp of a record that is not a tombstone; -1 for none.
    partitions: by partition in which it is the record's key, that key and whether its newest record is a tombstone.
    """

    num_records: int = 0
    places: Counter[Place] = field(default_factory=Counter)
    newest_ms: int = -1
    partitions: dict[tuple[int, bytes], bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErasureState:
    """What the cluster says about a topic. The settings are None if it does not return them.

    refuses_tombstones: why no tombstone may be written to it; None if one may.
    """

    cleanup_policy: str | None
    retention_ms: int | None
    refuses_tombstones: str | None = None


@dataclass(frozen=True, slots=True)
class TopicErasure:
    """What is found in a topic, and what becomes of it.

    tombstones: partition and key of each tombstone to write.
    gone_by_ms: when retention has removed the last of the records, without the rest of its segment; None if unknown or never.
    reason: why no tombstone is written.
    """

    topic: str
    found: KeyRecords
    erasure: Erasure
    tombstones: tuple[tuple[int, bytes], ...] = ()
    gone_by_ms: int | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without the key."""
        return {
            "topic": self.topic,
            "records": self.found.num_records,
            "as_key": self.found.places[Place.KEY],
            "as_id": self.found.places[Place.ID],
            "as_field_key": self.found.places[Place.FIELD_KEY],
            "erasure": self.erasure.value,
            "tombstones": len(self.tombstones),
            "gone_by_ms": self.gone_by_ms,
            "reason": self.reason,
        }


class KeySearch:
    """Finds the records that are about a key.

    forms_of: returns the texts that stand for the key in records of a time, in ms since the Unix epoch: the key itself, and its
    hashes in what workers have written.
    """

    def __init__(self, forms_of: Callable[[int], tuple[str, ...]]) -> None:
        self._forms_of = forms_of
        self.found: dict[str, KeyRecords] = {}

    def add(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Search records of a partition, in order."""
        for record in records:
            forms = self._forms_of(record.timestamp)
            keys, written = _encodings(forms)
            places = [Place.KEY] if record.key in keys else []
            # Values are parsed only if the text is in them.
            if record.value and any(form in record.value for form in written):
                places += _places_of(record.value, forms)
            if places:
                self._found(topic, partition, record, places)

    def _found(self, topic: str, partition: int, record: Any, places: Sequence[Place]) -> None:
        found = self.found.setdefault(topic, KeyRecords())
        if Place.KEY in places:
            found.partitions[partition, record.key] = record.value is None
        if record.value is None:
            return
        found.num_records += 1
        found.places.update(places)
        found.newest_ms = max(found.newest_ms, record.timestamp)


@lru_cache(maxsize=256)
def _encodings(forms: tuple[str, ...]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the texts as bytes, and as encoders write them in JSON, which escape only what they must, or all but ASCII."""
    in_json = [text for form in forms for text in (orjson.dumps(form)[1:-1], json.dumps(form)[1:-1].encode())]
    return frozenset(form.encode() for form in forms), frozenset(in_json)


def _places_of(value: bytes, forms: Collection[str]) -> list[Place]:
    document = read_document(value)
    if not isinstance(document, dict):
        return []
    places = {"id": Place.ID, "key": Place.FIELD_KEY}
    return [places[name] for name in ID_FIELDS if _text(document.get(name)) in forms]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def plan_erasure(found: Mapping[str, KeyRecords], states: Mapping[str, ErasureState]) -> list[TopicErasure]:
    """Return what becomes of the records of each topic that has some."""
    return [
        _plan_topic(topic, found[topic], states[topic])
        for topic in sorted(found)
        if found[topic].num_records or found[topic].partitions
    ]


def _plan_topic(topic: str, found: KeyRecords, state: ErasureState) -> TopicErasure:
    policy, retention_ms = state.cleanup_policy or "", state.retention_ms
    endless = "delete" not in policy or retention_ms is None or not 0 <= retention_ms < UNBOUNDED_MS
    gone_by_ms = None if endless or found.newest_ms < 0 else found.newest_ms + (retention_ms or 0)
    reason = state.refuses_tombstones
    if "compact" not in policy:
        reason = "the topic is not compacted" if state.cleanup_policy else "the cluster does not return cleanup.policy"
    if reason is None and not found.partitions:
        reason = "the key is only in values, and a tombstone removes the records of a record key"
    if reason is None:
        open_keys = tuple(place for place, is_tombstone in found.partitions.items() if not is_tombstone)
        only_keys = found.places[Place.KEY] == found.num_records
        if not open_keys and only_keys:
            return TopicErasure(topic, found, Erasure.DONE, gone_by_ms=gone_by_ms)
        if open_keys:
            reason = None if only_keys else "records of other keys name it in their values, and stay"
            return TopicErasure(
                topic, found, Erasure.TOMBSTONE, tombstones=open_keys, gone_by_ms=gone_by_ms, reason=reason
            )
        reason = "records of other keys name it in their values"
    erasure = Erasure.NEVER if gone_by_ms is None else Erasure.RETENTION
    return TopicErasure(topic, found, erasure, gone_by_ms=gone_by_ms, reason=reason)
