"""What a replay would publish, and what it leaves out and why. Pure.

Each letter stays in its topic after its replay. If it fails again there is a second letter of the same event, which names the
first; only the last of such a chain is ever replayed, or each run would publish the event once for each of its failures.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from schemas import headers as names
from schemas.definitions import MAX_TIMESTAMP_MS
from stream.dlq.letter import Headers, Letter, Position
from stream.encode import record_size
from stream.records import Partition


class Skip(StrEnum):
    """Why a letter is not replayed."""

    REPLAYED = "replayed"
    MAX_REPLAYS = "max_replays"
    WINDOW = "window"
    TRUNCATED = "truncated"
    NO_TOPIC = "no_topic"
    TOO_LARGE = "too_large"
    GONE = "gone"


SKIP_WORDS: Final[Mapping[Skip, str]] = MappingProxyType(
    {
        Skip.REPLAYED: "replayed already and failed again: the later letter stands for it",
        Skip.MAX_REPLAYS: "replayed as many times as --max-replays allows",
        Skip.WINDOW: "a window of events, not one event: its events were accepted",
        Skip.TRUNCATED: "the value was cut when the letter was written: the whole of it is lost",
        Skip.NO_TOPIC: "the topic that it came from is no longer there",
        Skip.TOO_LARGE: "larger than the topic that it came from takes now",
        Skip.GONE: "removed from the dead letters since the plan was made",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A topic to replay to, as the cluster has it. max_bytes: its largest record batch, None where that is not told."""

    num_partitions: int
    max_bytes: int | None


def replay_headers(letter: Letter) -> Headers:
    """The event's own headers, how many times it was replayed now, and from which letter."""
    kept = [
        (name, value) for name, value in letter.headers if name.lower() not in (names.REPLAY_COUNT, names.REPLAY_FROM)
    ]
    if (
        letter.is_f32
        and letter.header(names.TIMESTAMP) is None
        and 0 <= (letter.source_timestamp or -1) <= MAX_TIMESTAMP_MS
    ):
        # Such an event's time is its record's, which is a new one now.
        kept.append((names.TIMESTAMP, b"%d" % (letter.source_timestamp or 0)))
    count = b"%d" % (letter.replay_count + 1)
    return (*kept, (names.REPLAY_COUNT, count), (names.REPLAY_FROM, str(letter.position).encode()))


def reason_to_skip(letter: Letter, target: Target | None, *, max_replays: int) -> Skip | None:
    """Why this letter cannot be replayed to its topic, by itself; None where it can."""
    if letter.window is not None:
        return Skip.WINDOW
    if letter.truncated is not None:
        return Skip.TRUNCATED
    if letter.replay_count >= max_replays:
        return Skip.MAX_REPLAYS
    if target is None:
        return Skip.NO_TOPIC
    size = record_size(letter.key, letter.value, [(name, value or b"") for name, value in replay_headers(letter)])
    return Skip.TOO_LARGE if target.max_bytes is not None and size > target.max_bytes else None


@dataclass(frozen=True, slots=True)
class Plan:
    """offsets: of the letters to publish, ascending, by partition of the dead letters; topics: how many go to which;
    beyond_limit: how many more could be published."""

    offsets: Mapping[Partition, array[int]]
    topics: Counter[str]
    skipped: Counter[Skip]
    beyond_limit: int

    @property
    def num_letters(self) -> int:
        """How many are to be published."""
        return sum(map(len, self.offsets.values()))

    @property
    def extent(self) -> dict[Partition, range]:
        """Where they are."""
        return {partition: range(found[0], found[-1] + 1) for partition, found in self.offsets.items() if found}

    def holds(self, letter: Letter) -> bool:
        """Whether the letter is to be published."""
        topic, partition, offset = letter.position
        found = self.offsets.get(Partition(topic, partition), ())
        at = bisect_left(found, offset)
        return at < len(found) and found[at] == offset


class Planner:
    """Gathers the plan while letters are read, each partition's in order. Keeps a few bytes of each, and no values."""

    def __init__(self) -> None:
        self._columns: dict[Partition, tuple[array[int], array[int], array[int]]] = {}
        self._topics: dict[str, int] = {}
        self._skipped: Counter[Skip] = Counter()
        self._replayed: set[str] = set()

    def see(self, letter: Letter) -> None:
        """For every letter that is read, those too that are not meant: it may stand for an earlier one."""
        if letter.replay_from is not None:
            self._replayed.add(letter.replay_from)

    def add(self, letter: Letter, skip: Skip | None) -> None:
        """One that is meant, and why it cannot be replayed, if so."""
        if skip is not None:
            self._skipped[skip] += 1
            return
        partition = Partition(letter.position.topic, letter.position.partition)
        offsets, times, topics = self._columns.setdefault(partition, (array("q"), array("q"), array("q")))
        offsets.append(letter.position.offset)
        times.append(letter.timestamp)
        topics.append(self._topics.setdefault(letter.source.topic, len(self._topics)))

    def finish(self, limit: int | None) -> Plan:
        """The plan, of the oldest `limit` letters that can be replayed, or of all."""
        skipped = Counter(self._skipped)
        num_able = 0

        def able() -> Iterator[tuple[int, Partition, int, int]]:
            nonlocal num_able
            for partition, (offsets, times, topics) in self._columns.items():
                for offset, time, topic in zip(offsets, times, topics, strict=True):
                    if str(Position(*partition, offset)) in self._replayed:
                        skipped[Skip.REPLAYED] += 1
                    else:
                        num_able += 1
                        yield time, partition, offset, topic

        topic_names = list(self._topics)
        planned: dict[Partition, array[int]] = {}
        counts: Counter[str] = Counter()
        chosen = able() if limit is None else sorted(nsmallest(limit, able()), key=itemgetter(1, 2))
        for _, partition, offset, topic in chosen:
            planned.setdefault(partition, array("q")).append(offset)
            counts[topic_names[topic]] += 1
        return Plan(planned, counts, skipped, num_able - counts.total())
