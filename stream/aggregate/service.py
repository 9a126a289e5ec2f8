"""The aggregator process: start, periodic publishing, and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.aggregate.admin import AggregatorAdmin
from forebay.stream.aggregate.alert_evaluator import AlertEvaluator
from forebay.stream.aggregate.app import Aggregation, Topics, WriteLimits
from forebay.stream.aggregate.guarded_rules import GuardedRules
from forebay.stream.aggregate.rollout_judge import RolloutJudge, quality_topic
from forebay.stream.aggregate.rule_subjects import rules_without_subject
from forebay.stream.aggregate.rules import build_failure_source, build_metric_sources
from forebay.stream.aggregate.state import Timing
from forebay.stream.aggregate.topic_layout import Layout
from forebay.stream.aggregate.topics import prepare_topics
from forebay.stream.aggregate.webhook import Webhook, webhook_post
from forebay.stream.config.aggregator_group import aggregator_group
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import Clock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acl_check import require
from forebay.stream.kafka.cluster.acls import Role
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.telemetry.aggregator_traces import DeltaTraces

log = logging.getLogger("forebay.aggregate")

READY_LINE: Final = "aggregator ready"
START_TIMEOUT_S: Final = 600.0
STOP_TIMEOUT_S: Final = 20.0
WEBHOOK_STOP_TIMEOUT_S: Final = 5.0
JUDGE_INTERVAL_S: Final = 1.0
METRICS_INTERVAL_S: Final = 1.0
FIRST_PARTITION: Final = 0
"""The aggregator that is assigned this partition of outcome-deltas evaluates the alert rules and judges rollouts."""


class Aggregator:
    """One aggregator process, a member of the aggregators' consumer group."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._fatal: asyncio.Future[None]

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT and return the number of deltas that were counted.

        Raises StoppedEarly if the signal arrives before the topics are prepared, and the fatal error if there is one.
        """
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._fatal = loop.create_future()
        stop = StopRequest()
        stop.listen(loop)
        await stop.unless_requested(require_reachable(client_options(settings.kafka)))
        await stop.unless_requested(require(Role.AGGREGATOR, settings))
        layout, created = await stop.unless_requested(prepare_topics(settings))
        if created:
            log.info("created the topics %s", ", ".join(created))
        for problem in rules_without_subject(settings, {}):
            log.warning("aggregate.alerts: %s: the rule can never fire; `forebay check` checks all rules", problem)
        traces = self._traces()
        aggregation = self._aggregation(layout, traces)
        admin = AggregatorAdmin(settings, aggregation, clock=self._clock)
        signalled = asyncio.create_task(stop.wait())
        try:
            if url := await admin.start():
                log.info("probes and metrics at %s", url)
            async with self._webhook() as webhook:
                admin.rules = rules = self._rules(layout, aggregation, webhook)
                judge = self._judge(layout, aggregation, webhook)
                started = asyncio.create_task(aggregation.start())
                try:
                    async with asyncio.timeout(START_TIMEOUT_S):
                        await self._until(started, signalled)
                    if started.done():
                        log.info(READY_LINE)
                        admin.heartbeat.started = True
                    ticking = asyncio.create_task(self._tick(aggregation, rules[0], admin))
                    beside = [
                        asyncio.create_task(self._judge_forever(judge, aggregation, admin)),
                        *(asyncio.create_task(self._evaluate_forever(each, aggregation)) for each in rules[1:]),
                    ]
                    await self._until(signalled, ticking, *beside)
                    for task in (ticking, *beside):
                        task.cancel()
                    await asyncio.wait([ticking, *beside])
                    if not ticking.cancelled() and (error := ticking.exception()) is not None:
                        raise error
                except TimeoutError:
                    raise BrokerError(
                        f"the aggregator was not ready within {START_TIMEOUT_S:g} s",
                        kind="not_ready",
                        remedy="run `forebay check` to find out what is wrong with the cluster",
                    ) from None
                finally:
                    for each in rules:
                        await each.stop()
                    if judge is not None:
                        await judge.stop()
                    started.cancel()
            log.info("stopping: publishing the remaining counts and leaving the group")
            await self._stop(aggregation)
            return aggregation.counted
        finally:
            signalled.cancel()
            await admin.stop()
            await traces.close()

    async def _until(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of the tasks is done. Raises its error, or the fatal error of the aggregator."""
        await asyncio.wait([*tasks, self._fatal], return_when=asyncio.FIRST_COMPLETED)
        if self._fatal.done():
            self._fatal.result()
        for task in tasks:
            if task.done():
                task.result()

    async def _tick(self, aggregation: Aggregation, rules: GuardedRules, admin: AggregatorAdmin) -> None:
        interval_s = self._settings.aggregate.emit_interval_ms / 1000
        while True:
            admin.heartbeat.last_tick_s = self._clock.monotonic_s()
            await asyncio.sleep(interval_s)
            if (reason := aggregation.crashed) is not None:
                raise BrokerError(
                    f"the aggregator lost its connection to the cluster: {reason}",
                    kind="faust_ended",
                    remedy="run `forebay check`, then start the aggregator again; it continues where it stopped",
                ) from reason
            await aggregation.tick()
            # An error there is logged and counted. Counting continues.
            await rules.evaluate(active=FIRST_PARTITION in aggregation.partitions)

    async def _judge_forever(
        self, judge: RolloutJudge | None, aggregation: Aggregation, admin: AggregatorAdmin
    ) -> None:
        """Judge rollouts beside the counting, which they must not delay. Never returns."""
        status = admin.rollouts
        if judge is None:
            await asyncio.Event().wait()
        while judge is not None:
            await asyncio.sleep(JUDGE_INTERVAL_S)
            try:
                await judge.evaluate(active=FIRST_PARTITION in aggregation.partitions)
            except ForebayError as error:  # counting continues without the judge
                if error.message != status.error:
                    log.warning(
                        "cannot judge rollouts: %s%s", error.message, f" ({error.remedy})" if error.remedy else ""
                    )
                status.error, status.verdicts = error.message, ()
                status.num_errors += 1
                await judge.stop()
            except Exception as error:  # whatever is wrong here must not end the counting
                if (message := f"{type(error).__name__}: {error}") != status.error:
                    log.exception("rollouts are not judged")
                status.error, status.verdicts = message, ()
                status.num_errors += 1
                await judge.stop()
            else:
                status.error, status.verdicts = None, judge.verdicts

    async def _evaluate_forever(self, rules: GuardedRules, aggregation: Aggregation) -> None:
        """Evaluate rules about a metric beside the counting, which they must not delay. Never returns."""
        while True:
            await asyncio.sleep(METRICS_INTERVAL_S)
            await rules.evaluate(active=FIRST_PARTITION in aggregation.partitions)

    async def _stop(self, aggregation: Aggregation) -> None:
        stopping = asyncio.create_task(aggregation.stop())
        done, _ = await asyncio.wait([stopping], timeout=STOP_TIMEOUT_S)
        if not done:
            # Everything that was confirmed is in the changelog, where the next aggregator continues.
            log.warning("the aggregator did not leave the group within %g s", STOP_TIMEOUT_S)
            return
        stopping.result()

    def _traces(self) -> DeltaTraces:
        return DeltaTraces(
            self._settings.telemetry,
            instance=f"{socket.gethostname()}-{os.getpid()}-aggregator",
            group_id=aggregator_group(self._settings),
            clock=self._clock,
            environ=os.environ,
        )

    def _aggregation(self, layout: Layout, traces: DeltaTraces) -> Aggregation:
        kafka, section = self._settings.kafka, self._settings.aggregate
        return Aggregation(
            group_id=aggregator_group(self._settings),
            client_options=lambda: client_options(kafka),
            consumer_options={
                "group_id": aggregator_group(self._settings),
                "session_timeout_ms": kafka.session_timeout_ms,
                "heartbeat_interval_ms": kafka.heartbeat_interval_ms,
                "rebalance_timeout_ms": kafka.rebalance_timeout_ms,
                "max_poll_interval_ms": kafka.max_poll_interval_ms,
                "metadata_max_age_ms": kafka.metadata_max_age_ms,
                "max_poll_records": section.max_batch_size,
            },
            topics=Topics(layout.deltas, layout.changelog, layout.aggregates, layout.num_aggregates),
            timing=Timing(section.final_after_ms, section.closed_after_ms),
            # Writing the changelog more often than updates are published has no use, and a start reads all of it.
            limits=WriteLimits(
                section.max_batch_size, section.emit_interval_ms / 1000, section.confirm_timeout_ms / 1000
            ),
            clock=self._clock,
            traces=traces,
            on_fatal=self._end,
        )

    def _judge(self, layout: Layout, aggregation: Aggregation, webhook: Webhook | None) -> RolloutJudge | None:
        settings, clock = self._settings, self._clock
        if not settings.rollouts.enabled:
            return None

        async def publish(key: bytes, value: bytes) -> None:
            await aggregation.publish(layout.alerts, 0, [(key, value)])

        return RolloutJudge(
            settings.rollouts,
            client_options(settings.kafka),
            lambda: RolloutStore(settings, clock=clock),
            deltas=layout.deltas,
            alerts=layout.alerts,
            quality=quality_topic(settings),
            publish=publish,
            notify=None if webhook is None else webhook.notify,
            clock=clock,
            new_id=lambda: str(uuid.uuid4()),
        )

    def _rules(self, layout: Layout, aggregation: Aggregation, webhook: Webhook | None) -> list[GuardedRules]:
        """Return the rules about failures, then those about metrics, one for each topic."""

        async def publish(key: bytes, value: bytes) -> None:
            await aggregation.publish(layout.alerts, 0, [(key, value)])

        sources = [
            build_failure_source(self._settings, aggregates=layout.aggregates),
            *build_metric_sources(self._settings, deltas=layout.deltas),
        ]
        return [
            GuardedRules(
                AlertEvaluator(
                    source,
                    client_options(self._settings.kafka),
                    alerts=layout.alerts,
                    publish=publish,
                    notify=None if webhook is None else webhook.notify,
                    clock=self._clock,
                )
            )
            for source in sources
        ]

    @contextlib.asynccontextmanager
    async def _webhook(self) -> AsyncIterator[Webhook | None]:
        section = self._settings.aggregate
        if section.webhook_url is None:
            yield None
            return
        async with aiohttp.ClientSession() as session:
            post = webhook_post(session, section.webhook_url, timeout_s=section.webhook_timeout_ms / 1000)
            webhook = Webhook(post, attempts=section.webhook_attempts)
            webhook.start()
            try:
                yield webhook
            finally:
                await webhook.stop(timeout_s=WEBHOOK_STOP_TIMEOUT_S)

    def _end(self, error: BaseException) -> None:
        """Record the first fatal error, which ends the process; later ones are ignored."""
        if not self._fatal.done():
            self._fatal.set_exception(error)
