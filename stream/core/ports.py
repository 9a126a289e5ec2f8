"""Protocols of the adapters that the pipeline uses, so that it does not import them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from forebay.schemas.errors import BrokerError
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import TopicPartition


class RecordProducer(Protocol):
    """Sends output records and awaits every delivery (see `kafka.producer.producer.OutputProducer`)."""

    async def send(self, outgoing: dict[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        """Send the records and return once all are acknowledged."""

    async def missing_topics(self, partitions: Collection[TopicPartition]) -> set[str]:
        """Return which of the partitions' topics do not exist."""

    async def restart(self) -> None:
        """Replace the producer after a failure."""

    def explain(self, error: BaseException) -> BrokerError | None:
        """Return what the cluster refused and the remedy; None for an error without this information."""
