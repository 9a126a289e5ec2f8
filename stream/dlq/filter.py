"""Selection of dead letters by kind, stage, model, topic and time. Pure."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.schemas.failures import FailureKind
from forebay.stream.config.moment import parse_moment
from forebay.stream.dlq.dead_letter import DeadLetter, Position

_RECORD_PLACE: Final = re.compile(r"(\d{1,9})[:@](\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """The conditions that a dead letter must meet; an empty set or None accepts all.

    since_ms, until_ms: range of the timestamp of the dead letter's own record, in ms since the Unix epoch; excludes `until_ms`.
    """

    kinds: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Return whether a dead letter meets all conditions."""
        return (
            (not self.kinds or dead_letter.kind in self.kinds)
            and (not self.stages or dead_letter.stage in self.stages)
            and (not self.models or dead_letter.model in self.models)
            and (not self.topics or dead_letter.source.topic in self.topics)
            and (self.since_ms is None or dead_letter.timestamp >= self.since_ms)
            and (self.until_ms is None or dead_letter.timestamp < self.until_ms)
        )


def check_kinds(kinds: Sequence[str]) -> frozenset[str]:
    """Return the kinds as a set. Raises ConfigError for a kind that is not in the table of failures."""
    for kind in kinds:
        if kind not in list(FailureKind):
            near = get_close_matches(kind.lower().replace("-", "_"), list(FailureKind), n=1, cutoff=0.5)
            raise ConfigError(
                f"there is no failure kind {kind!r}",
                kind="unknown_kind",
                remedy=(f"did you mean {str(near[0])!r}? " if near else "") + f"the kinds are {', '.join(FailureKind)}",
            )
    return frozenset(kinds)


def parse_time_range(since: str | None, until: str | None, *, now_ms: int) -> tuple[int | None, int | None]:
    """Parse both ends of a time range. Raises ConfigError, also if the range is empty."""
    since_ms = None if since is None else parse_moment("--since", since, now_ms=now_ms)
    until_ms = None if until is None else parse_moment("--until", until, now_ms=now_ms)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise ConfigError(
            f"the time range from --since {since} to --until {until} is empty",
            kind="moment",
            remedy="give --since an earlier time than --until",
        )
    return since_ms, until_ms


def parse_record_place(text: str) -> tuple[int, int]:
    """Parse the partition and offset of a dead letter, written as `3:1041` or `3@1041`. Raises ConfigError."""
    match = _RECORD_PLACE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"{text!r} is not PARTITION:OFFSET",
            kind="position",
            remedy="write it as in the first column of `forebay dlq list`, for example 3:1041",
        )
    return int(match[1]), int(match[2])


def parse_position(text: str) -> Position:
    """Parse the topic, partition and offset of an event. Raises ConfigError."""
    position = Position.parse(text.strip())
    if position is None:
        raise ConfigError(
            f"{text!r} is not TOPIC-PARTITION@OFFSET",
            kind="position",
            remedy="write it as in the column `from` of `forebay dlq list`, for example features-3@88210",
        )
    return position


class NewestDeadLetters:
    """Keeps the newest `limit` of the dead letters that are added; all of them if `limit` is None."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._heap: list[tuple[int, Position, DeadLetter]] = []
        self.num_added = 0

    def add(self, dead_letter: DeadLetter) -> None:
        self.num_added += 1
        entry = (dead_letter.timestamp, dead_letter.position, dead_letter)
        if self._limit is None or len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def dead_letters(self) -> list[DeadLetter]:
        """Return the dead letters, the oldest first."""
        return [dead_letter for _, _, dead_letter in sorted(self._heap, key=lambda entry: entry[:2])]
