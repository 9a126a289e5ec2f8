"""Whether topics are still those whose positions are held: one that was deleted and created again has another id. Pure.

A position is a number without a topic's id. In a new topic of the same name that holds enough records it points into the
middle, and everything before it would be skipped without an error from the broker.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from uuid import UUID

from forebay.stream.core.errors import TopicRecreated
from forebay.stream.core.records import TopicPartition

log = logging.getLogger("forebay.kafka.topics")


class TopicIdentity:
    """The ids under which topics were first seen, or adopted since."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}
        self._newest: dict[str, UUID] = {}
        self._missing: set[str] = set()

    def compare(self, ids: Mapping[str, UUID], missing: Collection[str]) -> frozenset[str]:
        """Return the topics that have another id than before; remember those seen for the first time.

        ids: of topics that exist and whose ids the cluster reports; missing: topics that do not exist now.
        """
        for topic in sorted(set(missing) - self._missing):
            log.warning("topic %s is not in the cluster", topic)
        self._missing = set(missing)
        self._newest.update(ids)
        recreated = {topic for topic, found in ids.items() if self._ids.setdefault(topic, found) != found}
        return frozenset(recreated)

    def adopt(self, topics: Collection[str]) -> None:
        """Take the ids that were last seen of these topics for the right ones."""
        self._ids.update({topic: self._newest[topic] for topic in topics if topic in self._newest})


def recreated_error(topics: Collection[str], positions: Mapping[TopicPartition, int]) -> TopicRecreated:
    """The error that names what would be skipped in these topics. positions: where reading was to go on."""
    skipped = [
        f"records before offset {position} of {partition.topic}-{partition.partition}"
        for partition, position in sorted(positions.items())
        if partition.topic in topics and position > 0
    ]
    names = ", ".join(sorted(topics))
    were = "were" if len(topics) > 1 else "was"
    return TopicRecreated(
        f"{names} {were} deleted and created again while this worker held positions in the old topic"
        + (f"; going on would skip {', '.join(skipped)}" if skipped else ""),
        remedy="reset the group's offsets of the topic (kafka-consumer-groups --reset-offsets --to-earliest) or use another "
        "group_id, then start the worker again",
    )
