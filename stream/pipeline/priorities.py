"""The priorities of polled parts: by topic, and by a header of their records. Pure.

The order within a partition never changes, since offsets are committed as prefixes. So a header can only raise the class of
its record together with the records before it, and never lowers it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.schemas import headers as names
from forebay.stream.core.priority import Priority
from forebay.stream.core.records import BatchPart, Chunk, Record

_WORDS: Final = {priority.word.encode(): priority for priority in Priority}


@dataclass(frozen=True, slots=True)
class Priorities:
    """What the configuration says of priorities.

    high_topics, low_topics: full names of the input topics that are not of class normal.
    headers: whether the header of records counts.
    """

    high_topics: frozenset[str] = frozenset()
    low_topics: frozenset[str] = frozenset()
    headers: bool = False

    @property
    def of_topics(self) -> bool:
        """Whether topics are of different classes."""
        return bool(self.high_topics or self.low_topics)

    def of_topic(self, topic: str) -> Priority:
        """Return the class of a topic."""
        if topic in self.high_topics:
            return Priority.HIGH
        return Priority.LOW if topic in self.low_topics else Priority.NORMAL

    def among(self, topics: Collection[str], priority: Priority) -> frozenset[str]:
        """Return the topics of a class."""
        return frozenset(topic for topic in topics if self.of_topic(topic) is priority)

    def divide(self, part: BatchPart) -> tuple[Sequence[tuple[BatchPart, Priority]], int]:
        """Return the pieces of a part with their classes, and how many headers have an unknown word.

        A piece that a header raises ends with that header's record. Windows have the class of their topic.
        """
        own = self.of_topic(part.partition.topic)
        if not self.headers or own is Priority.HIGH or not isinstance(part, Chunk):
            return ((part, own),), 0
        pieces: list[tuple[BatchPart, Priority]] = []
        ends, unknown = _raised(part, own)
        rest, taken = part, 0
        for priority, end in ends:
            if end - taken < rest.num_records:
                head, rest = rest.split(end - taken)
                pieces.append((head, priority))
                taken = end
            else:
                return (*pieces, (rest, priority)), unknown
        return (*pieces, (rest, own)), unknown


def _raised(chunk: Chunk, own: Priority) -> tuple[list[tuple[Priority, int]], int]:
    """Return up to which record, exclusive, each class above the chunk's own reaches, the most urgent first."""
    last: dict[Priority, int] = {}
    unknown = 0
    for index, record in _valid(chunk):
        for name, value in record.headers or ():
            if name.lower() == names.PRIORITY:
                priority = _WORDS.get(value)
                unknown += priority is None
                if priority is not None and priority < own:
                    last[priority] = index + 1
    ends: list[tuple[Priority, int]] = []
    for priority in sorted(last):
        if not ends or last[priority] > ends[-1][1]:
            ends.append((priority, last[priority]))
    return ends, unknown


def _valid(chunk: Chunk) -> Iterator[tuple[int, Record]]:
    """Return the valid records with their index among all records of the chunk."""
    rejected = {rejection.index for rejection in chunk.rejections}
    indices = (index for index in range(chunk.num_records) if index not in rejected)
    return zip(indices, chunk.records, strict=False)
