"""The stage between decoding and micro-batches where events are gathered into windows: state, replay, and closing by the clock.

The worker keeps no store. What it commits with a position says from where the open windows can be made again (`checkpoint`);
after an assignment the events from there to the position are read once more, with nothing emitted. What would not come out
the same a second time (time that went by, too much state) closes all windows of the partition, so that no replay crosses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Chunk, Committed, Epoch, TopicPartition, WindowStatus
from forebay.stream.eventtime.checkpoint import Pending, State, encode
from forebay.stream.eventtime.intake import EventIntake
from forebay.stream.eventtime.partition_state import PartitionState
from forebay.stream.eventtime.partition_windows import Checkpoint, PartitionWindows
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import parted, partition_name, read_state, state_lost
from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.timestamp_guard import MAX_KEPT, MAX_LISTED, TimestampGuard
from forebay.stream.eventtime.types import NO_WATERMARK, Window
from forebay.stream.eventtime.window_chunk import Closing, EventOutcomes, WindowChunk

log = logging.getLogger("forebay.windows")


class _Records(NamedTuple):
    outcomes: EventOutcomes
    chunk: Chunk


class WindowStage:
    """Windows of all partitions that this worker has. All methods are for the event loop.

    broker_time: the input's records have the broker's timestamps (`LogAppendTime`).
    """

    def __init__(self, plan: WindowPlan, *, clock: Clock, broker_time: bool = False) -> None:
        self._plan = plan
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
        """For people and metrics."""
        return {
            partition: WindowStatus(
                held.windows.num_windows,
                held.windows.num_rows,
                None if held.windows.watermark == NO_WATERMARK else held.windows.watermark,
                None if held.until is None else held.until.checkpoint.head,
            )
            for partition, held in self._partitions.items()
        }

    # ---- going on from what is committed

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Where reading goes on, None where the start policy says. Raises BrokerError for state that is not to be continued."""
        restored = {partition: self._restored(partition, found) for partition, found in committed.items()}
        self._partitions = {partition: held for partition, (held, _) in restored.items()}
        again = {
            f"{p.topic}-{p.partition}": held.until.checkpoint.head - held.until.checkpoint.replay_from
            for p, held in self._partitions.items()
            if held.until is not None
        }
        if again:
            log.info(
                "making the open windows again: reading up to %d records once more (%s)",
                sum(again.values()),
                ", ".join(f"{name}: {number}" for name, number in sorted(again.items())),
            )
        return {partition: position for partition, (_, position) in restored.items()}

    def _restored(self, partition: TopicPartition, found: Committed | None) -> tuple[PartitionState, int | None]:
        now_s = self._clock.monotonic_s()
        guard = TimestampGuard(self._bounds)
        if found is None:
            return PartitionState(self._fresh(0, NO_WATERMARK), guard, now_s), None
        state = read_state(partition, found)
        if state is None:
            return PartitionState(self._fresh(found.offset, NO_WATERMARK), guard, now_s), found.offset
        at = state.checkpoint
        kept = self._partitions.get(partition)
        same = state.digest == self._plan.digest
        resumed = state.pending is not None  # what is kept has closed these windows already
        if same and not resumed and kept is not None and kept.until is None and kept.windows.checkpoint() == at:
            return kept, found.offset
        if at.replay_from == at.head:
            return PartitionState(self._fresh(at.head, at.watermark), guard, now_s), found.offset
        if not same and not self._plan.flush:
            raise BrokerError(
                f"{partition_name(partition)}: the group has windows open from offset {at.replay_from} to {at.head} of another "
                "configuration of windows or another model",
                kind="window_config_changed",
                remedy="start with the old configuration until its windows are closed, set window.on_changed to flush (the "
                "events since then make windows of the new configuration, closed at once), or use another group_id",
            )
        windows = self._fresh(at.replay_from, at.watermark_before)
        return PartitionState(windows, guard, now_s, until=state, flush=not same), at.replay_from

    def _fresh(self, head: int, watermark: int) -> PartitionWindows:
        return PartitionWindows(self._plan.spec, self._keeper, head=head, watermark=watermark)

    def advance(self, positions: Mapping[TopicPartition, int]) -> None:
        """Record that reading has reached these positions and that all before them is committed; end replays that are over.

        Positions pass transaction markers and aborted records, which hold no events. Raises BrokerError if a replay did not
        lead to what was committed.
        """
        for partition, position in positions.items():
            held = self._partitions.get(partition)
            if held is None:
                continue
            if held.until is not None:
                if position < held.until.checkpoint.head or held.owes:
                    continue
                self._end_replay(partition, held, held.until)
            held.windows.head = max(held.windows.head, position)

    def metadata(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what to commit with positions that `advance` has recorded; nothing for partitions that are being replayed."""
        return {
            partition: self._encoded(held)
            for partition in positions
            if (held := self._partitions.get(partition)) is not None and held.until is None
        }

    def _encoded(self, held: PartitionState) -> str:
        at = held.windows.checkpoint()
        return encode(
            State(self._plan.digest, at, held.guard.listed(at.replay_from, self._plan.newest_at(at.watermark)))
        )

    # ---- events

    def take(self, chunk: Chunk) -> list[WindowChunk]:
        """Return what a poll of a partition comes to; nothing where it was only read again.

        Raises BrokerError where the log has changed.
        """
        held = self._partitions[chunk.partition]
        held.seen_s = self._clock.monotonic_s()
        parts: list[WindowChunk] = []
        if held.until is not None:
            rest = self._replay(held, held.until, chunk)
            if rest is None and (held.until.pending is None or chunk.next_offset < held.until.checkpoint.head):
                return []
            parts = self._made_again(chunk.partition, chunk.epoch, held)
            if rest is None:
                return parts
            chunk = rest
        since, before = held.windows.head, held.windows.checkpoint()
        verdict, outcomes = self._intake.add(held, chunk, chunk.next_offset)
        resume = self._resumable(held, before, since)
        escaped = self._escape(chunk.partition, held)
        if escaped and resume is not None:
            resume = resume._replace(pending=Pending(since, 0, all=True))
        closing = Closing(verdict.closed + escaped, resume)
        parts.append(
            self._chunk(chunk.partition, chunk.epoch, held=held, closing=closing, records=_Records(outcomes, chunk))
        )
        return parts

    def _replay(self, held: PartitionState, state: State, chunk: Chunk) -> Chunk | None:
        """Make windows again from the records before the committed position; return the others, None where there are none."""
        again, rest = parted(chunk, state.checkpoint.head)
        if again is not None:
            known, owing = parted(again, again.next_offset if state.pending is None else state.pending.since)
            if known is not None:
                self._intake.add(held, known, known.next_offset)
            if owing is not None:
                held.owed += self._intake.add(held, owing, owing.next_offset)[0].closed
        return rest

    def _resumable(self, held: PartitionState, before: Checkpoint, since: int) -> State | None:
        """Return the state from which windows that close now can be emitted in slices; None if it is too large to commit."""
        windows = held.windows
        at = Checkpoint(windows.head, before.replay_from, before.watermark_before, windows.watermark)
        by_clock = held.guard.listed(at.replay_from, self._plan.newest_at(at.watermark))
        if len(by_clock) > MAX_LISTED:
            return None
        return State(self._plan.digest, at, by_clock, Pending(since, 0, all=False))

    def _chunk(
        self,
        partition: TopicPartition,
        epoch: Epoch,
        held: PartitionState,
        closing: Closing,
        records: _Records | None = None,
    ) -> WindowChunk:
        record_bytes = 0 if records is None else records.chunk.num_bytes
        return WindowChunk(
            partition,
            epoch,
            windows=closing.windows,
            window_input=self._plan.window_input,
            num_features=self._plan.num_features,
            next_offset=held.windows.head,
            metadata=self._encoded(held),
            record_timestamp=held.record_timestamp,
            events=EventOutcomes() if records is None else records.outcomes,
            num_records=0 if records is None else records.chunk.num_records,
            num_bytes=record_bytes + sum(window.num_bytes for window in closing.windows),
            resume=closing.resume,
            given=closing.given,
            record_bytes=record_bytes,
        )

    def _made_again(self, partition: TopicPartition, epoch: Epoch, held: PartitionState) -> list[WindowChunk]:
        """Return the windows that still have to be emitted, now that a replay has reached the committed position."""
        state, windows = held.until, held.windows
        assert state is not None
        if held.flush:
            held.until, held.owed, held.flush = None, [], False
            windows.head = state.checkpoint.head
            closed = windows.close_all()
            windows.watermark = max(windows.watermark, state.checkpoint.watermark)
            log.warning("%s: %d windows closed, of another configuration", partition_name(partition), len(closed))
            return [self._chunk(partition, epoch, held, Closing(closed, None))] if closed else []
        self._end_replay(partition, held, state)
        owed, held.owed = held.owed, []
        if state.pending is None:
            return []
        if state.pending.all:
            owed += windows.close_all()
        given = state.pending.given
        if len(owed) <= given:
            raise state_lost(partition, state, f"close {len(owed)} windows, of which {given} are out already")
        log.info(
            "%s: %d of %d closed windows are still to be given out",
            partition_name(partition),
            len(owed) - given,
            len(owed),
        )
        return [self._chunk(partition, epoch, held, Closing(owed[given:], state, given))]

    def _end_replay(self, partition: TopicPartition, held: PartitionState, state: State) -> None:
        """Record that the replay has ended. Raises BrokerError if it did not lead to what was committed."""
        held.until = None
        held.windows.head = state.checkpoint.head
        if held.windows.watermark != state.checkpoint.watermark:
            instead = f"({held.windows.watermark} instead of {state.checkpoint.watermark})"
            raise state_lost(partition, state, f"do not give the watermark that was committed {instead}")
        log.info("%s: %d open windows are there again", partition_name(partition), held.windows.num_windows)

    # ---- what does not come out the same a second time

    def _escape(self, partition: TopicPartition, held: PartitionState) -> list[Window]:
        limits, windows = self._plan.limits, held.windows
        replay = windows.head - windows.checkpoint().replay_from
        for name, number, most in (
            ("max_open_windows", windows.num_windows, limits.max_open_windows),
            ("max_buffered_rows", windows.num_rows, limits.max_buffered_rows),
            ("max_buffered_bytes", windows.num_bytes, limits.max_buffered_bytes),
            ("max_replay_records", replay, limits.max_replay_records),
        ):
            if number > most:
                log.warning(
                    "%s: all %d open windows closed before their time: window.%s is %d, and there are %d",
                    partition_name(partition),
                    windows.num_windows,
                    name,
                    most,
                    number,
                )
                return windows.close_all()
        at = windows.checkpoint()
        held.guard.forget_before(at.replay_from)
        by_clock = held.guard.listed(at.replay_from, self._plan.newest_at(at.watermark))
        if len(by_clock) > MAX_LISTED or held.guard.num_kept > MAX_KEPT:
            log.warning(
                "%s: all %d open windows closed before their time: more events ahead of this worker's clock were rejected than "
                "can be remembered",
                partition_name(partition),
                windows.num_windows,
            )
            return windows.close_all()
        return []

    def close_idle(self, epoch: Epoch, is_at_end: Callable[[TopicPartition], bool]) -> list[WindowChunk]:
        """Partitions without events for `idle_timeout_s` whose windows are over by the wall clock: these are closed.

        is_at_end: whether all that a partition's log holds was read.
        """
        spec, now_s, wall_ms = self._plan.spec, self._clock.monotonic_s(), self._clock.wall_ms()
        found = []
        for partition, held in self._partitions.items():
            idle = now_s - held.seen_s >= self._plan.limits.idle_timeout_s
            if not (idle or held.owes) or not is_at_end(partition):
                continue
            if held.until is not None:
                # Nothing came after the committed position, so nothing else has noticed that they are there again.
                found += self._made_again(partition, epoch, held)
            windows = held.windows
            over_ms = windows.last_end_at_most() + spec.lateness_ms + spec.out_of_orderness_ms
            if idle and windows.num_windows and wall_ms >= over_ms:
                name = partition_name(partition)
                log.info("%s is idle: windows closed by the wall clock: %d", name, windows.num_windows)
                resume = self._resumable(held, windows.checkpoint(), windows.head)
                if resume is not None:
                    resume = resume._replace(pending=Pending(windows.head, 0, all=True))
                found.append(self._chunk(partition, epoch, held, Closing(windows.close_all(), resume)))
        return found
