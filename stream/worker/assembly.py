"""The assembly of a worker: waits until the cluster is usable and builds the parts from the settings and the model."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence

from forebay.models.backends.protocol import Model
from forebay.schemas.topics import topic_name
from forebay.stream.admin.served_model import ServedModels
from forebay.stream.admin.service import WorkerAdmin
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.admin.view import WorkerComponents
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.decode import Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.output.prediction_format import BinaryPredictions
from forebay.stream.pipeline.audit_recorder import AuditRecorder
from forebay.stream.pipeline.composite_observer import CompositeObserver
from forebay.stream.pipeline.objective_control import ObjectiveControl
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.stages import Breakers, Stages
from forebay.stream.schema_registry.store import SchemaStore
from forebay.stream.telemetry.commit_timings import CommitTimings
from forebay.stream.telemetry.telemetry import Telemetry
from forebay.stream.telemetry.timestamp_warning import TimestampWarning
from forebay.stream.worker.access_assembly import AccessParts, open_access
from forebay.stream.worker.audit_assembly import build_audit
from forebay.stream.worker.audited_run import AuditedRun
from forebay.stream.worker.backfill_assembly import Backfill
from forebay.stream.worker.batch_sizes import poll_size
from forebay.stream.worker.cluster_checks import find_usable_layout
from forebay.stream.worker.commit_assembly import build_committer, build_producer
from forebay.stream.worker.drift_assembly import build_drift
from forebay.stream.worker.emission_assembly import build_emissions, build_emitter
from forebay.stream.worker.encryption_assembly import Encryption, open_encryption
from forebay.stream.worker.flow_assembly import build_in_flight, build_windows
from forebay.stream.worker.input_assembly import build_input_stages
from forebay.stream.worker.lane_assembly import build_lane, circuit_breaker
from forebay.stream.worker.lane_factory import LaneFactory
from forebay.stream.worker.non_finite import NonFiniteCounter
from forebay.stream.worker.objective_assembly import build_objective
from forebay.stream.worker.optional_parts import optional_parts
from forebay.stream.worker.output_format import binary_predictions
from forebay.stream.worker.process_tuning import tune_process
from forebay.stream.worker.report_assembly import lag_listener, optional_components, polled_components, process_report
from forebay.stream.worker.resident_versions import VersionReports
from forebay.stream.worker.rollout_assembly import RolloutParts, build_rollouts
from forebay.stream.worker.schema_assembly import SchemaParts, build_schemas
from forebay.stream.worker.source_assembly import build_source
from forebay.stream.worker.supervision import Supervision
from forebay.stream.worker.telemetry_assembly import build_telemetry
from forebay.stream.worker.worker import FailureSlot, Worker, WorkerParts

log = logging.getLogger("forebay.worker")


async def run_worker(
    settings: Settings,
    models: list[Model],
    *,
    clock: Clock | None = None,
    supervision: Supervision | None = None,
    backfill: Backfill | None = None,
) -> Pipeline:
    """Run a worker until SIGTERM or SIGINT, drain, leave the group, and return the pipeline with its totals.

    models: in the order of `settings.models_to_serve()`. The list is emptied: rollouts may replace the models, whose memory
        is then free.
    supervision: None for the only worker of a process that nothing supervises.
    backfill: None if reading has no end.

    Raises StoppedEarly if the signal arrives before the start is complete, or the error that ended the worker.
    """
    tune_process()
    stop = StopRequest() if supervision is None else supervision.stop
    stop.listen(asyncio.get_running_loop())
    assembly = WorkerAssembly(
        settings, models, clock=clock or SystemClock(), supervision=supervision, backfill=backfill
    )
    worker = await assembly.assemble(stop)
    models.clear()
    return await worker.run()


class WorkerAssembly:
    """Builds the parts of a worker from its settings. Use it once, in the event loop of the worker."""

    def __init__(
        self,
        settings: Settings,
        models: Sequence[Model],
        *,
        clock: Clock,
        supervision: Supervision | None = None,
        backfill: Backfill | None = None,
    ) -> None:
        self._settings = settings
        self._backfill = backfill
        self._outputs = None if backfill is None else backfill.outputs
        self._supervision = supervision
        self._clock = clock
        self._instance = settings.delivery.instance_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._failure = FailureSlot(asyncio.get_running_loop())
        self._audited = AuditedRun.of(settings, worker=self._instance, clock=clock)
        self._lanes = [
            build_lane(
                model,
                served,
                worker=settings,
                topics=frozenset(topic_name(settings.topics.prefix, topic) for topic in served.topics),
                label="model" if len(models) == 1 else f"model {model.name}",
                clock=clock,
                on_fatal=self._failure.report,
            )
            for model, served in zip(models, settings.models_to_serve(), strict=True)
        ]
        self._schemas = SchemaStore(settings.schema_registry.max_schemas)
        self._formats = event_formats(
            settings.input,
            prefix=settings.topics.prefix,
            schemas=self._schemas if settings.schema_registry.urls else None,
            decrypts=settings.encryption.decrypts_avro,
        )
        self._breakers = Breakers(
            circuit_breaker("cluster", settings.breaker), {lane.ref: lane.lane.breaker for lane in self._lanes}
        )

    async def assemble(self, stop: StopRequest) -> Worker:
        """Build the parts, without starting them, once the cluster is reachable and grants what a worker needs.

        Raises StoppedEarly if a stop is requested meanwhile, and ForebayError if the worker cannot run.
        """
        telemetry = build_telemetry(self._settings, self._lanes, worker=self._instance, clock=self._clock)
        timings = CommitTimings()
        status_observer, timestamp_warning = self._status_observer(), self._timestamp_warning()
        observer = CompositeObserver(telemetry, status_observer, timings, timestamp_warning)
        pipeline, objective = self._pipeline(observer)
        layout = await find_usable_layout(self._settings, stop, clock=self._clock, outputs=self._outputs)
        producer = build_producer(self._settings, layout, worker=self._instance)
        windows = build_windows(self._lanes, layout, clock=self._clock)
        reports = self._reports(windows, telemetry, status_observer, timestamp_warning, objective=objective)
        predictions = await stop.unless_requested(binary_predictions(self._settings, clock=self._clock))
        encryption = await stop.unless_requested(self._open_encryption())
        access = await stop.unless_requested(open_access(self._settings, clock=self._clock))
        decoder, factory = self._decoder(encryption), self._lane_factory(layout, predictions, encryption)
        rollouts = self._rollouts(pipeline, windows, factory, decoder, reports=reports, observer=observer)
        # `admin` is built below; the address is used only when the worker joins the group.
        audit = self._audit(layout, rollouts, access)
        source = self._source(
            pipeline, layout, windows, user_data=lambda: admin.user_data(), rollouts=rollouts, audit=audit
        )
        emissions = self._emissions(factory, windows, layout, rollouts=rollouts, audit=audit)
        committer = build_committer(
            self._settings, emissions, producer=producer, source=source, observer=observer, clock=self._clock
        )
        schemas = self._build_schemas(source, encryption)
        pipeline.connect(
            Stages(
                source=source,
                decoder=decoder,
                lanes=[lane.lane for lane in self._lanes],
                topics=frozenset(layout.input_partitions),
                committer=committer,
                producer=producer,
                windows=windows,
                audit=audit,
                **build_input_stages(self._settings, rollouts, schemas, access.filter),
            )
        )
        lag = LagPoller(source, lag_listener(telemetry, objective), clock=self._clock)
        components = WorkerComponents(
            models=reports.models,
            lanes_status=pipeline.lanes_status,
            pipeline=pipeline,
            breakers=self._breakers,
            source=source,
            lag=lag,
            status_observer=status_observer,
            **optional_components(rollouts, schemas, objective, access.keeper),
        )
        admin = self._admin(components, decoder, telemetry)
        telemetry.attach(polled_components(components, schemas, emissions, is_ready=admin.is_ready, source=source))
        parts = WorkerParts(
            lanes=self._lanes if rollouts is None else rollouts.versions,
            pipeline=pipeline,
            producer=producer,
            source=source,
            lag=lag,
            commit_timings=timings,
            admin=admin,
            telemetry=telemetry,
            drift=build_drift(self._lanes if rollouts is None else rollouts.versions, factory, observer.add),
            **optional_parts(rollouts, schemas, access.keeper, self._audited),
        )
        return self._worker(parts, stop)

    def _admin(self, components: WorkerComponents, decoder: Decoder, telemetry: Telemetry) -> WorkerAdmin:
        return WorkerAdmin(
            self._settings,
            components,
            decoder=decoder,
            metrics=telemetry,
            worker=self._instance,
            clock=self._clock,
            socket_path=None if self._supervision is None else self._supervision.admin_socket,
            actions=self._audited.actions,
        )

    async def _open_encryption(self) -> Encryption | None:
        return await open_encryption(self._settings, self._formats.choice, self._schemas, clock=self._clock)

    def _build_schemas(self, source: Source, encryption: Encryption | None) -> SchemaParts | None:
        section = self._settings.schema_registry
        ref_of, kms = self._formats.choice.schema_ref, None if encryption is None else encryption.kms
        return build_schemas(section, self._schemas, source.held, ref_of=ref_of, kms=kms, clock=self._clock)

    def _reports(
        self,
        windows: LaneWindows | None,
        telemetry: Telemetry,
        status_observer: StatusObserver,
        timestamp_warning: TimestampWarning,
        *,
        objective: ObjectiveControl | None,
    ) -> VersionReports:
        return VersionReports(
            models=self._served_models(windows),
            breakers=self._breakers,
            telemetry=telemetry,
            status_observer=status_observer,
            timestamp_warning=timestamp_warning,
            objective=objective,
        )

    def _worker(self, parts: WorkerParts, stop: StopRequest) -> Worker:
        return Worker(
            parts,
            stop=stop,
            failure=self._failure,
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            drain_timeout_s=self._settings.delivery.drain_timeout_ms / 1000,
            **({} if self._supervision is None else {"leaves_group": self._supervision.leaves_group}),
        )

    def _status_observer(self) -> StatusObserver:
        refs = [lane.ref for lane in self._lanes]
        return StatusObserver(refs, clock=self._clock, is_fixed=not self._has_rollouts)

    def _timestamp_warning(self) -> TimestampWarning:
        return TimestampWarning(lane.ref for lane in self._lanes if lane.windows is None)

    @property
    def _has_rollouts(self) -> bool:
        return self._settings.rollouts.enabled

    def _served_models(self, windows: LaneWindows | None) -> ServedModels:
        return ServedModels(
            lane.served_model(None if windows is None else windows.stages.get(lane.ref)) for lane in self._lanes
        )

    def _lane_factory(
        self, layout: Layout, predictions: BinaryPredictions | None, encryption: Encryption | None
    ) -> LaneFactory:
        return LaneFactory(
            self._settings,
            layout,
            worker=self._instance,
            model_names=tuple(lane.ref.name for lane in self._lanes),
            clock=self._clock,
            on_fatal=self._failure.report,
            process_usage=process_report(self._lanes, self._clock) if self._settings.reports_performance() else None,
            predictions=predictions,
            encryption=encryption,
        )

    def _rollouts(
        self,
        pipeline: Pipeline,
        windows: LaneWindows | None,
        factory: LaneFactory,
        decoder: Decoder,
        *,
        reports: VersionReports,
        observer: CompositeObserver,
    ) -> RolloutParts | None:
        if not isinstance(decoder, VersionedDecoder):
            return None
        non_finite = NonFiniteCounter()
        observer.add(non_finite)
        rollouts = build_rollouts(
            self._lanes,
            factory=factory,
            decoder=decoder,
            pipeline=pipeline,
            reports=reports,
            non_finite=non_finite,
            combine_metadata=None if windows is None else windows.commit_metadata,
        )
        observer.add(rollouts.shadows.observer)
        return rollouts

    def _pipeline(self, observer: CompositeObserver) -> tuple[Pipeline, ObjectiveControl | None]:
        in_flight = build_in_flight(self._settings, num_lanes=len(self._lanes))
        objective = build_objective(self._settings.objective, self._lanes, in_flight, clock=self._clock)
        if objective is not None:
            observer.add(objective)
        max_batch_size = max(lane.max_batch_size for lane in self._lanes)
        pipeline = Pipeline(
            in_flight,
            self._breakers,
            observer,
            revoke_timeout_s=self._settings.delivery.revoke_timeout_ms / 1000,
            max_poll_records=min(poll_size(max_batch_size, lane.windows) for lane in self._lanes),
            clock=self._clock,
            pacing=None if objective is None else objective.pacing,
        )
        return pipeline, objective

    def _source(
        self,
        pipeline: Pipeline,
        layout: Layout,
        windows: LaneWindows | None,
        *,
        user_data: Callable[[], bytes],
        rollouts: RolloutParts | None,
        audit: AuditRecorder | None,
    ) -> Source:
        return build_source(
            self._settings,
            pipeline,
            layout,
            windows,
            lanes=self._lanes,
            user_data=user_data,
            rollouts=rollouts,
            audit=audit,
            on_fatal=self._failure.report,
            clock=self._clock,
            backfill=self._backfill,
        )

    def _audit(self, layout: Layout, rollouts: RolloutParts | None, access: AccessParts) -> AuditRecorder | None:
        return build_audit(
            self._settings,
            layout.outputs,
            worker=self._instance,
            clock=self._clock,
            switches=None if rollouts is None else rollouts.ledger,
            access=access.history,
        )

    def _decoder(self, encryption: Encryption | None) -> Decoder:
        entry = self._settings.input
        return (VersionedDecoder if self._has_rollouts else Decoder)(
            [lane.decoded_model() for lane in self._lanes],
            max_event_bytes=entry.max_event_bytes,
            max_key_bytes=entry.max_key_bytes,
            formats=self._formats,
            encrypted=None if encryption is None else encryption.input,
        )

    def _emissions(
        self,
        factory: LaneFactory,
        windows: LaneWindows | None,
        layout: Layout,
        *,
        rollouts: RolloutParts | None,
        audit: AuditRecorder | None,
    ) -> EmissionBuilder:
        lanes = self._lanes
        emitter = build_emitter(lanes, factory, windows) if rollouts is None else rollouts.emitters
        return build_emissions(
            self._settings,
            emitter,
            audit,
            lanes=lanes,
            outputs=layout.outputs,
            clock=self._clock,
            backfill=self._backfill,
        )
