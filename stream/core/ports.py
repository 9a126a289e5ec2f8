"""Protocols of the adapters that the pipeline and the evaluator use, so that tests can replace them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from forebay.schemas.errors import BrokerError
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import Epoch, RowFailure, TopicPartition


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


class OffsetTransaction(Protocol):
    """Commits outputs and positions together (see `kafka.producer.transaction`), or positions alone (`AtLeastOnce`)."""

    async def begin(self, partitions: Collection[TopicPartition]) -> None: ...
    async def add_group(self) -> None: ...
    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None: ...
    async def commit(self) -> None: ...
    async def abort(self) -> None: ...


class Concealment(Protocol):
    """Hides values of encrypted events (see `decode.encrypted_input.EncryptedInput`)."""

    def conceal(self, topic: str, failures: dict[int, RowFailure]) -> dict[int, RowFailure]: ...
    def seal_value(self, topic: str, key: bytes | None, value: bytes) -> bytes: ...
