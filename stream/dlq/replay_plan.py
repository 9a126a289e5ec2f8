"""What a replay would publish, and what it leaves out and why. Pure.

Each letter stays in its topic after its replay. If it fails again there is a second letter of the same event, which names the
first; only the last of such a chain is ever replayed, or each run would publish the event once for each of its failures. What a
letter's headers state of that is believed only as far as the letters themselves prove it: see `replay_history`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from forebay.schemas import headers as names
from forebay.schemas.topics import ALL_TOPICS, FEATURES, LATE_EVENTS, topic_name
from forebay.stream.config.sections import InputSection, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, Headers, Position
from forebay.stream.dlq.replay_history import PriorReplays, ReplayHistory, event_headers
from forebay.stream.output.encoder import record_size

_LARGEST_COUNT: Final = 2**31 - 1


class SkipReason(StrEnum):
    """Why a letter is not replayed."""

    REPLAYED = "replayed"
    MAX_REPLAYS = "max_replays"
    WINDOW = "window"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OUTPUT_TOPIC = "output_topic"
    NO_TOPIC = "no_topic"
    TOO_LARGE = "too_large"
    GONE = "gone"


SKIP_DESCRIPTIONS: Final[Mapping[SkipReason, str]] = MappingProxyType(
    {
        SkipReason.REPLAYED: "replayed already and failed again: the later letter stands for it",
        SkipReason.MAX_REPLAYS: "replayed as many times as --max-replays allows",
        SkipReason.WINDOW: "a window of events, not one event: its events were accepted",
        SkipReason.UNREADABLE: "what Kafka's log held and nobody could read: its producer has to send it again",
        SkipReason.TRUNCATED: "the value was cut when the letter was written: the whole of it is lost",
        SkipReason.OUTPUT_TOPIC: "names a topic that Forebay itself writes, which no event comes from: forged",
        SkipReason.NO_TOPIC: "the topic that it came from is no longer there, or this user may not WRITE to it",
        SkipReason.TOO_LARGE: "larger than the topic that it came from takes now",
        SkipReason.GONE: "removed from the dead letters since the plan was made",
    }
)


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """A topic to replay to, as the cluster has it. max_bytes: its largest record batch, None where that is not told."""

    num_partitions: int
    max_bytes: int | None


def output_topics(topics: TopicsSection, inputs: InputSection) -> frozenset[str]:
    """Return the topics that Forebay writes and does not read events from. Whoever writes a letter chooses its topic."""
    written = {topic_name(topics.prefix, spec.name) for spec in ALL_TOPICS if spec not in (FEATURES, LATE_EVENTS)}
    return frozenset(written - {topic_name(topics.prefix, name) for name in inputs.topics})


def replay_headers(dead_letter: DeadLetter, count: int) -> Headers:
    """Return the event's own headers, how often it is replayed with this time, and from which letter."""
    return (
        *event_headers(dead_letter),
        (names.REPLAY_COUNT, b"%d" % count),
        (names.REPLAY_FROM, str(dead_letter.position).encode()),
    )


def reason_to_skip(
    dead_letter: DeadLetter, target: ReplayTarget | None, outputs: Collection[str] = ()
) -> SkipReason | None:
    """Return why this letter cannot be replayed to its topic, by itself; None if it can. outputs: see `output_topics`."""
    if dead_letter.source.topic in outputs:
        return SkipReason.OUTPUT_TOPIC
    if dead_letter.window is not None:
        return SkipReason.WINDOW
    if dead_letter.is_raw:
        return SkipReason.UNREADABLE
    if dead_letter.truncated is not None:
        return SkipReason.TRUNCATED
    if target is None:
        return SkipReason.NO_TOPIC
    headers = [(name, value or b"") for name, value in replay_headers(dead_letter, _LARGEST_COUNT)]
    size = record_size(dead_letter.key, dead_letter.value, headers)
    return SkipReason.TOO_LARGE if target.max_bytes is not None and size > target.max_bytes else None


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to publish.

    offsets: of the letters to publish, ascending, by partition of the dead letters. topics: how many go to which.
    beyond_limit: how many more could be published. replays: what was replayed before.
    """

    offsets: Mapping[TopicPartition, array[int]]
    topics: Counter[str]
    skipped: Counter[SkipReason]
    beyond_limit: int
    replays: PriorReplays

    @property
    def num_dead_letters(self) -> int:
        """How many are to be published."""
        return sum(map(len, self.offsets.values()))

    @property
    def extent(self) -> dict[TopicPartition, range]:
        """Where they are."""
        return {partition: range(found[0], found[-1] + 1) for partition, found in self.offsets.items() if found}

    def holds(self, dead_letter: DeadLetter) -> bool:
        """Return whether the letter is to be published."""
        topic, partition, offset = dead_letter.position
        found = self.offsets.get(TopicPartition(topic, partition), ())
        at = bisect_left(found, offset)
        return at < len(found) and found[at] == offset

    def headers(self, dead_letter: DeadLetter) -> Headers:
        """Return the headers with which the letter is to be published."""
        return replay_headers(dead_letter, self.replays.count(dead_letter.position) + 1)


class ReplayPlanner:
    """Gathers the plan while letters are read, each partition's in order. Keeps a few bytes of each, and no values."""

    def __init__(self) -> None:
        self._columns: dict[TopicPartition, tuple[array[int], array[int], array[int]]] = {}
        self._topics: dict[str, int] = {}
        self._skipped: Counter[SkipReason] = Counter()
        self.history = ReplayHistory()

    def see(self, dead_letter: DeadLetter) -> None:
        """Note a letter that is read, also one that the filter leaves out: it may stand for an earlier one."""
        self.history.see(dead_letter)

    def add(self, dead_letter: DeadLetter, skip: SkipReason | None) -> None:
        """Add one that the filter takes, and why it cannot be replayed, if so."""
        if skip is not None:
            self._skipped[skip] += 1
            return
        partition = TopicPartition(dead_letter.position.topic, dead_letter.position.partition)
        offsets, times, topics = self._columns.setdefault(partition, (array("q"), array("q"), array("q")))
        offsets.append(dead_letter.position.offset)
        times.append(dead_letter.timestamp)
        topics.append(self._topics.setdefault(dead_letter.source.topic, len(self._topics)))

    def finish(self, limit: int | None, *, max_replays: int) -> ReplayPlan:
        """Return the plan for the oldest `limit` letters that can be replayed, or for all."""
        skipped = Counter(self._skipped)
        replays = self.history.resolve()
        num_able = 0

        def able() -> Iterator[tuple[int, TopicPartition, int, int]]:
            nonlocal num_able
            for partition, (offsets, times, topics) in self._columns.items():
                for offset, time, topic in zip(offsets, times, topics, strict=True):
                    position = Position(*partition, offset)
                    if position in replays.superseded:
                        skipped[SkipReason.REPLAYED] += 1
                    elif replays.count(position) >= max_replays:
                        skipped[SkipReason.MAX_REPLAYS] += 1
                    else:
                        num_able += 1
                        yield time, partition, offset, topic

        topic_names = list(self._topics)
        planned: dict[TopicPartition, array[int]] = {}
        counts: Counter[str] = Counter()
        chosen = able() if limit is None else sorted(nsmallest(limit, able()), key=itemgetter(1, 2))
        for _, partition, offset, topic in chosen:
            planned.setdefault(partition, array("q")).append(offset)
            counts[topic_names[topic]] += 1
        return ReplayPlan(
            offsets=planned, topics=counts, skipped=skipped, beyond_limit=num_able - counts.total(), replays=replays
        )
