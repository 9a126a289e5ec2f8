"""The commit: one numbered function under one deadline. It raises, or its micro-batches' outcomes are known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from schemas.errors import ForebayError
from stream.clock import Clock
from stream.emit import Emission, Emitter, Outgoing
from stream.outcomes import Ledger
from stream.records import Epoch, Finished, Partition


class ConservationError(ForebayError):
    """Records passed and outcomes decided differ: a bug. Nothing of that commit was sent."""

    default_kind = "conservation"


class CommitTimeout(ForebayError):
    """A commit was not over by its deadline: whether it happened is unknown, and the committed offsets will tell."""

    default_kind = "commit_timeout"


class Sends(Protocol):
    """Where records go (see `stream.kafka.delivery`)."""

    async def send(self, outgoing: dict[Partition, Outgoing], *, timestamp_ms: int) -> None: ...


class CommitsPositions(Protocol):
    """Where positions are committed (see `stream.kafka.source`)."""

    async def commit(self, positions: dict[Partition, int], epoch: Epoch) -> None: ...


class Committer:
    """Commits finished micro-batches, at least once: outputs delivered first, positions committed after."""

    def __init__(
        self, emitter: Emitter, delivery: Sends, source: CommitsPositions, *, clock: Clock, timeout_ms: int
    ) -> None:
        self._emitter = emitter
        self._delivery = delivery
        self._source = source
        self._clock = clock
        self._timeout_s = timeout_ms / 1000

    async def commit(self, batches: Sequence[Finished]) -> Ledger:
        """Commit micro-batches of one epoch, in order. Returns what they came to.

        Raises CommitTimeout, CommitRefused or KafkaError: the caller rewinds; ConservationError: a bug.
        """
        epoch = batches[0].batch.epoch
        # 1. Build everything before anything is sent.
        emission = self._emitter.emit(batches)
        # 2. Every record that the positions pass has one outcome.
        _check_conservation(emission)
        try:
            async with asyncio.timeout(self._timeout_s):
                # 3. Send, and await every delivery: predictions, dead letters, deltas.
                await self._delivery.send(emission.outgoing, timestamp_ms=self._clock.wall_ms())
                # 4. Commit the positions under the epoch that the records were read in.
                await self._source.commit(emission.positions, epoch)
        except TimeoutError:
            raise CommitTimeout(f"the commit was not over after {self._timeout_s:g} s") from None
        # 5. Only now do the outcomes count.
        return emission.ledger


def _check_conservation(emission: Emission) -> None:
    for partition, (passed, decided) in emission.ledger.unbalanced().items():
        raise ConservationError(
            f"{partition.topic}-{partition.partition}: {passed} records but {decided} outcomes in one commit"
        )
