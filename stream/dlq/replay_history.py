"""Which dead letters are of the same event, replayed and failed again. Pure.

The headers `forebay.replay.*` come with the event, and every producer can write them. They are therefore only a hint where
to look: a letter was replayed from an earlier one if both hold the same event (source topic, key, value and headers). Counts
are those of letters found this way, whatever a header states.
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
    kept = [(name, value) for name, value in dead_letter.headers if name.lower() not in _REPLAY_HEADERS]
    if (
        dead_letter.is_f32
        and dead_letter.header(names.TIMESTAMP) is None
        and 0 <= (dead_letter.source_timestamp or -1) <= MAX_TIMESTAMP_MS
    ):
        # Such an event's time is its record's, which is a new one after a replay.
        kept.append((names.TIMESTAMP, b"%d" % (dead_letter.source_timestamp or 0)))
    return tuple(kept)


def fingerprint(dead_letter: DeadLetter) -> bytes:
    """Return a digest of the event in a letter, the same for each of its letters."""
    cut = _TRUNCATED.fullmatch(dead_letter.truncated or "")
    value = (
        cut["digest"] if cut else None if dead_letter.value is None else hashlib.sha256(dead_letter.value).hexdigest()
    )
    event = (dead_letter.source.topic, dead_letter.key, value, event_headers(dead_letter))
    return hashlib.blake2b(repr(event).encode("utf-8", "backslashreplace"), digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class PriorReplays:
    """What was replayed before.

    superseded: letters for which a later one stands. counts: how many times a letter's event was replayed so far, where
    that is not 0. num_unproven: letters whose headers state a replay that no letter of the same event confirms.
    """

    superseded: frozenset[Position]
    counts: Mapping[Position, int]
    num_unproven: int

    def count(self, position: Position) -> int:
        """Return how many times the event of that letter was replayed before it."""
        return self.counts.get(position, 0)


class ReplayHistory:
    """Collects letters, each partition's in order. Keeps 24 bytes of each, and the positions that its headers name."""

    def __init__(self) -> None:
        self._segments: dict[TopicPartition, list[tuple[array[int], bytearray]]] = {}
        self._claims: dict[Position, Position] = {}
        self._unusable: set[Position] = set()
        self._num_malformed = 0

    def see(self, dead_letter: DeadLetter) -> None:
        """Add a letter."""
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
        """Return where reading must begin to have all letters that are named, by partition that is not read far enough.

        read_from: the first offset that was read of each partition.
        """
        lowest: dict[TopicPartition, int] = {}
        for claimed in self._claims.values():
            partition = TopicPartition(claimed.topic, claimed.partition)
            if claimed.offset < min(read_from.get(partition, 0), lowest.get(partition, claimed.offset + 1)):
                lowest[partition] = claimed.offset
        return lowest

    def resolve(self) -> PriorReplays:
        """Return what the letters seen so far prove."""
        proven = {
            dead_letter: claimed
            for dead_letter, claimed in self._claims.items()
            if (found := self._fingerprint(claimed)) is not None and found == self._fingerprint(dead_letter)
        }
        circular = _circular(proven)
        for dead_letter in circular:
            del proven[dead_letter]
        counts = _depths(proven)
        # What cannot be published does not stand for anything: the earlier letter goes on counting.
        unusable = [dead_letter for dead_letter in proven if dead_letter in self._unusable]
        superseded = frozenset(claimed for dead_letter, claimed in proven.items() if dead_letter not in self._unusable)
        further = Counter(proven[dead_letter] for dead_letter in unusable)
        return PriorReplays(
            superseded=superseded,
            counts={
                dead_letter: counts.get(dead_letter, 0) + further[dead_letter]
                for dead_letter in counts.keys() | further.keys()
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
    """Return the letters that are, by what they name, later than themselves."""
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
    """Return how many letters each one comes after, where there are no circles."""
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
