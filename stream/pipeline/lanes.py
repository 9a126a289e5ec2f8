"""The lanes of a worker: they share the event loop, the reorder buffer and the limits of what is in flight.

A blocked lane blocks only the topics that feed it: those that are configured for it, and those with events in flight for it.
They are not polled until the lane is free again. Within one topic, order demands that later events wait, whatever their
model.

While rollouts are enabled, lanes come and go: a version has its lane before it gets events, and keeps it for a while after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from forebay.schemas.errors import ModelError
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, BatchResult
from forebay.stream.inference.executor import Executor
from forebay.stream.pipeline.device_feed import DeviceFeed, ResultBuffer
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.lane_status import LaneStatus
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import Observer
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.priority_feeds import PriorityFeeds
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from forebay.stream.pipeline.router import ModelRouter, Router
from forebay.stream.pipeline.topic_shares import SHARES, TopicShares


@dataclass(slots=True)
class _LaneState:
    """A lane with its feed, and counts of what is in flight for it.

    topics: events in flight by input topic.
    serves: whether later events may come to it.
    running: the task of the feed, while the lanes run.
    """

    lane: Lane
    feed: DeviceFeed | PriorityFeeds
    num_bytes: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    serves: bool = True
    running: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight for it."""
        return not (self.num_bytes or self.topics.total() or self.feed.num_unfinished or any(self.feed.waiting()))


class Lanes:
    """Feeds the lanes and says which topics may be polled.

    lanes: at least one.
    reorder: the buffer that puts their results into order.
    result_ready: set after each result, for the committing task.
    may_change: whether lanes may be added and removed. A single lane then costs as much as one of several.
    priorities: None if all events have the same.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        topics: frozenset[str],
        in_flight: InFlight,
        observer: Observer,
        result_ready: asyncio.Event,
        clock: Clock,
        router: Router | None = None,
        may_change: bool = False,
        priorities: Priorities | None = None,
    ) -> None:
        self._topics = topics
        self._priorities = priorities
        self._in_flight = in_flight
        self._observer = observer
        self._result_ready = result_ready
        self._clock = clock
        self._merges = may_change or len(lanes) > 1
        self.reorder: ResultBuffer = MergingReorderBuffer(self._waiting) if self._merges else ReorderBuffer()
        self._states: dict[ModelRef, _LaneState] = {}
        self._group: asyncio.TaskGroup | None = None
        for lane in lanes:
            self.add_lane(lane)
        self._router = router or ModelRouter(self._states)
        # A single model or topic may use all that the limits permit.
        self._has_several_models = len({lane.model.name for lane in lanes}) > 1
        self._shares: TopicShares | None = None
        if priorities is not None and priorities.of_topics:
            self._shares = TopicShares(in_flight.bounds, lambda topic: SHARES[priorities.of_topic(topic)])
        elif self._has_several_models and len(topics) > 1:
            self._shares = TopicShares(in_flight.bounds)

    # ---- the lanes

    def add_lane(self, lane: Lane, *, serves: bool = True) -> None:
        """Add a lane, whose executor is started. serves: whether events may come to it from now on (see `serve`)."""
        assert lane.model not in self._states, f"there is a lane for {lane.model} already"
        feed = (
            self._build_feed(lane.batcher, lane.executor)
            if self._priorities is None
            else PriorityFeeds(lane.batcher, lane.executor, self._priorities, build=self._build_feed)
        )
        state = self._states[lane.model] = _LaneState(lane, feed, serves=serves)
        if self._group is not None:
            self._run_feed(state, self._group)

    def _build_feed(self, batcher: MicroBatcher, executor: Executor) -> DeviceFeed:
        return DeviceFeed(
            batcher,
            executor,
            self.reorder,
            in_flight=self._in_flight,
            observer=self._observer,
            result_ready=self._result_ready,
            bypass=self._merges,
        )

    def serve(self, name: str, models: Collection[ModelRef]) -> None:
        """Set which lanes of a model get events: while another one is blocked, it blocks nothing."""
        for ref, state in self._states.items():
            if ref.name == name:
                state.serves = ref in models

    def has_lane(self, model: ModelRef) -> bool:
        """Return whether a version has a lane."""
        return model in self._states

    def stuck(self, now_s: float) -> list[ModelRef]:
        """Return the versions that serve no more, but hold events for which their breaker permits no call.

        Nothing can be committed behind these events, and the version may never work again.
        """
        return [
            model
            for model, state in self._states.items()
            if not state.serves and not state.lane.breaker.allows(now_s) and not state.is_empty
        ]

    def remove_lane(self, model: ModelRef) -> bool:
        """Remove a lane, and return True; False as long as it serves or something is in flight for it."""
        state = self._states[model]
        if state.serves or not state.is_empty:
            return False
        del self._states[model]
        if state.running is not None:
            state.running.cancel()
        return True

    # ---- feeding

    def add(self, part: BatchPart, *, now_s: float, wall_ms: int) -> None:
        """Add a polled part to its lanes."""
        for model, routed in self._router.route(part):
            state = self._states[model]
            state.num_bytes += routed.num_bytes
            state.topics[routed.partition.topic] += routed.num_records
            if self._shares is not None:
                self._shares.add(routed.partition.topic, events=routed.num_records, num_bytes=routed.num_bytes)
            state.feed.add(routed, now_s=now_s, wall_ms=wall_ms)

    def poll(self, now_s: float) -> None:
        """Close open micro-batches whose time has come, and keep the executors busy."""
        for state in self._states.values():
            state.lane.breaker.advance(now_s)
            state.feed.poll(now_s)

    def flush(self, reason: str = "flush") -> None:
        """Close all open micro-batches once the waiting parts are cut."""
        for state in self._states.values():
            state.feed.flush(reason)

    def release(self, results: Sequence[BatchResult]) -> None:
        """Remove committed results from the counts."""
        for result in results:
            state = self._states[result.model]
            for part in result.batch.chunks:
                topic = part.partition.topic
                state.num_bytes -= part.num_bytes
                state.topics[topic] -= part.num_records
                if self._shares is not None:
                    self._shares.remove(topic, events=part.num_records, num_bytes=part.num_bytes)

    def purge(self) -> None:
        """Drop everything that was not submitted, and reset the counts."""
        if self._shares is not None:
            self._shares.purge()
        for state in self._states.values():
            state.feed.purge()
            state.num_bytes = 0
            state.topics.clear()

    async def run(self) -> None:
        """Keep the executors busy. Never returns. Raises the error that ends the worker."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._run_feeds(group)
                await asyncio.Event().wait()  # feeds come and go
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._group = None

    def _run_feeds(self, group: asyncio.TaskGroup) -> None:
        # Not in `run`, which never ends: its last local variable would keep a removed lane's model in memory.
        for state in self._states.values():
            self._run_feed(state, group)

    def _run_feed(self, state: _LaneState, group: asyncio.TaskGroup) -> None:
        state.running = group.create_task(
            state.feed.run(), name=f"feed-{state.lane.model.name}-{state.lane.model.version}"
        )

    def close_at_s(self) -> float:
        """Return the monotonic time at which the next open micro-batch closes by itself; infinity without one."""
        return min(state.feed.close_at_s() for state in self._states.values())

    def _waiting(self) -> Iterator[BatchPart]:
        for state in self._states.values():
            yield from state.feed.waiting()

    # ---- what may be read

    def readable_topics(self, now_s: float) -> frozenset[str]:
        """Return the input topics that feed no blocked lane."""
        held = (self._held_by(state, now_s) for state in self._states.values())
        return self._topics.difference(self._full_topics(), *held)

    def _held_by(self, state: _LaneState, now_s: float) -> frozenset[str]:
        """Return the topics that are not read because a lane is blocked."""
        if self._blocked(state, now_s) is None:
            return frozenset()
        fed_by = self._fed_by(state)
        return state.feed.held_topics(fed_by) if state.lane.breaker.allows(now_s) else fed_by

    def _full_topics(self) -> frozenset[str]:
        """Return the topics that hold all that is permitted to be in flight for them."""
        if self._shares is not None:
            return frozenset(self._shares.full())
        return frozenset() if self._in_flight.room() else self._topics

    def _fed_by(self, state: _LaneState) -> frozenset[str]:
        in_flight = frozenset(topic for topic, events in state.topics.items() if events)
        if not state.serves:
            return in_flight
        return in_flight | state.lane.topics if self._has_several_models else self._topics

    def _blocked(self, state: _LaneState, now_s: float) -> str | None:
        if not state.lane.breaker.allows(now_s):
            return "breaker_open"
        return "device_backlog" if state.feed.is_backed_up else None

    def status(self) -> list[LaneStatus]:
        """Return the status of each lane."""
        now_s, full = self._clock.monotonic_s(), self._full_topics()
        return [
            LaneStatus(
                model=model,
                events=state.topics.total(),
                num_bytes=state.num_bytes,
                batches=state.feed.num_unfinished,
                waiting=state.feed.num_waiting,
                blocked=self._blocked(state, now_s)
                or (None if full.isdisjoint(self._fed_by(state)) else "in_flight_limit"),
                topics=tuple(sorted(state.lane.topics)),
                call_for_s=state.lane.executor.running_for_s(),
                breaker=state.lane.breaker,
                instances=state.lane.instances(),
                priorities=state.feed.statuses() if isinstance(state.feed, PriorityFeeds) else {},
                unknown_priorities=state.feed.num_unknown if isinstance(state.feed, PriorityFeeds) else 0,
            )
            for model, state in self._states.items()
        ]

    # ---- the watch

    async def watch(self) -> None:
        """Open a lane's circuit breaker when a model call takes too long.

        Raises ModelError if a call hangs: a thread cannot be stopped, so the process has to stop.
        """
        while True:
            shortest_s = min(state.lane.call_limits.timeout_s for state in self._states.values())
            await asyncio.sleep(min(1.0, shortest_s / 4))
            self.check_calls()

    def check_calls(self) -> None:
        """Check the model calls that events wait for. A version that serves no more may hang until it is removed."""
        for state in self._states.values():
            if state.serves or not state.is_empty:
                self._check_call(state.lane)

    def _check_call(self, lane: Lane) -> None:
        running_s, limits = lane.executor.running_for_s(), lane.call_limits
        if running_s > limits.hang_timeout_s:
            model = f" of {self._label(lane.model)}" if len(self._states) > 1 else ""
            raise ModelError(
                f"a model call{model} has not returned after {running_s:.1f} s",
                kind="call_timeout",
                remedy="raise model.call_timeout_ms if the model is that slow; its events were not committed and "
                "will be read again",
            )
        if running_s > limits.timeout_s:
            lane.breaker.trip(self._clock.monotonic_s(), f"a call has not returned after {running_s:.1f} s")

    def _label(self, model: ModelRef) -> str:
        """Return the model's name, with the version if several are loaded."""
        is_alone = all(ref.name != model.name for ref in self._states if ref != model)
        return model.name if is_alone else str(model)
