"""The history of replays: which dead letters hold the same event, which was replayed and failed again. Pure.

The headers `forebay.replay.*` come with the event, and every producer can write them. They are therefore only a hint where
to look: a dead letter was replayed from an earlier one if both hold the same event (source topic, key, value and headers).
Replays are counted by the dead letters that are found this way, whatever a header states.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forebay.schemas import headers as names
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, Headers, Position

_REPLAY_HEADERS: Final = (names.REPLAY_COUNT, names.REPLAY_FROM)
_TRUNCATED: Final = re.compile(r"\d+ sha256:(?P<digest>[0-9a-f]{64})", re.ASCII)
_DIGEST_BYTES: Final = 16


def event_headers(dead_letter: DeadLetter) -> Headers:
    """Return the headers of the event as a replay publishes them, without those that count replays."""
    headers = [(name, value) for name, value in dead_letter.headers if name.lower() not in _REPLAY_HEADERS]
    if (
        dead_letter.is_f32
        and dead_letter.header(names.TIMESTAMP) is None
        and 0 <= (dead_letter.source_timestamp or -1) <= MAX_TIMESTAMP_MS
    ):
        # The time of a float32 event is its record's timestamp, which changes with a replay.
        headers.append((names.TIMESTAMP, b"%d" % (dead_letter.source_timestamp or 0)))
    return tuple(headers)


def fingerprint(dead_letter: DeadLetter) -> bytes:
    """Return a digest of the event in a dead letter, which is the same in all dead letters of the event."""
    cut = _TRUNCATED.fullmatch(dead_letter.truncated or "")
    value = (
        cut["digest"] if cut else None if dead_letter.value is None else hashlib.sha256(dead_letter.value).hexdigest()
    )
    event = (dead_letter.source.topic, dead_letter.key, value, event_headers(dead_letter))
    return hashlib.blake2b(repr(event).encode("utf-8", "backslashreplace"), digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class PriorReplays:
    """The proven replays of earlier runs.

    superseded: dead letters whose event has a later dead letter.
    counts: number of earlier replays of a dead letter's event, where it is not 0.
    num_unproven: number of dead letters whose headers state a replay that no dead letter of the same event confirms.
    """

    superseded: frozenset[Position]
    counts: Mapping[Position, int]
    num_unproven: int

    def count(self, position: Position) -> int:
        """Return how many times the event of a dead letter was replayed before."""
        return self.counts.get(position, 0)


class ReplayHistory:
    """Collects dead letters, in order per partition. Keeps 24 bytes of each, and the positions that its headers name."""

    def __init__(self) -> None:
        self._segments: dict[TopicPartition, list[tuple[array[int], bytearray]]] = {}
        self._claims: dict[Position, Position] = {}
        self._unusable: set[Position] = set()
        self._num_malformed = 0

    def add(self, dead_letter: DeadLetter) -> None:
        """Add a dead letter."""
        topic, partition, offset = dead_letter.position
        segments = self._segments.setdefault(TopicPartition(topic, partition), [])
        if not segments or segments[-1][0][-1] >= offset:
            segments.append((array("q"), bytearray()))
        offsets, digests = segments[-1]
        offsets.append(offset)
        digests += fingerprint(dead_letter)
        if dead_letter.replay_from is None and not dead_letter.replay_count:
            return
        claimed = Position.parse(dead_letter.replay_from or "")
        if claimed is None:
            self._num_malformed += 1
            return
        self._claims[dead_letter.position] = claimed
        if dead_letter.truncated is not None or dead_letter.window is not None:
            self._unusable.add(dead_letter.position)

    def unread(self, read_from: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the offsets from which to read, so that all dead letters that headers name are known.

        read_from: the first offset that was read, by partition. The result has only partitions that need earlier offsets.
        """
        lowest: dict[TopicPartition, int] = {}
        for claimed in self._claims.values():
            partition = TopicPartition(claimed.topic, claimed.partition)
            if claimed.offset < min(read_from.get(partition, 0), lowest.get(partition, claimed.offset + 1)):
                lowest[partition] = claimed.offset
        return lowest

    def resolve(self) -> PriorReplays:
        """Return the replays that the dead letters added so far prove."""
        proven = {
            position: earlier
            for position, earlier in self._claims.items()
            if (digest := self._fingerprint(earlier)) is not None and digest == self._fingerprint(position)
        }
        circular = _circular(proven)
        for position in circular:
            del proven[position]
        counts = _depths(proven)
        # A dead letter that cannot be published supersedes nothing: the earlier one remains the one to replay.
        unusable = [position for position in proven if position in self._unusable]
        superseded = frozenset(earlier for position, earlier in proven.items() if position not in self._unusable)
        further = Counter(proven[position] for position in unusable)
        return PriorReplays(
            superseded=superseded,
            counts={
                position: counts.get(position, 0) + further[position] for position in counts.keys() | further.keys()
            },
            num_unproven=self._num_malformed + len(self._claims) - len(proven),
        )

    def _fingerprint(self, position: Position) -> bytes | None:
        for offsets, digests in self._segments.get(TopicPartition(position.topic, position.partition), ()):
            index = bisect_left(offsets, position.offset)
            if index < len(offsets) and offsets[index] == position.offset:
                return bytes(digests[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES])
        return None


def _circular(parents: Mapping[Position, Position]) -> set[Position]:
    """Return the dead letters whose chain of earlier ones leads back to themselves."""
    done: set[Position] = set()
    circular: set[Position] = set()
    for start in parents:
        path: dict[Position, None] = {}
        node = start
        while node in parents and node not in done and node not in path:
            path[node] = None
            node = parents[node]
        if node in path:
            walked = list(path)
            circular.update(walked[walked.index(node) :])
        done.update(path)
    return circular


def _depths(parents: Mapping[Position, Position]) -> dict[Position, int]:
    """Return the length of the chain of earlier dead letters of each one. parents: has no cycles."""
    depths: dict[Position, int] = {}
    for start in parents:
        path = []
        node = start
        while node in parents and node not in depths:
            path.append(node)
            node = parents[node]
        depth = depths.get(node, 0)
        for dead_letter in reversed(path):
            depth += 1
            depths[dead_letter] = depth
    return depths
