"""The stage between decoding and micro-batches that gathers events into windows: state, replay, and closing by the clock.

The worker has no store. The metadata committed with an offset says where the open windows begin (`checkpoint`). After an
assignment the worker reads the events from there to the committed offset again, without output, to rebuild the windows. What
a replay would not reproduce (time that passed, too much state) closes all windows of the partition, so that no replay
crosses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Chunk, Committed, Epoch, TopicPartition, WindowStatus
from forebay.stream.eventtime.checkpoint import CommittedState, Pending, encode
from forebay.stream.eventtime.intake import EventIntake
from forebay.stream.eventtime.partition_state import PartitionState
from forebay.stream.eventtime.partition_windows import Checkpoint, PartitionWindows
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import partition_name, read_committed, split_at, state_lost_error
from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.timestamp_guard import MAX_LISTED, MAX_REMEMBERED, Place, TimestampGuard
from forebay.stream.eventtime.types import NO_WATERMARK, Window
from forebay.stream.eventtime.window_chunk import ClosedWindows, EventOutcomes, WindowChunk

log = logging.getLogger("forebay.windows")


class _ChunkOutcomes(NamedTuple):
    """A chunk, the outcomes of its events, and the offset that the windows had reached before it."""

    outcomes: EventOutcomes
    chunk: Chunk
    first_offset: int


class WindowStage:
    """The windows of all partitions that this worker has. All methods are for the event loop.

    broker_time: whether the input's records have the broker's timestamps (`LogAppendTime`).
    max_listed: how many events that the clock rejected a checkpoint may list; smaller if several models share the metadata.
    """

    def __init__(
        self, plan: WindowPlan, *, clock: Clock, broker_time: bool = False, max_listed: int = MAX_LISTED
    ) -> None:
        self._plan = plan
        self._max_listed = max_listed
        self._bounds = replace(plan.limits.timestamps, broker_time=broker_time)
        self._clock = clock
        self._keeper = RowKeeper(
            plan.num_features,
            keep_last=plan.window_input.sequence_length,
            max_rows=plan.limits.max_rows_per_window,
        )
        self._intake = EventIntake(plan, clock=clock)
        self._partitions: dict[TopicPartition, PartitionState] = {}

    def status(self) -> dict[TopicPartition, WindowStatus]:
        """Return what the status API and the metrics show of each partition."""
        return {
            partition: WindowStatus(
                state.windows.num_windows,
                state.windows.num_rows,
                None if state.windows.watermark == NO_WATERMARK else state.windows.watermark,
                None if state.replay_target is None else state.replay_target.checkpoint.head,
            )
            for partition, state in self._partitions.items()
        }

    # ---- continuing from what is committed

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition; None where the start policy decides.

        Raises BrokerError for committed state that this worker cannot continue.
        """
        restored = {partition: self._restore_partition(partition, offset) for partition, offset in committed.items()}
        self._partitions = {partition: state for partition, (state, _) in restored.items()}
        replays = {
            partition_name(partition): state.replay_target.checkpoint.head - state.replay_target.checkpoint.replay_from
            for partition, state in self._partitions.items()
            if state.replay_target is not None
        }
        if replays:
            log.info(
                "rebuilding the open windows: reading up to %d records again (%s)",
                sum(replays.values()),
                ", ".join(f"{name}: {number}" for name, number in sorted(replays.items())),
            )
        return {partition: position for partition, (_, position) in restored.items()}

    def _restore_partition(
        self, partition: TopicPartition, committed: Committed | None
    ) -> tuple[PartitionState, int | None]:
        now_s = self._clock.monotonic_s()
        guard = TimestampGuard(self._bounds)
        if committed is None:
            return PartitionState(self._new_windows(0, NO_WATERMARK), guard, now_s), None
        target = read_committed(partition, committed)
        if target is None:
            return PartitionState(self._new_windows(committed.offset, NO_WATERMARK), guard, now_s), committed.offset
        checkpoint = target.checkpoint
        current = self._partitions.get(partition)
        same_plan = target.digest == self._plan.digest
        if (
            same_plan
            and target.pending is None  # otherwise the current windows have closed the pending ones already
            and current is not None
            and current.replay_target is None
            and current.windows.checkpoint() == checkpoint
        ):
            return current, committed.offset
        if not target.has_windows:
            windows = self._new_windows(checkpoint.head, checkpoint.watermark)
            return PartitionState(windows, guard, now_s), committed.offset
        if not same_plan and not self._plan.flush:
            raise BrokerError(
                f"{partition_name(partition)}: the group has open windows of another configuration of windows or another "
                f"model than {self._plan.model.name}, from offset {checkpoint.replay_from} to {checkpoint.head}",
                kind="window_config_changed",
                remedy="start with the old configuration until its windows are closed, set window.on_changed to flush (the "
                "events from there on make windows of the new configuration, which are closed at once), or use another "
                "group_id",
            )
        windows = self._new_windows(checkpoint.replay_from, checkpoint.watermark_before)
        state = PartitionState(windows, guard, now_s, replay_target=target, flush=not same_plan)
        return state, checkpoint.replay_from

    def _new_windows(self, head: int, watermark: int) -> PartitionWindows:
        return PartitionWindows(self._plan.spec, self._keeper, head=head, watermark=watermark)

    def can_advance(self, partition: TopicPartition, position: int) -> bool:
        """Return whether the partition has no replay left once reading has reached this position."""
        state = self._partitions.get(partition)
        if state is None or state.replay_target is None:
            return True
        return position >= state.replay_target.checkpoint.head and not state.must_emit

    def advance(self, positions: Mapping[TopicPartition, int]) -> None:
        """Record that reading has reached these positions and that all before them is committed; end replays that are over.

        Positions pass transaction markers and aborted records, which hold no events. Raises BrokerError if a replay did not
        lead to what was committed.
        """
        for partition, position in positions.items():
            state = self._partitions.get(partition)
            if state is None or not self.can_advance(partition, position):
                continue
            if state.replay_target is not None:
                self._end_replay(partition, state, state.replay_target)
            state.windows.head = max(state.windows.head, position)

    def metadata(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what to commit with positions that `advance` has recorded; nothing for partitions that are being replayed."""
        return {
            partition: self._encoded(state)
            for partition in positions
            if (state := self._partitions.get(partition)) is not None and state.replay_target is None
        }

    def _encoded(self, state: PartitionState) -> str:
        checkpoint = state.windows.checkpoint()
        return encode(CommittedState(self._plan.digest, checkpoint, self._clock_rejections(state, checkpoint)))

    def _clock_rejections(self, state: PartitionState, checkpoint: Checkpoint) -> tuple[Place, ...]:
        return state.guard.listed(checkpoint.replay_from, self._plan.newest_event_time(checkpoint.watermark))

    # ---- events

    def take(self, chunk: Chunk) -> list[WindowChunk]:
        """Return the windows and outcomes that this chunk produces; an empty list if it only replayed known events.

        Raises BrokerError if the log no longer gives what was committed.
        """
        state = self._partitions[chunk.partition]
        if chunk.num_records:
            state.last_event_s = self._clock.monotonic_s()
        parts: list[WindowChunk] = []
        if state.replay_target is not None:
            rest = self._replay(state, state.replay_target, chunk)
            target = state.replay_target
            if rest is None and (target.pending is None or chunk.next_offset < target.checkpoint.head):
                return []
            parts = self._finish_replay(chunk.partition, chunk.epoch, state)
            if rest is None:
                return parts
            chunk = rest
        first_offset, before = state.windows.head, state.windows.checkpoint()
        result, outcomes = self._intake.add(state, chunk, chunk.next_offset)
        resume = self._resume_state(state, before, first_offset)
        closed_early = self._enforce_limits(chunk.partition, state)
        if closed_early and resume is not None:
            resume = resume._replace(pending=Pending(first_offset, 0, all_open=True))
        closed = ClosedWindows(result.closed + closed_early, resume)
        parts.append(
            self._chunk(
                chunk.partition,
                chunk.epoch,
                state,
                closed=closed,
                read=_ChunkOutcomes(outcomes, chunk, first_offset),
            )
        )
        return parts

    def _replay(self, state: PartitionState, target: CommittedState, chunk: Chunk) -> Chunk | None:
        """Rebuild windows from the records before the committed offset; return the others, or None if there are none."""
        replayed, rest = split_at(chunk, target.checkpoint.head)
        if replayed is not None:
            since = replayed.next_offset if target.pending is None else target.pending.since
            emitted, pending = split_at(replayed, since)
            if emitted is not None:
                self._intake.add(state, emitted, emitted.next_offset)
            if pending is not None:
                state.unemitted += self._intake.add(state, pending, pending.next_offset)[0].closed
        return rest

    def _resume_state(self, state: PartitionState, before: Checkpoint, since: int) -> CommittedState | None:
        """Return the state from which windows that close now can be emitted in slices; None if it is too large to commit."""
        windows = state.windows
        checkpoint = Checkpoint(windows.head, before.replay_from, before.watermark_before, windows.watermark)
        clock_rejections = self._clock_rejections(state, checkpoint)
        if len(clock_rejections) > self._max_listed:
            return None
        return CommittedState(self._plan.digest, checkpoint, clock_rejections, Pending(since, 0, all_open=False))

    def _chunk(
        self,
        partition: TopicPartition,
        epoch: Epoch,
        state: PartitionState,
        *,
        closed: ClosedWindows,
        read: _ChunkOutcomes | None = None,
    ) -> WindowChunk:
        record_bytes = 0 if read is None else read.chunk.num_bytes
        first_offset = state.windows.head if read is None else read.first_offset
        if closed.resume is None:
            # All slices are committed together, so no position may be between them, also if there are no records.
            first_offset = min(first_offset, state.windows.head - 1)
        return WindowChunk(
            partition,
            epoch,
            self._plan.model,
            windows=closed.windows,
            window_input=self._plan.window_input,
            num_features=self._plan.num_features,
            first_offset=first_offset,
            next_offset=state.windows.head,
            metadata=self._encoded(state),
            record_timestamp=state.record_timestamp,
            events=EventOutcomes() if read is None else read.outcomes,
            num_records=0 if read is None else read.chunk.num_records,
            num_bytes=record_bytes + sum(window.num_bytes for window in closed.windows),
            resume=closed.resume,
            emitted=closed.emitted,
            record_bytes=record_bytes,
        )

    def _finish_replay(self, partition: TopicPartition, epoch: Epoch, state: PartitionState) -> list[WindowChunk]:
        """End a replay that has reached the committed offset; return the closed windows that are still to be emitted."""
        target, windows = state.replay_target, state.windows
        assert target is not None
        if state.flush:
            state.replay_target, state.unemitted, state.flush = None, [], False
            windows.head = target.checkpoint.head
            closed = windows.close_all()
            windows.watermark = max(windows.watermark, target.checkpoint.watermark)
            log.warning(
                "%s: closed %d windows because the configuration of windows has changed",
                partition_name(partition),
                len(closed),
            )
            return [self._chunk(partition, epoch, state, closed=ClosedWindows(closed, None))] if closed else []
        self._end_replay(partition, state, target)
        unemitted, state.unemitted = state.unemitted, []
        if target.pending is None:
            return []
        if target.pending.all_open:
            unemitted += windows.close_all()
        emitted = target.pending.emitted
        if len(unemitted) <= emitted:
            raise state_lost_error(
                partition, target, f"close {len(unemitted)} windows, but {emitted} were emitted already"
            )
        log.info(
            "%s: %d of %d closed windows are still to be emitted",
            partition_name(partition),
            len(unemitted) - emitted,
            len(unemitted),
        )
        return [self._chunk(partition, epoch, state, closed=ClosedWindows(unemitted[emitted:], target, emitted))]

    def _end_replay(self, partition: TopicPartition, state: PartitionState, target: CommittedState) -> None:
        """Record that the replay has ended. Raises BrokerError if it did not lead to what was committed."""
        state.replay_target = None
        state.windows.head = target.checkpoint.head
        if state.windows.watermark != target.checkpoint.watermark:
            difference = f"({state.windows.watermark} instead of {target.checkpoint.watermark})"
            raise state_lost_error(partition, target, f"do not lead to the committed watermark {difference}")
        log.info("%s: %d open windows are rebuilt", partition_name(partition), state.windows.num_windows)

    # ---- what a replay would not reproduce

    def _enforce_limits(self, partition: TopicPartition, state: PartitionState) -> list[Window]:
        """Close all windows of a partition that exceeds a limit; return them."""
        limits, windows = self._plan.limits, state.windows
        replay_records = windows.head - windows.checkpoint().replay_from
        for name, number, limit in (
            ("max_open_windows", windows.num_windows, limits.max_open_windows),
            ("max_buffered_rows", windows.num_rows, limits.max_buffered_rows),
            ("max_buffered_bytes", windows.num_bytes, limits.max_buffered_bytes),
            ("max_replay_records", replay_records, limits.max_replay_records),
        ):
            if number > limit:
                log.warning(
                    "%s: closed all %d open windows early: the limit window.%s is %d, and the partition has %d",
                    partition_name(partition),
                    windows.num_windows,
                    name,
                    limit,
                    number,
                )
                return windows.close_all()
        checkpoint = windows.checkpoint()
        state.guard.forget_before(checkpoint.replay_from)
        clock_rejections = self._clock_rejections(state, checkpoint)
        if len(clock_rejections) > self._max_listed or state.guard.num_remembered > MAX_REMEMBERED:
            log.warning(
                "%s: closed all %d open windows early: more events were rejected as ahead of this worker's clock than a "
                "checkpoint can list; check the clocks of the producers and of this worker",
                partition_name(partition),
                windows.num_windows,
            )
            return windows.close_all()
        return []

    def close_idle(self, epoch: Epoch, is_at_end: Callable[[TopicPartition], bool]) -> list[WindowChunk]:
        """Close the windows of idle partitions that are over by the wall clock; return them as chunks.

        A partition is idle if it had no events for `idle_timeout_s`.

        is_at_end: whether everything in a partition's log was read.
        """
        chunks = []
        for partition in self._partitions:
            if self.has_waited(partition) and is_at_end(partition):
                chunks += self.finish_replay(partition, epoch) + self.close_over(partition, epoch)
        return chunks

    def has_waited(self, partition: TopicPartition) -> bool:
        """Return whether the partition is idle, or windows are to be emitted at the end of its replay."""
        state = self._partitions[partition]
        return self._is_idle(state) or state.must_emit

    def finish_replay(self, partition: TopicPartition, epoch: Epoch) -> list[WindowChunk]:
        """End a replay that no chunk has ended because no record follows the committed offset; return what is to be emitted."""
        state = self._partitions[partition]
        return [] if state.replay_target is None else self._finish_replay(partition, epoch, state)

    def close_over(self, partition: TopicPartition, epoch: Epoch) -> list[WindowChunk]:
        """Close the windows of the partition if it is idle and they are over by the wall clock."""
        spec, state = self._plan.spec, self._partitions[partition]
        windows = state.windows
        over_ms = windows.max_end_ms() + spec.lateness_ms + spec.out_of_orderness_ms
        if not self._is_idle(state) or not windows.num_windows or self._clock.wall_ms() < over_ms:
            return []
        log.info("%s is idle: %d windows closed by the wall clock", partition_name(partition), windows.num_windows)
        resume = self._resume_state(state, windows.checkpoint(), windows.head)
        if resume is not None:
            resume = resume._replace(pending=Pending(windows.head, 0, all_open=True))
        return [self._chunk(partition, epoch, state, closed=ClosedWindows(windows.close_all(), resume))]

    def _is_idle(self, state: PartitionState) -> bool:
        return self._clock.monotonic_s() - state.last_event_s >= self._plan.limits.idle_timeout_s
