"""The pipeline: poll, decode, batch, run the model, reorder, commit. Only this module knows the order of the stages.

While one micro-batch is in the model, the next is decoded and the previous one is committed. Results that arrive during a
commit go into the next one (group commit). Everything here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import TopicRecreated
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, Epoch, Record, TopicPartition
from forebay.stream.decode import DecodedModel
from forebay.stream.output.emitter import ModelEmitter
from forebay.stream.pipeline.commit_pacing import CommitPacing
from forebay.stream.pipeline.early_closing import EarlyClosing
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.lane_status import LaneStatus
from forebay.stream.pipeline.lanes import Lanes
from forebay.stream.pipeline.observer import Observer
from forebay.stream.pipeline.recovery import InFlightWork, Recovery, wait_until_allowed
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.pipeline.stages import Breakers, Stages
from forebay.stream.pipeline.totals import Totals
from forebay.stream.pipeline.uncommitted import Uncommitted

log = logging.getLogger("forebay.pipeline")

PAUSE_AFTER_S = 1.0
IDLE_WAIT_S = 0.5
IDLE_COMMIT_S = 2.0
WINDOWS_POLL_S = 0.5
MAX_COMMIT_BYTES = 64 << 20
"""Approximate limit of the outputs of one commit. A broker may get all of them in one request; its default limit is 100 MiB."""


class Pipeline:
    """Runs the stages from the poll to the commit.

    max_poll_records: limit of one poll, in events.
    paused_by_operator: while it is set, nothing new is read.
    pacing: delays commits; None to commit results as soon as they are ready.
    """

    def __init__(
        self,
        in_flight: InFlight,
        breakers: Breakers,
        observer: Observer,
        *,
        revoke_timeout_s: float,
        max_poll_records: int,
        clock: Clock,
        pacing: CommitPacing | None = None,
    ) -> None:
        self._pacing = pacing
        self._in_flight = in_flight
        self._revoke_timeout_s = revoke_timeout_s
        self._breakers = breakers
        self._observer = observer
        self._max_poll_records = max_poll_records
        self._clock = clock
        self._uncommitted = Uncommitted()
        self._results_ready = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._early_closing = EarlyClosing(in_flight, enabled=pacing is None)
        self._check_windows_at_s = 0.0
        self._full_since_s: float | None = None
        self._idle_commit_at_s = 0.0
        self.paused_by_operator = False
        self.totals = Totals()

    def connect(self, stages: Stages) -> None:
        """Set the stages. They are built after the pipeline because they call back into it."""
        # Without the lanes, because rollouts replace them: nothing else may keep their models in memory.
        self._stages = replace(stages, lanes=())
        self._lanes = Lanes(
            stages.lanes,
            topics=stages.topics,
            in_flight=self._in_flight,
            observer=self._observer,
            result_ready=self._results_ready,
            clock=self._clock,
            may_change=stages.rollouts is not None,
            priorities=stages.priorities,
        )
        self._work = InFlightWork(
            self._in_flight,
            self._uncommitted,
            self._lanes,
            self._lanes.reorder,
            room=self._room,
            idle=self._idle,
            pacing=self._pacing,
        )
        self._recovery = Recovery(
            stages.source,
            stages.committer,
            stages.producer,
            self._work,
            breaker=self._breakers.cluster,
            observer=self._observer,
            clock=self._clock,
            revoke_timeout_s=self._revoke_timeout_s,
            totals=self.totals,
        )

    # ---- the poll

    async def run(self) -> None:
        """Poll until `stop` is called. Raises the error that ends the worker."""
        while not self._stopping:
            try:
                await self._poll_once()
            except TopicRecreated:
                raise
            except BrokerError:
                await self._commit_before_failure()
                raise

    async def feed_lanes(self) -> None:
        """Keep the executors busy. Raises the error that ends the worker."""
        await self._lanes.run()

    async def watch(self) -> None:
        """Watch the duration of model calls. Raises ModelError if one hangs."""
        await self._lanes.watch()

    def lanes_status(self) -> list[LaneStatus]:
        """Return the status of each lane."""
        return self._lanes.status()

    async def _poll_once(self) -> None:
        source, lanes, all_topics = self._stages.source, self._lanes, self._stages.topics
        now_s = self._clock.monotonic_s()
        self._breakers.cluster.advance(now_s)
        lanes.poll(now_s)
        if self._stages.rollouts is not None and lanes.stuck(now_s):
            self._results_ready.set()  # the task that commits takes their events from them
        self._close_idle_windows(now_s)
        if (schemas := self._stages.schemas) is not None:
            schemas.advance(source.epoch)
        wait_s = min(IDLE_WAIT_S, max(0.0, lanes.close_at_s() - now_s))
        if schemas is not None:
            wait_s = min(wait_s, schemas.max_poll_wait_s(now_s))
        topics = lanes.readable_topics(now_s)
        room = self._in_flight.room() if topics and self._may_read(now_s) else 0
        if room == 0 or (source.paused and not self._in_flight.is_low()):
            self._full_since_s = now_s if self._full_since_s is None else self._full_since_s
            if self._pacing is not None:
                self._pacing.hurry()
            if now_s - self._full_since_s >= PAUSE_AFTER_S:
                # Paused but still polled: the group removes a member that does not poll.
                source.pause()
                await source.poll(timeout_s=0, max_records=1)
            await self._wait_for_room(wait_s)
            return
        self._full_since_s = None
        source.resume()
        records = await self._stages.poller.poll(
            timeout_s=wait_s,
            max_records=self._in_flight.records_of(min(room, self._max_poll_records)),
            topics=None if topics == all_topics else topics,
        )
        if records and source.epoch is not None:
            if schemas is not None:
                records = schemas.admit(records, source.epoch)
            if records:
                self._process(records, source.epoch, began_s=now_s)
        elif self._in_flight.is_empty:
            positions = source.positions()
            self._uncommitted.keep_assigned(positions)
            if now_s >= self._idle_commit_at_s and positions is not None:
                await self._commit_idle(positions)
                self._idle_commit_at_s = now_s + IDLE_COMMIT_S
        # A poll that finds records does not yield to the event loop, which commits and heartbeats share.
        await asyncio.sleep(0)

    def _may_read(self, now_s: float) -> bool:
        """Return whether events read now can be committed: not paused by an operator, and the cluster's breaker not open.

        A drain reads only what it has to commit, whether or not an operator has paused the worker.
        """
        paused = self.paused_by_operator and not self._stopping
        return not paused and self._breakers.cluster.allows(now_s)

    async def _commit_before_failure(self) -> None:
        """Commit the records before a position that cannot be read, so that a restarted worker fails there at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._revoke_timeout_s):
                await self._work.finish()

    async def _commit_idle(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the positions of a poll that found nothing, once everything before them is committed.

        Partitions whose windows are being rebuilt are excluded: their positions are before the committed offsets.
        """
        source, windows = self._stages.source, self._stages.windows
        metadata = dict.fromkeys(positions, "")
        if windows is not None:
            windows.advance(positions)
            metadata = windows.metadata(positions)
        metadata = self._stages.idle_metadata(metadata)
        try:
            await source.commit_idle({partition: positions[partition] for partition in metadata}, metadata)
        except KafkaError as error:
            log.debug("cannot commit the positions while idle: %s", error)

    def stop(self) -> None:
        """Stop polling."""
        self._stopping = True
        self._room.set()

    async def drain(self) -> None:
        """Commit everything that was polled, after `stop`. The caller sets the deadline.

        Events that a failed commit drops are read again and committed, as long as this worker owns their partitions.
        """
        await self._work.finish()
        while self._uncommitted.is_behind(self._stages.source.positions()):
            await self._poll_once()
            await self._work.finish()
        self._uncommitted.record_all_read()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    @property
    def in_flight(self) -> InFlight:
        """Counts of events, bytes and micro-batches that were polled and are not yet committed."""
        return self._in_flight

    @property
    def num_in_flight(self) -> int:
        """Number of events that were polled and are not yet committed."""
        return self._in_flight.events

    @property
    def num_uncommitted(self) -> int:
        """Number of uncommitted events, including those that a rewind dropped and that will be read again."""
        return self._in_flight.events + self._uncommitted.num_to_read_again

    def _process(self, records: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch, *, began_s: float) -> None:
        now_s, wall_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        stages, windows = self._stages, self._stages.windows
        chunks: Sequence[Chunk] = stages.decoder.decode(records, epoch)
        num_events = sum(chunk.num_records for chunk in chunks)
        self._early_closing.on_polled(num_events)
        self._in_flight.on_decoded(events=num_events, records=sum(map(len, records.values())))
        if stages.rollouts is not None:
            chunks = stages.rollouts.route(chunks, records, now_ms=wall_ms)
        chunks = stages.filter(chunks)
        self._observer.on_polled(chunks, began_s=began_s, received_s=now_s)
        # A poll that only replays known events to rebuild windows has no parts.
        for part in chunks if windows is None else windows.take(chunks):
            self._add(part, now_s=now_s, wall_ms=wall_ms)
        self._close_early()

    def _add(self, part: BatchPart, *, now_s: float, wall_ms: int) -> None:
        self._idle.clear()
        self._uncommitted.record_taken(part)
        self._in_flight.on_polled(events=part.num_records, num_bytes=part.num_bytes)
        self._lanes.add(part, now_s=now_s, wall_ms=wall_ms)

    def _close_idle_windows(self, now_s: float) -> None:
        source, windows = self._stages.source, self._stages.windows
        if windows is None or source.epoch is None or now_s < self._check_windows_at_s:
            return
        self._check_windows_at_s = now_s + WINDOWS_POLL_S
        self._observer.on_window_status(windows.status())
        for part in windows.close_idle(source.epoch, source.is_at_end):
            self._add(part, now_s=now_s, wall_ms=self._clock.wall_ms())
            # Close at once: a part without events counts as in flight only once it is in a micro-batch.
            self._lanes.flush(reason="idle")

    def _close_early(self) -> None:
        if self._early_closing.is_due:
            self._lanes.flush(reason="idle")

    async def _wait_for_room(self, timeout_s: float) -> None:
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._room.wait()

    # ---- rollouts

    def add_lane(self, lane: Lane, emitter: ModelEmitter, decoded: DecodedModel) -> None:
        """Add a version of a served model. It gets no events until a revision that names it is switched to.

        lane: its executor is started and warm, and stays the caller's to stop.

        Raises ConfigError if the version cannot take part in rollouts.
        """
        self._rollouts().add(emitter, decoded)
        self._lanes.add_lane(lane, serves=False)

    def switch(self, served: ServedRevision) -> None:
        """Route the events of a model by this revision from the next poll on.

        Each of its versions must have a lane. Raises ConfigError if the model takes no part in rollouts.
        """
        rollouts = self._rollouts()
        rollouts.require(served.model)
        if missing := [ref for ref in sorted(served.refs) if not self._lanes.has_lane(ref)]:
            raise RuntimeError(f"revision {served.number} of {served.model} needs a lane for {missing[0]}")
        rollouts.switch(served)
        self._lanes.serve(served.model, served.refs)

    def remove_lane(self, ref: ModelRef) -> bool:
        """Remove the lane of a version, and return True; False as long as the version may get events or has some in flight."""
        rollouts = self._rollouts()
        if not self._lanes.remove_lane(ref):
            return False
        rollouts.remove(ref)
        return True

    def revisions(self) -> Mapping[str, int]:
        """Return the number of the revision by which the events of each model are routed, 0 for the configuration."""
        rollouts = self._stages.rollouts
        return {} if rollouts is None else dict(rollouts.numbers())

    def _rollouts(self) -> Rollouts:
        if self._stages.rollouts is None:
            raise RuntimeError("rollouts are not enabled")
        return self._stages.rollouts

    # ---- the commit

    async def commit_forever(self) -> None:
        """Commit results as they arrive. Raises the error that ends the worker."""
        while True:
            await self._results_ready.wait()
            self._results_ready.clear()
            await wait_until_allowed(self._breakers.cluster, self._clock)
            if self._stages.rollouts is not None:
                await self._leave_stuck_lanes()
            while batches := await self._take():
                num_drops = self._recovery.num_drops
                self._early_closing.on_commit_started(batches)
                ledger = await self._recovery.commit(batches)
                self._early_closing.on_commit_ended()
                if ledger is None:
                    break
                self.totals.add(ledger, sum(result.is_last_part for result in batches))
                self._uncommitted.record_committed(batches)
                if self._stages.duplicates is not None:
                    self._stages.duplicates.on_committed(batches)
                if num_drops == self._recovery.num_drops:
                    self._release(batches)

    async def _take(self) -> Sequence[BatchResult]:
        """Return the results to commit now, once the cadence permits a commit."""
        if self._pacing is not None:
            await self._pacing.wait()
        return self._lanes.reorder.take(
            max_records=self._max_poll_records * self._recovery.max_commit_batches, max_bytes=MAX_COMMIT_BYTES
        )

    async def _leave_stuck_lanes(self) -> None:
        """Read events again that are stuck in versions which serve no more, so that other versions predict them."""
        stuck = self._lanes.stuck(self._clock.monotonic_s())
        if stuck:
            names = ", ".join(map(str, stuck))
            await self._recovery.read_again(f"{names} cannot run and serves no more; other versions predict its events")

    def _release(self, batches: Sequence[BatchResult]) -> None:
        for result in batches:
            batch = result.batch
            self._in_flight.on_committed(
                events=batch.num_records, num_bytes=batch.num_bytes, batches=int(result.is_last_part)
            )
        self._lanes.release(batches)
        self._room.set()
        if self._in_flight.is_empty:
            self._idle.set()
        self._close_early()

    async def on_revoked(self) -> None:
        """Commit everything in flight before partitions are revoked, or drop it at the deadline."""
        await self._recovery.on_revoked()
