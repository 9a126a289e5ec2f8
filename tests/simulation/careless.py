"""A member whose application is careless: it keeps what it has read over rebalances, and commits it whatever has happened.

In a worker several lines of defence stand behind each other: it commits or drops what is in flight before partitions are
revoked, it checks its epoch before it sends offsets, and it replaces the producer after each failed commit. That hides whether
the protections at the edge to Kafka work by themselves. Here they are alone.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.records import BatchResult, Epoch, MicroBatch
from forebay.stream.inference.bisect import infer_batch
from tests.simulation.lanes import build_lane, decoder
from tests.simulation.member import Member

MAX_BACKLOG = 6


class CarelessMember(Member):
    """A member without a pipeline. Its source, transaction, committer and producer are the real ones."""

    def is_current(self, epoch: Epoch) -> bool:
        """Return that any epoch is current."""
        return True

    def _build(self) -> None:
        backoff = Backoff(0.1, 1.0, self._world.rng.random)
        self.served = [build_lane(lane, self._world, backoff) for lane in self.lineup]
        self._build_edge(self._do_nothing, backoff)
        self._emitters = self._emission_builder()
        self._commit = self._committer(self.is_current).commit
        self._reader = decoder(self.served)
        self._backlog: deque[BatchResult] = deque()
        self._seq = 0

    async def _do_nothing(self) -> None:
        pass

    async def _work(self) -> None:
        self._run_task(self._read(), "read")
        self._run_task(self._commit_all(), "commit")
        failed = asyncio.create_task(self._failed.wait(), name="failed")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        self._tasks += [failed, stopping]
        await asyncio.wait([failed, stopping], return_when=asyncio.FIRST_COMPLETED)

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            if len(self._backlog) >= MAX_BACKLOG:
                continue
            records = await self.source.poll(timeout_s=0.5, max_records=10)
            epoch = self.source.epoch
            if not records or epoch is None:
                continue
            batch = MicroBatch(self._seq, tuple(self._reader.decode(records, epoch)), "size", 0.0)
            self._seq += 1
            inference = infer_batch(self.served[0].model, batch, wall_ms=self._world.wall_ms())
            self._backlog.append(
                BatchResult(
                    batch,
                    values_BO=inference.values_BO,
                    classes_B=inference.classes_B,
                    confidences_B=inference.confidences_B,
                    failures=inference.failures,
                    model_s=0.0,
                )
            )

    async def _commit_all(self) -> None:
        while True:
            await asyncio.sleep(self._world.rng.choice((0.001, 0.05, 0.5)))
            if not self._backlog:
                continue
            result = self._backlog.popleft()
            try:
                # In a task of its own, as in the pipeline: what is cancelled within it does not count for this one.
                await asyncio.create_task(self._commit([result]), name="commit-once")
            except CommitRefused:
                # The transaction was aborted, so its producer can be used for the next. What was read after these records under
                # the same membership must not be committed without them.
                self._backlog = deque(later for later in self._backlog if later.batch.epoch != result.batch.epoch)
                if self.source.is_current(result.batch.epoch):
                    await self.source.rejoin()
            except (KafkaError, BrokerError, CommitTimeout):
                # Whether the commit succeeded is unknown until the offsets are read again.
                await self.source.rewind()
                self._backlog.clear()
                await self.producer.restart()
