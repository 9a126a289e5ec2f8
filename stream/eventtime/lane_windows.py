"""The windows of all models in a worker: one window stage for each model that takes windows, over the same partitions.

A committed offset holds the states of all models that take windows of the partition's topic, so every poll passes through
all their window stages, also without events of the model. The parts of a poll end at the same offset in all lanes, which is
where a position may be. A model that takes windows of another topic joins a partition at the first event there that names it.

After an assignment a partition is read from the oldest open window of any model. Each model ignores the events before its own
oldest window, and models without windows ignore all events before the committed offset.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from forebay.schemas.errors import ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, Chunk, Committed, Epoch, TopicPartition, WindowStatus
from forebay.stream.eventtime.combined_state import combine, max_listed
from forebay.stream.eventtime.lane_restore import states_of_models
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import partition_name, split_at
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.window_chunk import WindowChunk

_FROM_START: Final = -1


class _Replay(NamedTuple):
    """A partition that is read again before its committed offset.

    starts: where each model's windows begin; the head for a model without open windows.
    """

    head: int
    starts: Mapping[ModelRef, int]


class _States(NamedTuple):
    """The states of the models' windows at a position, as metadata; a model without a state is missing."""

    position: int
    texts: Mapping[ModelRef, str]


class LaneWindows:
    """The windows of several models. All methods are for the event loop.

    plans: the plans of the models that take windows, at least one, in the order in which the models are listed.
    broker_time: whether the input's records have the broker's timestamps (`LogAppendTime`).
    topics: full names of the topics whose events are for a model unless they name another; all topics if it is missing.

    Raises ConfigError if there are too many models for the metadata of an offset.
    """

    def __init__(
        self,
        plans: Sequence[WindowPlan],
        *,
        clock: Clock,
        broker_time: bool = False,
        topics: Mapping[ModelRef, Collection[str]] | None = None,
    ) -> None:
        self._plans = {plan.model: plan for plan in plans}
        self._topics = topics or {}
        limit = max_listed([plan.model.name for plan in plans])
        self.stages: Mapping[ModelRef, WindowStage] = {
            plan.model: WindowStage(plan, clock=clock, broker_time=broker_time, max_listed=limit) for plan in plans
        }
        # By partition: the models that have windows there, each with the offset at which it has joined.
        self._joined: dict[TopicPartition, dict[ModelRef, int]] = {}
        self._replays: dict[TopicPartition, _Replay] = {}
        self._states: dict[TopicPartition, _States] = {}

    # ---- status

    def status(self) -> dict[TopicPartition, WindowStatus]:
        """Return the status of each partition's windows: sums over the models, and the lowest watermark."""
        status = self.status_by_model()
        return {
            partition: _total([status[model][partition] for model in joined])
            for partition, joined in self._joined.items()
            if joined
        }

    def status_by_model(self) -> dict[ModelRef, dict[TopicPartition, WindowStatus]]:
        """Return the status of the windows of each model in its partitions."""
        return {
            model: {
                partition: status
                for partition, status in stage.status().items()
                if model in self._joined.get(partition, ())
            }
            for model, stage in self.stages.items()
        }

    # ---- continuing from what is committed

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition; None where the start policy decides.

        Raises BrokerError for committed state that this worker cannot continue.
        """
        own: dict[ModelRef, dict[TopicPartition, Committed | None]] = {model: {} for model in self.stages}
        states, joined = {}, {}
        for partition, offset in committed.items():
            of_topic = [
                model for model in self.stages if partition.topic in self._topics.get(model, (partition.topic,))
            ]
            ordered = {model: self._plans[model] for model in (*of_topic, *self.stages)}
            found = {} if offset is None else states_of_models(ordered, partition, offset)
            joined[partition] = {model: _FROM_START for model in self.stages if model in of_topic or model in found}
            for model, offsets in own.items():
                offsets[partition] = None if offset is None else found.get(model, Committed(offset.offset, ""))
            if offset is not None:
                states[partition] = _States(offset.offset, {model: state.metadata for model, state in found.items()})
        positions = {model: stage.restore(own[model]) for model, stage in self.stages.items()}
        self._joined, self._states, self._replays = joined, states, {}
        starts: dict[TopicPartition, int | None] = {}
        for partition, offset in committed.items():
            by_model = {model: start for model in self.stages if (start := positions[model][partition]) is not None}
            starts[partition] = min(by_model.values(), default=None)
            if offset is not None and min(by_model.values()) < offset.offset:
                self._replays[partition] = _Replay(offset.offset, by_model)
        return starts

    def advance(self, positions: Mapping[TopicPartition, int]) -> None:
        """Record that reading has reached these positions and that all before them is committed; end replays that are over.

        A partition stays where it is until no model replays it. Raises BrokerError if a replay did not lead to what was
        committed.
        """
        ready = {
            partition: position
            for partition, position in positions.items()
            if all(stage.can_advance(partition, position) for stage in self.stages.values())
        }
        for stage in self.stages.values():
            stage.advance(ready)
        for partition, states in self._current_states(ready).items():
            self._states[partition] = states

    def metadata(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what to commit with positions that `advance` has recorded; nothing for partitions that are being replayed."""
        return {partition: self._text(states.texts) for partition, states in self._current_states(positions).items()}

    def _current_states(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, _States]:
        by_model = {model: stage.metadata(positions) for model, stage in self.stages.items()}
        return {
            partition: _States(position, {model: by_model[model][partition] for model in self._joined[partition]})
            for partition, position in positions.items()
            if partition in self._joined and all(partition in texts for texts in by_model.values())
        }

    def commit_metadata(self, partition: TopicPartition, position: int, states: Mapping[ModelRef, str]) -> str:
        """Return the metadata to commit with a position. Call in the order of the commits, before each one.

        states: `WindowChunk.metadata` of the last part of each model in this commit. A model may be missing if it has no
            part in this commit and the position does not change: further slices of closed windows, or windows closed by the
            clock.
        """
        before = self._states.get(partition)
        known = dict(states)
        if before is not None and before.position == position:
            known = {**before.texts, **states}
        else:
            lacking = [
                model for model, since in self._joined[partition].items() if since < position and model not in known
            ]
            if lacking:
                raise ForebayError(
                    f"{partition_name(partition)}: the commit of offset {position} has no state of the windows of "
                    f"{', '.join(model.name for model in lacking)}",
                    kind="window_state_missing",
                    remedy="this is a bug; nothing of this commit was sent",
                )
        self._states[partition] = _States(position, known)
        return self._text(known)

    def _text(self, states: Mapping[ModelRef, str]) -> str:
        if len(self.stages) == 1:
            return next(iter(states.values()), "")
        return combine({model: states[model] for model in self.stages if model in states})

    # ---- events

    def take(self, chunks: Sequence[Chunk]) -> list[BatchPart]:
        """Return the parts that the chunks of a poll produce, for the lanes of all models.

        chunks: all chunks of the poll. Those of models without windows are returned, without the records that are only read
            again; those of the others become window chunks. Each window lane gets the offsets of the whole poll.

        Raises BrokerError if the log no longer gives what was committed.
        """
        by_partition: dict[TopicPartition, list[Chunk]] = {}
        for chunk in chunks:
            by_partition.setdefault(chunk.partition, []).append(chunk)
        parts: list[BatchPart] = []
        for partition, own in by_partition.items():
            parts += self._take_partition(partition, own)
        return parts

    def _take_partition(self, partition: TopicPartition, chunks: Sequence[Chunk]) -> list[BatchPart]:
        epoch, next_offset = chunks[0].epoch, max(chunk.next_offset for chunk in chunks)
        replay = self._replays.get(partition)
        parts: list[BatchPart] = []
        of_windows: dict[ModelRef, list[Chunk]] = {}
        for chunk in chunks:
            start = None
            if replay is not None:
                start = replay.starts.get(chunk.model, replay.head)
            rest = chunk if start is None else split_at(chunk, start)[1]
            if rest is None or not rest.num_records:
                continue
            if chunk.model in self.stages:
                of_windows.setdefault(chunk.model, []).append(rest)
            else:
                parts.append(rest)
        self._join(partition, of_windows)
        for model in self._joined[partition]:
            if replay is not None and next_offset <= replay.starts[model]:
                continue
            own = of_windows.get(model) or [self._empty_chunk(partition, epoch, model, next_offset)]
            for chunk in _covering(own, next_offset):
                parts += self.stages[model].take(chunk)
        if replay is not None and next_offset > replay.head:
            del self._replays[partition]
        return parts

    def _join(self, partition: TopicPartition, chunks: Mapping[ModelRef, Sequence[Chunk]]) -> None:
        """Let models that have their first events in a partition take part in it from this poll on."""
        joined = self._joined[partition]
        for model, own in chunks.items():
            if model not in joined:
                # Not the start of the poll, which is unknown: no other model's state depends on it.
                joined[model] = own[0].first_offset
                self.stages[model].advance({partition: joined[model]})

    def _empty_chunk(self, partition: TopicPartition, epoch: Epoch, model: ModelRef, next_offset: int) -> Chunk:
        return Chunk(
            partition,
            epoch,
            model,
            records=[],
            ids=[],
            timestamps=[],
            x_BF=np.empty((0, self._plans[model].num_features), dtype=np.float32),
            rejections=[],
            num_records=0,
            num_bytes=0,
            next_offset=next_offset,
        )

    def close_idle(self, epoch: Epoch, is_at_end: Callable[[TopicPartition], bool]) -> list[WindowChunk]:
        """Close windows that are over by the wall clock, of models without events for their `idle_timeout_s`, as chunks.

        No window of a partition closes while a model replays it: all of its replays end first. The chunks have no records
        and leave the position as it is.

        is_at_end: whether everything in a partition's log was read.
        """
        chunks: list[WindowChunk] = []
        for partition, joined in self._joined.items():
            stages = [self.stages[model] for model in joined]
            waited = [stage for stage in stages if stage.has_waited(partition)]
            if not waited or not is_at_end(partition):
                continue
            for stage in stages:
                chunks += stage.finish_replay(partition, epoch)
            for stage in waited:
                chunks += stage.close_over(partition, epoch)
        return chunks


def _covering(chunks: Sequence[Chunk], next_offset: int) -> list[Chunk]:
    """Return consecutive chunks of one model such that the last ends at the end of the poll."""
    *before, last = chunks
    return [*before, last if last.next_offset == next_offset else replace(last, next_offset=next_offset)]


def _total(status: Sequence[WindowStatus]) -> WindowStatus:
    watermarks = [one.watermark_ms for one in status if one.watermark_ms is not None]
    return WindowStatus(
        sum(one.open_windows for one in status),
        sum(one.buffered_rows for one in status),
        min(watermarks, default=None),
        max((one.replaying for one in status if one.replaying is not None), default=None),
    )
