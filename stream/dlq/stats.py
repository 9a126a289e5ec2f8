"""Counts of dead letters by kind, stage, model and topic, with their times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.dlq.dead_letter import DeadLetter

NO_MODEL: Final = "(before a model)"


@dataclass(slots=True)
class Tally:
    """A count, and the smallest and largest record timestamp, in ms since the Unix epoch."""

    count: int
    first_seen: int
    last_seen: int

    def add(self, timestamp: int) -> None:
        self.count += 1
        self.first_seen = min(self.first_seen, timestamp)
        self.last_seen = max(self.last_seen, timestamp)


@dataclass(slots=True)
class Stats:
    """Counts of the dead letters that were added.

    truncated: dead letters whose value was cut, or whose personal data was replaced.
    replayed: dead letters of events that failed again after a replay.
    unreadable: dead letters of records that cannot be read.
    beyond: number of records that dead letters represent, beyond one each.
    """

    total: Tally | None = None
    truncated: int = 0
    replayed: int = 0
    unreadable: int = 0
    beyond: int = 0
    kinds: dict[str, Tally] = field(default_factory=dict)
    stages: dict[str, Tally] = field(default_factory=dict)
    models: dict[str, Tally] = field(default_factory=dict)
    topics: dict[str, Tally] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return 0 if self.total is None else self.total.count

    def add(self, dead_letter: DeadLetter) -> None:
        """Count a dead letter."""
        if self.total is None:
            self.total = Tally(1, dead_letter.timestamp, dead_letter.timestamp)
        else:
            self.total.add(dead_letter.timestamp)
        self.truncated += dead_letter.truncated is not None
        self.replayed += dead_letter.replay_count > 0
        self.unreadable += dead_letter.is_raw
        self.beyond += dead_letter.count - 1
        model = NO_MODEL if dead_letter.model is None else f"{dead_letter.model} v{dead_letter.version}"
        for group, name in (
            (self.kinds, dead_letter.kind),
            (self.stages, dead_letter.stage),
            (self.models, model),
            (self.topics, dead_letter.source.topic),
        ):
            if (tally := group.get(name)) is None:
                group[name] = Tally(1, dead_letter.timestamp, dead_letter.timestamp)
            else:
                tally.add(dead_letter.timestamp)

    def groups(self) -> dict[str, list[tuple[str, Tally]]]:
        """Return the counts by property (kind, stage, model, topic), the most frequent first."""
        groups = {"kind": self.kinds, "stage": self.stages, "model": self.models, "topic": self.topics}
        return {name: _ranked(group) for name, group in groups.items()}

    def to_dict(self) -> dict[str, object]:
        """Return the counts as JSON values."""
        return {
            "letters": self.count,
            "first_seen": None if self.total is None else self.total.first_seen,
            "last_seen": None if self.total is None else self.total.last_seen,
            "truncated": self.truncated,
            "replayed": self.replayed,
            "unreadable": self.unreadable,
            "records": self.count + self.beyond,
            **{
                f"{prop}s": [self._entry(prop, name, tally) for name, tally in group]
                for prop, group in self.groups().items()
            },
        }

    def _entry(self, prop: str, name: str, tally: Tally) -> dict[str, object]:
        return {
            prop: None if name == NO_MODEL else name,
            "count": tally.count,
            "share": round(tally.count / self.count, 6),
            "first_seen": tally.first_seen,
            "last_seen": tally.last_seen,
        }


def _ranked(group: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    return sorted(group.items(), key=lambda entry: (-entry[1].count, entry[0]))
