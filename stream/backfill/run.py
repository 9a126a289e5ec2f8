"""The run of a back-fill: what it will read, the start that fixes it, the worker, and the end once all is committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from forebay.models.backends.protocol import Model
from forebay.schemas.errors import BrokerError, ConfigError
from forebay.schemas.topics import OUTCOME_DELTAS, topic_name
from forebay.stream.backfill.completion import Completion, completion
from forebay.stream.backfill.run_settings import (
    RunName,
    output_topics,
    require_same_versions,
    run_settings,
    with_versions,
)
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import Settings, TopicsSection
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.core.stop_request import StoppedEarly, StopRequest
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topic_plan import plan_topics
from forebay.stream.kafka.cluster.topics import create_topics, describe_topics
from forebay.stream.kafka.consumer.backfill_group import BackfillGroup, RunProgress, open_backfill_group
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRange
from forebay.stream.kafka.consumer.lag_guard import LagGuard
from forebay.stream.kafka.consumer.read_bounds import ReadBound
from forebay.stream.kafka.consumer.read_throttle import ReadThrottle
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.supervisor.run import fork_for, run_processes
from forebay.stream.worker.assembly import run_worker
from forebay.stream.worker.backfill_assembly import Backfill
from forebay.stream.worker.start import load_initial_models
from forebay.stream.worker.supervision import Supervision

log = logging.getLogger("forebay.backfill")

POLL_S: Final = 0.5
OnProgress = Callable[[Completion], None]


class BackfillStopped(Exception):
    """The back-fill was stopped by a signal, and can continue. number: the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What a user asks for.

    settings: of the workers.
    versions: that the user asks for, by name of the model.
    configured: of a new back-fill, besides those; the others are as in the settings.
    outputs_given: whether the user has named the prefix of the outputs, rather than leaving it to the run.
    close_windows: whether windows that are open at the end are emitted.
    max_rate: records to read per second, of all processes together; None for no limit.
    max_lag: the group whose lag holds the reading, and its limit in records; None if none does.
    processes: number of processes.
    """

    settings: Settings
    run: RunName
    begin: ReadBound
    end: ReadBound
    versions: Mapping[str, int]
    configured: Mapping[str, int] = field(default_factory=dict)
    outputs_given: bool = False
    close_windows: bool = False
    max_rate: float | None = None
    max_lag: tuple[str, int] | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a back-fill does.

    settings: of its worker. outputs: names and numbers of its output topics.
    progress: by partition; of a new one, what it would begin with.
    is_new: whether it begins now rather than continues.
    """

    request: BackfillRequest
    settings: Settings
    outputs: TopicsSection
    models: tuple[ModelRef, ...]
    progress: Mapping[TopicPartition, RunProgress]
    is_new: bool

    @property
    def run(self) -> RunName:
        """The names of the back-fill."""
        return self.request.run

    @property
    def longest_window_ms(self) -> int:
        """The longest time that a window is open, with all that may keep it open."""
        windows = [served.window for served in self.settings.models_to_serve() if served.window.kind != "none"]
        return max((2 * window.longest_ms for window in windows), default=0)

    def completion(self, progress: Mapping[TopicPartition, RunProgress], *, now_ms: int) -> Completion:
        """Return how far it is. now_ms: since the Unix epoch."""
        closable_ms = now_ms - self.longest_window_ms if self.request.close_windows else None
        return completion(progress, closable_before_ms=closable_ms)


async def plan_backfill(
    request: BackfillRequest,
    resolve: Callable[[ServedModelSettings], ModelRef],
    *,
    dry_run: bool,
    clock: Clock,
) -> BackfillPlan:
    """Return the plan of a back-fill; unless `dry_run`, create its topics and record its ranges if it is new.

    resolve: returns the version that a worker with these settings would load.

    Raises ConfigError, ModelError and BrokerError.
    """
    settings = request.settings
    options = client_options(settings.kafka)
    names = [topic_name(settings.topics.prefix, topic) for topic in settings.input.topics]
    states = await describe_topics(settings.kafka, names)
    if missing := [name for name in names if states[name].status != "present"]:
        raise BrokerError(
            f"there is no input topic {missing[0]}, or this user may not describe it",
            kind="unknown_topic",
            remedy="check input.topics and topics.prefix; `forebay topics check` compares all topics",
        )
    partitions = [TopicPartition(name, number) for name in names for number in range(states[name].num_partitions)]
    first = states[names[0]]
    outputs = output_topics(
        settings, request.run, num_partitions=first.num_partitions, replication_factor=first.replication_factor
    )
    async with open_backfill_group(options, request.run.group_id, partitions) as group:
        if (recorded := await group.progress()) is not None:
            return _resumed(request, outputs, recorded)
        await _require_unused(request, group)
        settings = with_versions(settings, {**request.configured, **request.versions})
        models = tuple(map(resolve, settings.models_to_serve()))
        found = await group.find_ranges(request.begin, request.end)
        frozen = {
            place: FrozenRange(offsets.start, offsets.stop, request.run.outputs, models)
            for place, offsets in found.items()
        }
        plan = _plan(request, outputs, models, BackfillGroup.beginning(frozen), is_new=True)
        if dry_run:
            return plan
        await _create(plan)
        await group.freeze(frozen)
        # Another command may have begun the same run at the same time: what is recorded counts.
        recorded = await group.progress()
        assert recorded is not None
        return replace(_resumed(request, outputs, recorded), is_new=True)


async def _require_unused(request: BackfillRequest, group: BackfillGroup) -> None:
    """Raise ConfigError if the output topics have results of another run, with which those of a new one would be mixed."""
    topic = f"{request.run.outputs}{OUTCOME_DELTAS.name}"
    state = (await describe_topics(request.settings.kafka, [topic]))[topic]
    if await group.has_records([TopicPartition(topic, number) for number in range(state.num_partitions)]):
        raise ConfigError(
            f"the topics {request.run.outputs}… have results of another run already",
            kind="backfill_outputs",
            remedy="give another --run-id or --output-prefix, or delete these topics",
        )


def _resumed(
    request: BackfillRequest, outputs: TopicsSection, recorded: Mapping[TopicPartition, RunProgress]
) -> BackfillPlan:
    frozen = next(iter(recorded.values())).frozen
    require_same_versions(request.run, frozen.models, request.versions)
    if request.outputs_given and request.run.outputs != frozen.outputs:
        raise ConfigError(
            f"the back-fill {request.run.run_id} writes to the topics {frozen.outputs}…, not {request.run.outputs}…",
            kind="backfill_outputs",
            remedy="give another --run-id for other topics, or leave --output-prefix out to continue",
        )
    request = replace(request, run=replace(request.run, outputs=frozen.outputs))
    outputs = outputs.model_copy(update={"prefix": frozen.outputs})
    return _plan(request, outputs, frozen.models, recorded, is_new=False)


def _plan(
    request: BackfillRequest,
    outputs: TopicsSection,
    models: tuple[ModelRef, ...],
    progress: Mapping[TopicPartition, RunProgress],
    *,
    is_new: bool,
) -> BackfillPlan:
    settings = with_versions(request.settings, {ref.name: ref.version for ref in models})
    own = run_settings(settings, request.run, close_windows=request.close_windows, processes=request.processes)
    return BackfillPlan(request, own, outputs, models, progress=progress, is_new=is_new)


async def _create(plan: BackfillPlan) -> None:
    """Create the output topics that do not exist yet. Raises BrokerError if the cluster refuses one."""
    wanted = [topic for topic in plan_topics(plan.settings, plan.outputs) if topic.name.startswith(plan.run.outputs)]
    inputs = {partition.topic for partition in plan.progress}
    for result in await create_topics(plan.settings, [topic for topic in wanted if topic.name not in inputs]):
        if result.status == "refused":
            raise BrokerError(
                f"the cluster refuses the topic {result.topic.name}: {result.reason}",
                kind="topics",
                remedy="allow this user to create topics, or create the topics of `forebay backfill --dry-run` yourself",
            )


def worker_runner(plan: BackfillPlan) -> Callable[[Settings, Supervision], Pipeline]:
    """Return what loads the models and runs the worker of one process."""

    def run(settings: Settings, supervision: Supervision) -> Pipeline:
        return asyncio.run(run_worker_of(plan, settings, load_initial_models(settings), supervision))

    return run


async def run_worker_of(
    plan: BackfillPlan, settings: Settings, models: list[Model], supervision: Supervision
) -> Pipeline:
    """Run the worker of one process until it is stopped. Raises the error that ended it, or the guard of the lag."""
    request = plan.request
    throttle = ReadThrottle(None if request.max_rate is None else request.max_rate / request.processes)
    worker = asyncio.create_task(
        run_worker(settings, models, supervision=supervision, backfill=Backfill(plan.outputs, throttle))
    )
    tasks: list[asyncio.Task[Any]] = [worker]
    if request.max_lag is not None:
        group_id, limit = request.max_lag
        guard = LagGuard(client_options(settings.kafka), group_id, list(plan.progress), limit=limit)
        tasks.append(asyncio.create_task(guard.run(throttle)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[1:]:
            if task.done():
                task.result()
        return await worker
    finally:
        await cancel_until_done(*tasks)


async def run_backfill(plan: BackfillPlan, models: list[Model], on_progress: OnProgress, *, clock: Clock) -> Completion:
    """Run a worker in this process until all is committed, and return how far the back-fill is.

    Raises BackfillStopped after SIGTERM or SIGINT before that, or the error that ended the worker.
    """
    stop = StopRequest()
    supervision = Supervision(admin_socket=None, stop=stop, leaves_group=lambda: True)
    worker = asyncio.create_task(run_worker_of(plan, plan.settings, models, supervision))
    following = asyncio.create_task(follow_backfill(plan, on_progress, clock=clock))
    try:
        await asyncio.wait({worker, following}, return_when=asyncio.FIRST_COMPLETED)
        if following.done() and not worker.done() and not stop.is_requested:
            stop.request(signal.SIGTERM)
        with contextlib.suppress(StoppedEarly):
            await worker
        if stop.is_requested and not following.done():
            raise BackfillStopped(stop.number)
        return await following
    finally:
        await cancel_until_done(worker, following)


def run_backfill_processes(plan: BackfillPlan, on_progress: OnProgress, *, clock: Clock) -> Completion:
    """Run workers in processes of their own until all is committed, and return how far the back-fill is.

    Raises BackfillStopped after SIGTERM or SIGINT before that, or the error that ended the whole.
    """
    forked = fork_for(plan.settings, worker_runner(plan))
    ended: list[Completion] = []

    async def until_complete() -> None:
        ended.append(await follow_backfill(plan, on_progress, clock=clock))

    run_processes(plan.settings, forked, lambda: plan.settings, until_complete)
    if not ended:
        raise BackfillStopped(signal.SIGTERM)
    return ended[0]


async def follow_backfill(plan: BackfillPlan, on_progress: OnProgress, *, clock: Clock) -> Completion:
    """Wait until all is committed, by any process, and return how far the back-fill is. Raises BrokerError."""
    async with open_backfill_group(
        client_options(plan.settings.kafka), plan.run.group_id, list(plan.progress)
    ) as group:
        while True:
            try:
                progress = await group.progress()
            except BrokerError as error:
                if error.kind != "unreachable":
                    raise
                log.warning("cannot see how far the back-fill is: %s", error.message)
            else:
                if progress is None:
                    raise BrokerError(
                        f"the committed offsets of {plan.run.group_id} have disappeared",
                        kind="backfill_range",
                        remedy="the group was deleted or has expired: begin again with another --run-id",
                    )
                state = plan.completion(progress, now_ms=clock.wall_ms())
                on_progress(state)
                if state.is_complete:
                    return state
            await asyncio.sleep(POLL_S)
