"""Which versions of a model could have served an event, from the log of revisions and the log of switches. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.revision import Action, Revision, initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.switch_log import Switch, SwitchLog

_POSITION: Final = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]{1,249})[:-](?P<partition>\d{1,9})[@:](?P<offset>\d{1,18})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Served:
    """The revision that applied to a partition at an offset or time.

    switch: where the partition switched to it; None for revision 0, the configuration.
    """

    partition: TopicPartition
    revision: Revision
    switch: Switch | None

    def shares(self) -> list[tuple[int, float]]:
        """Return each version that could have predicted an event, with its share of the keys in percent; stable first."""
        canaries = [(canary.version, canary.weight) for canary in self.revision.canaries]
        rest = 100 - sum(weight for _, weight in canaries)
        return ([(self.revision.stable, rest)] if rest > 0 else []) + canaries

    def version_of(self, key: bytes) -> int:
        """Return the version that predicted the events with a routing key."""
        return int(Allocation.of(self.revision).versions_of([key])[0])

    def to_dict(self, key: bytes | None) -> dict[str, Any]:
        switch = self.switch
        document: dict[str, Any] = {
            "topic": self.partition.topic,
            "partition": self.partition.partition,
            "revision": self.revision.number,
            "action": self.revision.action.value if self.revision.number else None,
            "author": self.revision.author,
            "versions": [{"version": version, "weight": weight} for version, weight in self.shares()],
            "shadows": [{"version": shadow.version, "sample": shadow.sample} for shadow in self.revision.shadows],
            "first_offset": None if switch is None else switch.first_offset,
            "switched_ms": None if switch is None else switch.switched_ms,
            "worker": None if switch is None else switch.worker,
        }
        return document if key is None else document | {"version": self.version_of(key)}


class ServedHistory:
    """Answers which versions served when. configured: the version of the configuration, for models without a revision."""

    def __init__(self, model: str, revisions: RevisionLog, switches: SwitchLog, *, configured: int) -> None:
        self._model = model
        self._revisions = revisions
        self._switches = switches
        self._configured = configured

    def at_offset(self, partition: TopicPartition, offset: int) -> Served:
        """Return what applied to the event at an offset."""
        number = self._switches.revision_at(self._model, partition, offset)
        applied = [
            switch for switch in self._switches.switches(self._model, partition) if switch.first_offset <= offset
        ]
        return self._served(partition, number, applied[-1] if applied else None)

    def at_time(self, partitions: Iterable[TopicPartition], time_ms: int) -> list[Served]:
        """Return what each partition was routed by at a time, by the clocks of the workers."""
        found = []
        for partition in sorted({*partitions, *self._switches.partitions(self._model)}):
            number = self._switches.revision_at_time(self._model, partition, time_ms)
            applied = [
                switch for switch in self._switches.switches(self._model, partition) if switch.switched_ms <= time_ms
            ]
            found.append(self._served(partition, number, applied[-1] if applied else None))
        return found

    def initial_version(self) -> int:
        """Return the version of revision 0: the one that the first revision replaced or kept."""
        first = self._revisions.revision(self._model, 1)
        if first is None:
            return self._configured
        if first.action in (Action.PROMOTE, Action.ROLLBACK):
            return self._configured if first.previous is None else first.previous
        return first.stable

    def _served(self, partition: TopicPartition, number: int, switch: Switch | None) -> Served:
        revision = self._revisions.revision(self._model, number) if number else None
        if revision is None:
            return Served(partition, initial_revision(self._model, self.initial_version()), None)
        return Served(partition, revision, switch)


def parse_position(text: str, *, prefix: str, topics: Iterable[str]) -> tuple[TopicPartition, int]:
    """Parse TOPIC:PARTITION@OFFSET. Raises ConfigError.

    prefix: topics.prefix, which may be left out.
    topics: the input topics, without the prefix.
    """
    match = _POSITION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"--position {text!r} is not TOPIC:PARTITION@OFFSET",
            kind="position",
            remedy="write the position of the event, for example features:3@88210; predictions have it in `source`",
        )
    names = {prefix + topic for topic in topics}
    topic = match["topic"]
    if topic not in names and prefix + topic in names:
        topic = prefix + topic
    if topic not in names:
        raise ConfigError(
            f"--position: {topic!r} is not an input topic; the input topics are {', '.join(sorted(names))}",
            kind="position",
            remedy="give the position of an event, not that of its prediction",
        )
    return TopicPartition(topic, int(match["partition"])), int(match["offset"])
