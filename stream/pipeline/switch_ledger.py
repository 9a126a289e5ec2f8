"""From which offset of each partition events are routed by which revision. Pure.

A revision is *applied* to all partitions at once, between two polls. A partition *switches* to it at the first event that is
polled afterwards. The switch is *pending* until a commit passes that offset, and is then recorded: in the transaction of that
commit, and in the metadata of the offset. What was pending at a rewind is dropped, and derived again from what is read again.

    committed metadata -- restore --> recorded -- on_polled --> pending -- commit --> recorded
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from forebay.schemas.errors import ForebayError
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.rollouts.offset_metadata import separate


class PendingSwitch(NamedTuple):
    """A switch whose first event is not committed yet. switched_ms: wall-clock time of the poll."""

    model: str
    revision: int
    first_offset: int
    switched_ms: int


class SwitchLedger:
    """The revisions of a worker's partitions.

    models: names of the models that take part in rollouts. Revisions of others in committed metadata are dropped.
    """

    def __init__(self, models: Collection[str]) -> None:
        self._applied = dict.fromkeys(models, 0)
        self._heads: dict[TopicPartition, int] = {}
        self._recorded: dict[TopicPartition, dict[str, int]] = {}
        self._pending: dict[TopicPartition, list[PendingSwitch]] = {}
        # Partitions whose events are routed by the applied revisions already.
        self._current: set[TopicPartition] = set()

    @property
    def applied(self) -> Mapping[str, int]:
        """The number of the applied revision of each model; 0 for the configuration."""
        return self._applied

    def apply(self, model: str, revision: int) -> None:
        """Route the events of later polls by this revision. Numbers never decrease."""
        if revision < self._applied[model]:
            raise ValueError(f"revision {self._applied[model]} of {model} is applied, so {revision} cannot be")
        self._applied[model] = revision
        self._current.clear()

    def on_polled(self, partition: TopicPartition, first_offset: int, next_offset: int, *, now_ms: int) -> None:
        """Record that the events of a poll, from the first to the next offset, are routed by the applied revisions.

        Events before the committed offset, which are read again to rebuild windows, are not routed.
        """
        head = self._heads.get(partition, 0)
        if partition in self._current or next_offset <= head:
            return
        self._current.add(partition)
        pending = self._pending.setdefault(partition, [])
        routed = {**self._recorded.get(partition, {}), **{switch.model: switch.revision for switch in pending}}
        first_offset = max(first_offset, head)
        for model, revision in self._applied.items():
            if revision > routed.get(model, 0):
                pending.append(PendingSwitch(model, revision, first_offset, now_ms))

    def commit(self, partition: TopicPartition, position: int) -> list[PendingSwitch]:
        """Return the switches that a commit of this position records. Call in the order of the commits, before each one."""
        pending = self._pending.get(partition)
        if not pending:
            return []
        passed = [switch for switch in pending if switch.first_offset < position]
        if passed:
            # Offsets never decrease, so these are the first ones.
            del pending[: len(passed)]
            recorded = self._recorded.setdefault(partition, {})
            recorded.update((switch.model, switch.revision) for switch in passed)
        return passed

    def recorded(self, partition: TopicPartition) -> Mapping[str, int]:
        """Return the revisions by which the events before the last committed position were routed."""
        return self._recorded.get(partition, {})

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> None:
        """Begin with the committed offsets of an assignment or after a rewind, and forget what is pending.

        Raises BrokerError for metadata of a later version, ForebayError if a revision in it is not applied.
        """
        self._pending.clear()
        self._current.clear()
        found = {partition: offset for partition, offset in committed.items() if offset is not None}
        recorded = {partition: separate(partition, offset)[0] for partition, offset in found.items()}
        for partition, revisions in recorded.items():
            self._require_applied(partition, revisions)
        self._heads = {partition: offset.offset for partition, offset in found.items()}
        self._recorded = {
            partition: {model: number for model, number in revisions.items() if model in self._applied}
            for partition, revisions in recorded.items()
        }

    def _require_applied(self, partition: TopicPartition, revisions: Mapping[str, int]) -> None:
        for model, number in revisions.items():
            if number > self._applied.get(model, number):
                raise ForebayError(
                    f"{partition.topic}-{partition.partition}: its events are routed by revision {number} of {model}, and "
                    f"this worker has applied revision {self._applied[model]}",
                    kind="revision_not_applied",
                    remedy="this is a bug: the partition must not open before the worker has applied that revision",
                )
