"""The worker process: the order in which its parts start, how it drains, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream import native
from forebay.stream.admin.service import WorkerAdmin
from forebay.stream.authorization.policy_keeper import PolicyKeeper
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.log_lines import READY_LINE
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.producer.producer import MAX_CONNECT_S, OutputProducer, connect
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.telemetry.commit_timings import CommitTimings
from forebay.stream.telemetry.telemetry import Telemetry
from forebay.stream.worker.audited_run import AuditedRun
from forebay.stream.worker.drift_assembly import DriftParts
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.process_tuning import freeze_loaded_objects
from forebay.stream.worker.rollout_follower import RolloutFollower
from forebay.stream.worker.schema_assembly import SchemaParts
from forebay.stream.worker.shadow_assembly import Shadows

log = logging.getLogger("forebay.worker")

STOP_TIMEOUT_S = 5.0


class FailureSlot:
    """Holds the first failure of a background task, which ends the worker and is what the worker reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._failure: asyncio.Future[None] = loop.create_future()

    def report(self, error: BaseException) -> None:
        """Record a failure. Later ones are ignored."""
        if not self._failure.done():
            self._failure.set_exception(error)

    @property
    def is_filled(self) -> bool:
        """Whether a failure has been reported."""
        return self._failure.done()

    def raise_if_filled(self) -> None:
        """Raise the failure that has been reported, if there is one."""
        if self._failure.done():
            self._failure.result()

    async def wait_with(self, task: asyncio.Task[Any], *, timeout_s: float | None = None) -> None:
        """Wait until the task is done, a failure is reported, or the timeout is over."""
        await asyncio.wait({task, self._failure}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The parts that a worker starts and stops. The pipeline is connected to its stages.

    lanes: of the versions with which it starts, and at its end of those that it has then.
    follower, shadows: None if rollouts are not enabled.
    drift: None if drift is not enabled.
    schemas: None if no schema registry is configured.
    access: None if nothing needs a token.
    audited: writes start and end to the audit.
    """

    lanes: Iterable[ServedLane]
    pipeline: Pipeline
    producer: OutputProducer
    source: Source
    lag: LagPoller
    commit_timings: CommitTimings
    admin: WorkerAdmin
    telemetry: Telemetry
    follower: RolloutFollower | None = None
    shadows: Shadows | None = None
    drift: DriftParts | None = None
    schemas: SchemaParts | None = None
    access: PolicyKeeper | None = None
    audited: AuditedRun = field(default=AuditedRun(None))


class Worker:
    """One worker: one member of the group, with a lane for each model. Call `run` once."""

    def __init__(
        self,
        parts: WorkerParts,
        *,
        stop: StopRequest,
        failure: FailureSlot,
        bootstrap_servers: str,
        drain_timeout_s: float,
        leaves_group: Callable[[], bool] = lambda: False,
    ) -> None:
        """leaves_group: see `Supervision`."""
        self._parts = parts
        self._leaves_group = leaves_group
        self._stop = stop
        self._failure = failure
        self._bootstrap_servers = bootstrap_servers
        self._drain_timeout_s = drain_timeout_s
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> Pipeline:
        """Start the parts, run until a stop is requested, drain, leave the group, and return the pipeline with its totals.

        Raises StoppedEarly if the request arrives before the start is complete, or the error that ended the worker, including
        any background failure.
        """
        try:
            await self._start()
            await self._work()
            return self._parts.pipeline
        except KafkaError as error:
            raise explain_authorization_error(error, "READ") or BrokerError(
                f"the cluster refused a request: {error}",
                kind="kafka_error",
                remedy="run `forebay check`, which checks topics, permissions and security settings",
            ) from error
        finally:
            await self._stop_parts()

    async def _start(self) -> None:
        """Start the parts, each before those that use it. The group is joined last."""
        parts, stop = self._parts, self._stop
        await parts.admin.start()
        for served in parts.lanes:
            await stop.unless_requested(served.lane.executor.start(served.warm_up_sizes()))
            log.info("model %s is warm", served.ref)
        parts.admin.mark_warm()
        log.info("%s", native.description())
        freeze_loaded_objects()
        if parts.follower is not None:
            await stop.unless_requested(parts.follower.prepare())
            # From now on: a partition that this worker gets may wait for the next revision.
            self._run_task(parts.follower.run(), "rollouts")
        if parts.schemas is not None:
            await stop.unless_requested(parts.schemas.start())
        await stop.unless_requested(connect(parts.producer, self._bootstrap_servers, timeout_s=MAX_CONNECT_S))
        await stop.unless_requested(parts.audited.on_started(parts.lanes))
        await stop.unless_requested(parts.source.start())

    async def _work(self) -> None:
        """Run the background tasks until a stop is requested, then drain. Raises the first failure of any of them."""
        pipeline = self._parts.pipeline
        self._run_task(pipeline.commit_forever(), "commit")
        self._run_task(pipeline.feed_lanes(), "lanes")
        self._run_task(pipeline.watch(), "watch")
        self._run_task(self._parts.lag.run(), "lag")
        self._run_task(self._parts.admin.run(), "admin")
        polling = self._run_task(pipeline.run(), "poll")
        if self._parts.shadows is not None:
            self._run_task(self._parts.shadows.run(self._parts.lag), "shadows")
        if self._parts.drift is not None:
            self._run_task(self._parts.drift.run(), "drift")
        if self._parts.access is not None:
            self._run_task(self._parts.access.run(), "access")
        self._run_task(_announce(self._parts.source, self._parts.admin), "announce")
        self._run_task(self._parts.telemetry.run(), "telemetry")
        await self._failure.wait_with(self._run_task(self._stop.wait(), "signals"))
        if not self._failure.is_filled:
            await self._drain(polling)
        self._failure.raise_if_filled()
        _log_commit_timings(self._parts.commit_timings)

    async def _drain(self, polling: asyncio.Task[None]) -> None:
        pipeline = self._parts.pipeline
        log.info("stopping: draining %d events", pipeline.num_in_flight)
        pipeline.stop()
        await self._parts.audited.on_stopping(pipeline.num_in_flight)
        drained = asyncio.create_task(_finish(polling, pipeline))
        await self._failure.wait_with(drained, timeout_s=self._drain_timeout_s)
        if drained.done():
            drained.result()
            return
        await cancel_until_done(drained)
        if not self._failure.is_filled:
            raise BrokerError(
                f"{pipeline.num_uncommitted} events were not committed within {self._drain_timeout_s:g} s; "
                "they will be read again",
                kind="drain_timeout",
                remedy="raise delivery.drain_timeout_ms, or find out why the cluster or the model is slow",
            )

    async def _stop_parts(self) -> None:
        if self._parts.shadows is not None:
            await self._parts.shadows.stop()
        if self._parts.drift is not None:
            await self._parts.drift.stop()
        # Otherwise a poll inside the client is never cancelled, because the client would leak; here the process ends anyway.
        await cancel_until_done(*self._tasks)
        parts = self._parts
        for served in parts.lanes:
            served.lane.executor.stop()
        if parts.follower is not None:
            await parts.follower.stop()
        await parts.source.stop(timeout_s=STOP_TIMEOUT_S, leaves=self._leaves_group())
        await parts.producer.stop(timeout_s=STOP_TIMEOUT_S)
        if parts.schemas is not None:
            await parts.schemas.stop()
        await parts.admin.stop()
        await parts.telemetry.close()

    def _run_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a background task whose failure ends the worker."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._report)
        self._tasks.append(task)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure.report(error)


def _log_commit_timings(timings: CommitTimings) -> None:
    steps = timings.summary()
    if steps:
        text = ", ".join(f"{name} {step['p50_ms']:g} ({step['p99_ms']:g})" for name, step in steps.items())
        log.info(
            "duration of the last %d commits in ms, median (p99): %s", len(timings), text, extra={"figures": steps}
        )


async def _finish(polling: asyncio.Task[None], pipeline: Pipeline) -> None:
    await asyncio.wait([polling])
    await pipeline.drain()


async def _announce(source: Source, admin: WorkerAdmin) -> None:
    await source.wait_until_open()
    await admin.wait_until_ready()
    log.info(READY_LINE)
