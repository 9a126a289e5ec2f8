"""Records that cannot be used as a label or prediction: why, and how many."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from forebay.stream.core.records import TopicPartition

log = logging.getLogger("forebay.evaluate")


class Reason(StrEnum):
    """Why a record is refused."""

    UNREADABLE = "unreadable"
    TOMBSTONE = "tombstone"
    NOT_JSON = "not_json"
    MALFORMED = "malformed"
    NO_KEY = "no_key"
    TIMESTAMP = "timestamp"
    FUTURE = "future"
    VALUE = "value"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused record.

    timestamp: of the record, in ms since the Unix epoch.
    detail: what is wrong, for the log.
    count: number of records in the log that it stands for.
    """

    offset: int
    timestamp: int
    reason: Reason
    detail: str
    count: int = 1


class RefusalLog:
    """Counts refused records by topic and reason, and logs the 1st, 2nd, 4th, 8th and so on of each.

    counts: by topic and reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Reason]] = Counter()

    def record(self, partition: TopicPartition, refusals: Iterable[Refusal]) -> None:
        """Count and log refusals of one partition."""
        for refusal in refusals:
            key = (partition.topic, refusal.reason)
            before = self.counts[key]
            self.counts[key] = after = before + refusal.count
            if before.bit_length() != after.bit_length():
                log.warning(
                    "%s-%d@%d was refused: %s (%d with the reason %s so far)",
                    partition.topic,
                    partition.partition,
                    refusal.offset,
                    refusal.detail,
                    after,
                    refusal.reason,
                )
