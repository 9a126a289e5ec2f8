"""The topic `rollouts`: read to its end, followed, and extended by proposals that learn whether they are valid.

There is no coordinator. A proposal is appended to the log and read back: it is valid if no other record followed the same
revision before it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.schemas.topics import ROLLOUTS, topic_name
from forebay.stream.audit.action import Action
from forebay.stream.config.sections import Settings
from forebay.stream.control.action_log import action_log
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition, Unreadable
from forebay.stream.core.time_format import rfc3339
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topic_identity import TopicIdentity
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.kafka.producer.plain_producer import PlainProducer
from forebay.stream.rollouts.revision import Revision, decode_revision
from forebay.stream.rollouts.revision_log import RevisionLog

READ_BACK_TIMEOUT_S: Final = 30.0
READ_BACK_INTERVAL_S: Final = 0.1


class RolloutConflict(ForebayError):
    """Another revision came first. `winner`: that revision."""

    default_kind = "rollout_conflict"

    def __init__(self, refused: Revision, winner: Revision) -> None:
        author = f"{winner.author or 'unknown'}{' (automatic)' if winner.automatic else ''}"
        super().__init__(
            f"model {winner.model!r}: {winner.action.value} by {author} became revision {winner.number} at "
            f"{rfc3339(winner.created_ms)}, before this {refused.action.value} that was based on revision "
            f"{refused.based_on}",
            remedy=f"look at it with `forebay models rollout {winner.model}`, and repeat the command if it is still wanted",
        )
        self.winner = winner


class RolloutStore:
    """Reads and extends the topic `rollouts`.

    Only committed records count. `log` is what was read. Methods may be called by several tasks.
    """

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        options = client_options(settings.kafka)
        self._settings = settings
        self._topic = topic_name(settings.topics.prefix, ROLLOUTS.name)
        self._partition = TopicPartition(self._topic, 0)
        self._clock = clock
        self._reader = TopicReader(options, [self._topic], from_beginning=True, clock=clock, bounded=True)
        self._producer = PlainProducer(options)
        self._identity = TopicIdentity()
        self._position = 0
        self._accepted: list[Revision] = []
        self._reading = asyncio.Lock()
        self.log = RevisionLog()

    async def start(self) -> None:
        """Connect and read the topic to its end. Raises BrokerError, or DataError for a record in a later format."""
        await self._reader.start()
        try:
            await self.refresh()
        except BaseException:
            await self._reader.stop()
            raise

    async def refresh(self) -> list[Revision]:
        """Read to the current end. Return the revisions that became valid since the last call or `start`, also own ones.

        Raises BrokerError, or DataError for a record in a later format.
        """
        await self._read()
        accepted, self._accepted = self._accepted, []
        return accepted

    async def propose(self, revision: Revision) -> None:
        """Append a revision and wait until it is known to be valid.

        The proposal is written to the audit before, if that is enabled.

        Raises RolloutConflict if another revision came first, BrokerError if the result cannot be determined, DataError if no
        reader could read the revision, before anything is written.
        """
        key, value = revision.encode()
        decode_revision(key, value)
        await self._read()
        if (winner := self.log.revision(revision.model, revision.based_on + 1)) is not None:
            raise RolloutConflict(revision, winner)
        if self.log.number(revision.model) != revision.based_on:
            raise BrokerError(
                f"model {revision.model!r}: revision {revision.based_on} does not exist in {self._topic}, which ends at "
                f"revision {self.log.number(revision.model)}",
                kind="rollout_base",
                remedy="repeat the command, which then starts from the current revision",
            )
        await self._producer.start()
        await self._record(revision)
        offset = await self._producer.send(self._topic, key, value, partition=0)
        await self._read_back(offset)
        winner = self.log.revision(revision.model, revision.number)
        if winner is None:
            raise BrokerError(
                f"model {revision.model!r}: the record at offset {offset} of {self._topic} is not a valid revision",
                kind="rollout_refused",
                remedy="read the topic with `forebay tail rollouts`",
            )
        if winner.id != revision.id:
            raise RolloutConflict(revision, winner)

    async def _record(self, revision: Revision) -> None:
        """Write the proposal to the audit, if it is enabled. Raises BrokerError."""
        actions = action_log(self._settings, process=socket.gethostname(), clock=self._clock)
        if actions is None:
            return
        details = {
            "model": revision.model,
            "revision": revision.number,
            "id": revision.id,
            "action": revision.action.value,
            "automatic": revision.automatic,
            "reason": revision.reason,
            "stable": revision.stable,
            "manifests": {str(version): digest for version, digest in revision.digests.items()},
        }
        await actions.record(Action("rollout", revision.author, socket.gethostname(), details))

    async def _read_back(self, offset: int) -> None:
        """Read until the record at the offset was read."""
        deadline_s = self._clock.monotonic_s() + READ_BACK_TIMEOUT_S
        while True:
            await self._read()
            if self._position > offset:
                return
            if self._clock.monotonic_s() > deadline_s:
                raise BrokerError(
                    f"the record at offset {offset} of {self._topic} could not be read within {READ_BACK_TIMEOUT_S:g} s",
                    kind="rollout_read_back",
                    remedy="an open transaction on this topic hides it until the transaction ends; then "
                    "`forebay models rollout` shows whether the change is valid",
                )
            await asyncio.sleep(READ_BACK_INTERVAL_S)

    async def _read(self) -> None:
        async with self._reading:
            offsets = (await self._reader.offset_ranges())[self._partition]
            self._require_complete(offsets)
            await self._require_same_topic()
            if self._position >= offsets.stop:
                return
            unread = {self._partition: range(self._position, offsets.stop)}
            found = [record async for _, records in self._reader.within(unread) for record in records]
            await self._require_same_topic()  # before any of them counts
            for record in found:
                self._add(record)
            # The last offsets may be those of transaction markers and aborted records.
            self._position = offsets.stop

    def _add(self, record: Record) -> None:
        if isinstance(record, Unreadable):
            raise BrokerError(
                f"the record at offset {record.first_offset} of {self._topic} cannot be read: {record.description}",
                kind="unreadable",
                remedy="repair the topic from another replica; what was valid after this record cannot be determined",
            )
        if record.offset < self._position:
            return
        revision = self.log.add(record.key, record.value, offset=record.offset, timestamp_ms=record.timestamp)
        self._position = record.offset + 1
        if revision is not None:
            self._accepted.append(revision)

    def _require_complete(self, offsets: range) -> None:
        if offsets.start > 0:
            raise BrokerError(
                f"the first {offsets.start} records of {self._topic} were deleted, so that its current revisions cannot be "
                "determined",
                kind="rollouts_deleted",
                remedy="its retention.ms must be -1 (`forebay topics check`). To start again from the configured versions, "
                "delete the topic and create it with `forebay topics create`",
            )
        if offsets.stop < self._position:
            raise self._recreated(
                f"ends at offset {offsets.stop}, before the offset {self._position} that was read: it was deleted and created "
                "again, or it lost records"
            )

    async def _require_same_topic(self) -> None:
        """Raise BrokerError if the topic is another one than was read before, even if it has as many records."""
        if self._identity.compare(await self._reader.topic_ids(), ()):
            raise self._recreated("was deleted and created again, so that its records are not those that were read")

    def _recreated(self, what: str) -> BrokerError:
        return BrokerError(
            f"{self._topic} {what}",
            kind="rollouts_recreated",
            remedy="restart, to start from what the topic holds now",
        )

    async def stop(self) -> None:
        """Close. Safe to call twice."""
        await self._reader.stop()
        await self._producer.stop()
