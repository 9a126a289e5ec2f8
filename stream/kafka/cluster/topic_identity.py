"""Topic ids, by which a topic that was deleted and created again under the same name is recognised. Pure.

A position does not contain a topic's id. In a new topic of the same name with enough records it points into the middle, and
all records before it would be skipped without an error from the broker.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from uuid import UUID

from forebay.stream.core.errors import TopicRecreated
from forebay.stream.core.records import TopicPartition

log = logging.getLogger("forebay.kafka.topics")


class TopicIdentity:
    """The expected id of each topic: the first one seen, or the one adopted since."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}
        self._newest: dict[str, UUID] = {}
        self._missing: set[str] = set()

    def compare(self, ids: Mapping[str, UUID], missing: Collection[str]) -> frozenset[str]:
        """Return the topics whose id has changed; remember the ids of topics seen for the first time.

        ids: the ids of existing topics, as far as the cluster reports them.
        missing: topics that do not exist.
        """
        for topic in sorted(set(missing) - self._missing):
            log.warning("topic %s is not in the cluster", topic)
        self._missing = set(missing)
        self._newest.update(ids)
        recreated = {topic for topic, topic_id in ids.items() if self._ids.setdefault(topic, topic_id) != topic_id}
        return frozenset(recreated)

    def adopt(self, topics: Collection[str]) -> None:
        """Expect the ids of these topics that were seen last."""
        self._ids.update({topic: self._newest[topic] for topic in topics if topic in self._newest})


def recreated_error(topics: Collection[str], positions: Mapping[TopicPartition, int]) -> TopicRecreated:
    """Return the error that names the records that would be skipped in these topics.

    positions: the next offset of each partition.
    """
    skipped = [
        f"records before offset {position} of {partition.topic}-{partition.partition}"
        for partition, position in sorted(positions.items())
        if partition.topic in topics and position > 0
    ]
    names = ", ".join(sorted(topics))
    were = "were" if len(topics) > 1 else "was"
    return TopicRecreated(
        f"{names} {were} deleted and created again while this worker held positions in the old topic"
        + (f"; continuing would skip {', '.join(skipped)}" if skipped else ""),
        remedy="reset the group's offsets of the topic (kafka-consumer-groups --reset-offsets --to-earliest) or use another "
        "group_id, then restart the worker",
    )
