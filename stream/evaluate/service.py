"""The evaluator process: how its parts are built, start, drain and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Coroutine
from typing import Any, Final

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError, ConfigError
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.core.log_lines import EVALUATOR_READY_LINE
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.decode.formats.factories import check_libraries
from forebay.stream.evaluate.admin import EvaluatorAdmin
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.class_names import ClassNames, manifest_names
from forebay.stream.evaluate.committer import Committer
from forebay.stream.evaluate.evaluator import PAUSE_S, Evaluator
from forebay.stream.evaluate.joins import Joins
from forebay.stream.evaluate.label_documents import label_documents
from forebay.stream.evaluate.label_parser import LabelParser
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.prediction_parser import PredictionParser
from forebay.stream.evaluate.quality_records import QualityRecords
from forebay.stream.evaluate.shadow_parser import ShadowParser
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.evaluate.topic_layout import Layout
from forebay.stream.evaluate.topics import find_layout
from forebay.stream.evaluate.totals import Totals
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.blocks import key_blocks
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acl_check import require
from forebay.stream.kafka.cluster.acls import Role
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.cluster.bootstrap import wait_for_cluster
from forebay.stream.kafka.consumer.group_consumer import build_group_consumer, read_limits
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from forebay.stream.kafka.producer.producer import MAX_CONNECT_S, OutputProducer, TransactionSettings, connect
from forebay.stream.kafka.producer.transaction import Transaction
from forebay.stream.schema_registry.connection import connect_registry
from forebay.stream.schema_registry.resolver import build_resolver

log = logging.getLogger("forebay.evaluate")

STOP_TIMEOUT_S: Final = 5.0


class EvaluatorService:
    """One evaluator process, a member of the evaluators' consumer group."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        if not settings.evaluate.enabled:
            raise ConfigError(
                "the evaluator is off: evaluate.enabled is false",
                kind="evaluate_disabled",
                remedy="set evaluate.enabled = true for all of Forebay, and run `forebay topics create`, which creates the "
                "topics labels and quality",
            )
        if settings.output.format != "json":
            check_libraries([settings.output.format])
        self._settings = settings
        self._clock = clock
        delivery = settings.delivery
        self._instance = delivery.instance_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._backoff = Backoff(delivery.retry_backoff_ms / 1000, delivery.retry_backoff_max_ms / 1000)
        self._fatal: asyncio.Future[None]
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> Totals:
        """Run until SIGTERM or SIGINT, commit what was counted, and return the totals.

        Raises StoppedEarly if the signal arrives before the start is complete, and the fatal error if there is one.
        """
        loop = asyncio.get_running_loop()
        self._fatal = loop.create_future()
        stop = StopRequest()
        stop.listen(loop)
        layout = await self._find_layout(stop)
        section = self._settings.schema_registry
        registry = connect_registry(section, clock=self._clock) if section.urls else None
        resolver = None if registry is None else build_resolver(section, registry.client, clock=self._clock)
        evaluator = self._evaluator(layout, None if resolver is None else PredictionDocuments(resolver))
        admin = EvaluatorAdmin(self._settings, evaluator, clock=self._clock)
        producer = self._producer(layout)
        source = self._source(layout, evaluator)
        self._connect(evaluator, source, producer, layout)
        try:
            if url := await admin.start():
                log.info("probes and metrics at %s", url)
            servers = self._settings.kafka.bootstrap_servers
            await stop.unless_requested(connect(producer, servers, timeout_s=MAX_CONNECT_S))
            await stop.unless_requested(source.start())
            await self._work(stop, evaluator, admin=admin, source=source)
            return evaluator.totals
        except KafkaError as error:
            raise explain_authorization_error(error, "READ") or BrokerError(
                f"the cluster refused a request: {error}",
                kind="kafka_error",
                remedy="run `forebay check`, which checks topics, permissions and security settings",
            ) from error
        finally:
            await cancel_until_done(*self._tasks)
            await source.stop(timeout_s=STOP_TIMEOUT_S)
            await producer.stop(timeout_s=STOP_TIMEOUT_S)
            await admin.stop()
            if resolver is not None:
                await resolver.stop()
            if registry is not None:
                await registry.close()

    async def _work(self, stop: StopRequest, evaluator: Evaluator, *, admin: EvaluatorAdmin, source: Source) -> None:
        lag = LagPoller(source, admin.record_lag, clock=self._clock)
        running = self._run_task(evaluator.run(), "evaluate")
        self._run_task(lag.run(), "lag")
        if self._settings.admin.enabled:
            self._run_task(admin.quality.run(), "quality")
        self._run_task(self._announce(source, admin, evaluator), "announce")
        signalled = self._run_task(stop.wait(), "signals")
        await asyncio.wait([self._fatal, signalled], return_when=asyncio.FIRST_COMPLETED)
        if not self._fatal.done():
            log.info("stopping: committing what was counted and leaving the group")
            evaluator.stop()
            await asyncio.wait(
                [self._fatal, running],
                timeout=self._settings.delivery.drain_timeout_ms / 1000,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if self._fatal.done():
            self._fatal.result()
        if not running.done():
            log.warning("what was counted since the last commit was not committed in time; it will be read again")

    async def _announce(self, source: Source, admin: EvaluatorAdmin, evaluator: Evaluator) -> None:
        await source.wait_until_open()
        admin.progress.started = True
        log.info("%s: partitions %s", EVALUATOR_READY_LINE, ", ".join(map(str, evaluator.joins.numbers)) or "none")

    async def _find_layout(self, stop: StopRequest) -> Layout:
        """Wait for the cluster, check listeners and permissions, and find the topics."""
        kafka = self._settings.kafka
        await stop.unless_requested(wait_for_cluster(kafka, clock=self._clock, backoff=self._backoff))
        await stop.unless_requested(require_reachable(client_options(kafka)))
        await stop.unless_requested(require(Role.EVALUATOR, self._settings))
        return await stop.unless_requested(find_layout(self._settings))

    def _evaluator(self, layout: Layout, documents: PredictionDocuments | None) -> Evaluator:
        settings, section = self._settings, self._settings.evaluate
        slices = SliceValues(section.slices, max_values=section.max_slice_values) if section.slices else None
        names = ClassNames(manifest_names(_repositories(settings)), clock=self._clock)
        joins = Joins(
            layout,
            JoinRules(
                horizon_ms=section.horizon_s * 1000,
                early_ms=section.early_s * 1000,
                window_ms=section.window_s * 1000,
                join_by=section.join_by,
                slices=section.slices,
                max_future_ms=section.max_future_s * 1000,
            ),
            prediction_parser=PredictionParser(
                section.join_by,
                slices=slices,
                max_future_ms=section.max_future_s * 1000,
                blocks=key_blocks,
                documents=documents,
            ),
            label_parser=LabelParser(
                section.join_by,
                slices=slices,
                max_future_ms=section.max_future_s * 1000,
                documents=label_documents(
                    self._settings.input, section.labels_topic, prefix=self._settings.topics.prefix
                ),
            ),
            shadow_parser=ShadowParser(section.join_by, max_future_ms=section.max_future_s * 1000, blocks=key_blocks),
            resolve=names.resolve,
            max_waiting=section.max_waiting,
            new_blocks=BlockSums,
        )
        return Evaluator(
            joins,
            names,
            clock=self._clock,
            commit_interval_s=section.commit_interval_ms / 1000,
            revoke_timeout_s=settings.delivery.revoke_timeout_ms / 1000,
            documents=documents,
        )

    def _connect(self, evaluator: Evaluator, source: Source, producer: OutputProducer, layout: Layout) -> None:
        section = self._settings.evaluate
        group_id = evaluator_group(self._settings)
        records = QualityRecords(
            layout.quality,
            window_s=section.window_s,
            horizon_ms=section.horizon_s * 1000,
            group=group_id,
            worker=self._instance,
        )
        committer = Committer(
            records,
            producer,
            Transaction(producer, group_id=group_id, is_current=source.is_current),
            clock=self._clock,
            timeout_s=self._settings.delivery.commit_timeout_ms / 1000,
        )
        evaluator.connect(source, committer, producer)

    def _producer(self, layout: Layout) -> OutputProducer:
        delivery, compression = self._settings.delivery, self._settings.output.compression_type
        own_id = f"{delivery.transactional_id_prefix}-{evaluator_group(self._settings)}-{self._instance}"
        return OutputProducer(
            client_options(self._settings.kafka),
            compression_type=None if compression == "none" else compression,
            max_batch_bytes=layout.max_batch_bytes,
            transactional=TransactionSettings(own_id, delivery.transaction_timeout_ms),
            backoff=self._backoff,
        )

    def _source(self, layout: Layout, evaluator: Evaluator) -> Source:
        # It gives the same numbers of all topics to a member if all topics have the same number of partitions.
        assignor, group_id = RangePartitionAssignor, evaluator_group(self._settings)
        consumer = build_group_consumer(self._settings, assignor, group_id=group_id, isolation_level="read_committed")
        return Source(
            consumer,
            topics=layout.inputs(),
            group_id=group_id,
            policy=StartPolicy("earliest"),
            restorer=evaluator,
            on_revoked=evaluator.on_revoked,
            on_fatal=self._fail,
            backoff=self._backoff,
            clock=self._clock,
            read_limits=read_limits(self._settings),
            idle_wait_s=PAUSE_S,
        )

    def _run_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a background task whose failure ends the evaluator."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._report)
        self._tasks.append(task)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(error)


def _repositories(settings: Settings) -> dict[str, str]:
    served = settings.models_to_serve()
    return {"": str(served[0].model.repository), **{one.model.name: str(one.model.repository) for one in served}}
