"""The plan of a replay: what to publish, what to skip, and why. Pure.

A dead letter stays in its topic after its replay. If the event fails again, it has a second dead letter, which names the first.
Only the last of such a chain is replayed; otherwise each run would publish the event once per failure. The headers count only
as far as the dead letters prove them: see `replay_history`.
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
    """The reason why a dead letter is not replayed."""

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
        SkipReason.REPLAYED: "the event was replayed and failed again: its later dead letter is replayed instead",
        SkipReason.MAX_REPLAYS: "the event was replayed as many times as --max-replays allows",
        SkipReason.WINDOW: "a window of events failed, not one event: its events were accepted",
        SkipReason.UNREADABLE: "the record in Kafka's log cannot be read: its producer must send it again",
        SkipReason.TRUNCATED: "the value was cut, or personal data in it replaced, when the dead letter was written",
        SkipReason.OUTPUT_TOPIC: "the headers name a topic that Forebay writes and does not read: they are forged",
        SkipReason.NO_TOPIC: "the original topic no longer exists, or this user may not WRITE to it",
        SkipReason.TOO_LARGE: "the event is larger than its original topic accepts now",
        SkipReason.GONE: "the dead letter was removed after the plan was made",
    }
)


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """A topic to replay to. max_bytes: size of its largest record batch, None if the cluster does not report it."""

    num_partitions: int
    max_bytes: int | None


def output_topics(topics: TopicsSection, inputs: InputSection) -> frozenset[str]:
    """Return the topics that Forebay writes and does not read events from.

    Any producer of the dead-letter topic can name them in the headers as an event's original topic.
    """
    written = {topic_name(topics.prefix, spec.name) for spec in ALL_TOPICS if spec not in (FEATURES, LATE_EVENTS)}
    return frozenset(written - {topic_name(topics.prefix, name) for name in inputs.topics})


def replay_headers(dead_letter: DeadLetter, count: int, *, token: bytes | None = None) -> Headers:
    """Return the headers of a replayed event: its own, the number of replays with this one, and the dead letter.

    token: of the user who replays, where access is on; None for none. A dead letter has no token, unless it is forged.
    """
    headers = event_headers(dead_letter)
    if token is not None:
        headers = (*(pair for pair in headers if pair[0].lower() != names.PRINCIPAL), (names.PRINCIPAL, token))
    return (
        *headers,
        (names.REPLAY_COUNT, b"%d" % count),
        (names.REPLAY_FROM, str(dead_letter.position).encode()),
    )


def reason_to_skip(
    dead_letter: DeadLetter,
    target: ReplayTarget | None,
    outputs: Collection[str] = (),
    *,
    token: bytes | None = None,
) -> SkipReason | None:
    """Return why a dead letter, regarded alone, cannot be replayed to its topic; None if it can.

    target: the original topic, None if it does not exist. outputs: see `output_topics`. token: see `replay_headers`.
    """
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
    headers = [(name, value or b"") for name, value in replay_headers(dead_letter, _LARGEST_COUNT, token=token)]
    size = record_size(dead_letter.key, dead_letter.value, headers)
    return SkipReason.TOO_LARGE if target.max_bytes is not None and size > target.max_bytes else None


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The dead letters to publish.

    offsets: offsets of the dead letters to publish, ascending, by partition of the dead-letter topic.
    topics: number of events by original topic.
    skipped: number of skipped dead letters by reason.
    beyond_limit: number of further dead letters that could be published.
    replays: the proven replays of earlier runs.
    token: of the user who replays (see `replay_headers`).
    """

    offsets: Mapping[TopicPartition, array[int]]
    topics: Counter[str]
    skipped: Counter[SkipReason]
    beyond_limit: int
    replays: PriorReplays
    token: bytes | None = None

    @property
    def num_dead_letters(self) -> int:
        """The number of dead letters to publish."""
        return sum(map(len, self.offsets.values()))

    @property
    def extent(self) -> dict[TopicPartition, range]:
        """The offsets to read, from the first to the last dead letter of each partition."""
        return {partition: range(offsets[0], offsets[-1] + 1) for partition, offsets in self.offsets.items() if offsets}

    def contains(self, dead_letter: DeadLetter) -> bool:
        """Return whether a dead letter is to be published."""
        topic, partition, offset = dead_letter.position
        offsets = self.offsets.get(TopicPartition(topic, partition), ())
        index = bisect_left(offsets, offset)
        return index < len(offsets) and offsets[index] == offset

    def headers(self, dead_letter: DeadLetter) -> Headers:
        """Return the headers with which to publish the event of a dead letter."""
        return replay_headers(dead_letter, self.replays.count(dead_letter.position) + 1, token=self.token)


class ReplayPlanner:
    """Builds the plan while dead letters are read, in order per partition. Keeps a few bytes of each, and no values.

    token: of the user who replays (see `replay_headers`).
    """

    def __init__(self, token: bytes | None = None) -> None:
        self._token = token
        self._columns: dict[TopicPartition, tuple[array[int], array[int], array[int]]] = {}
        self._topics: dict[str, int] = {}
        self._skipped: Counter[SkipReason] = Counter()
        self.history = ReplayHistory()

    def add_to_history(self, dead_letter: DeadLetter) -> None:
        """Add a dead letter that was read to the history, even if no filter matches it: it may supersede an earlier one."""
        self.history.add(dead_letter)

    def add(self, dead_letter: DeadLetter, skip: SkipReason | None) -> None:
        """Add a dead letter that matches the filter. skip: the reason why it cannot be replayed, if there is one."""
        if skip is not None:
            self._skipped[skip] += 1
            return
        partition = TopicPartition(dead_letter.position.topic, dead_letter.position.partition)
        offsets, times, topics = self._columns.setdefault(partition, (array("q"), array("q"), array("q")))
        offsets.append(dead_letter.position.offset)
        times.append(dead_letter.timestamp)
        topics.append(self._topics.setdefault(dead_letter.source.topic, len(self._topics)))

    def finish(self, limit: int | None, *, max_replays: int) -> ReplayPlan:
        """Return the plan for the oldest `limit` dead letters that can be replayed; for all if `limit` is None."""
        skipped = Counter(self._skipped)
        replays = self.history.resolve()
        num_replayable = 0

        def replayable() -> Iterator[tuple[int, TopicPartition, int, int]]:
            nonlocal num_replayable
            for partition, (offsets, times, topics) in self._columns.items():
                for offset, time, topic in zip(offsets, times, topics, strict=True):
                    position = Position(*partition, offset)
                    if position in replays.superseded:
                        skipped[SkipReason.REPLAYED] += 1
                    elif replays.count(position) >= max_replays:
                        skipped[SkipReason.MAX_REPLAYS] += 1
                    else:
                        num_replayable += 1
                        yield time, partition, offset, topic

        topic_names = list(self._topics)
        planned: dict[TopicPartition, array[int]] = {}
        counts: Counter[str] = Counter()
        entries = replayable() if limit is None else sorted(nsmallest(limit, replayable()), key=itemgetter(1, 2))
        for _, partition, offset, topic in entries:
            planned.setdefault(partition, array("q")).append(offset)
            counts[topic_names[topic]] += 1
        return ReplayPlan(
            offsets=planned,
            topics=counts,
            skipped=skipped,
            beyond_limit=num_replayable - counts.total(),
            replays=replays,
            token=self._token,
        )
