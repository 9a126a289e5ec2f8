"""The assembly of a lane: the parts of one served model, from its settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forebay.models.backends.protocol import Model
from forebay.models.serving.warm_up import instances_of, warm_up_sizes
from forebay.schemas.topics import PREDICTIONS, REVIEW
from forebay.stream.admin.served_model import ServedModel, WindowLane
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import BreakerSection, DeliverySection, Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.decode import DecodedModel
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.inference.decision import DecisionLayer, decision_layer
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.inference.executor import Executor
from forebay.stream.inference.instance_pool import InstancePool
from forebay.stream.output.call_log import MeasuredLane
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.slices import SliceColumn, slice_columns
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.rollouts.performance import ProcessUsage
from forebay.stream.worker.batch_sizes import batch_size
from forebay.stream.worker.window_plan import window_plan

log = logging.getLogger("forebay.worker")


@dataclass(frozen=True, slots=True)
class ServedLane:
    """A lane with its model, its settings, and what the other stages need to know of it.

    topics: full names of the input topics whose events go to it unless they name another model.
    max_batch_size: may be smaller than configured, for models with very many outputs.
    encoder: of JSON, for the admin API, and for the topics unless another format is configured.
    windows: None if the model takes single events.
    decision: None if the scores are used as they are.
    """

    model: Model
    settings: ServedModelSettings
    topics: frozenset[str]
    max_batch_size: int
    windows: WindowPlan | None
    encoder: PredictionEncoder
    lane: Lane
    decision: DecisionLayer | None = None

    @property
    def ref(self) -> ModelRef:
        return self.lane.model

    @property
    def device(self) -> str:
        """The device that runs the model, as the backend names it."""
        return str(getattr(self.model, "device", "cpu"))

    def warm_up_sizes(self) -> list[int]:
        """Return the sizes of the batches that the model runs before it serves.

        A model with a budget has run all of them when it was loaded; the largest is run again on the thread of the device.
        """
        return [self.max_batch_size] if self.settings.model.has_budget else warm_up_sizes(self.max_batch_size)

    def decoded_model(self) -> DecodedModel:
        """Return what decoding needs to know of the model."""
        return DecodedModel(self.ref, self.model.signature, self.topics)

    def measured(self, process_usage: Callable[[], ProcessUsage]) -> MeasuredLane:
        """Return what the performance in outcome deltas needs to know of the lane."""
        return MeasuredLane(
            queue_delay_s=self.settings.batch.max_queue_delay_ms / 1000,
            memory_bytes=getattr(self.model, "memory_bytes", None),
            process_usage=process_usage,
            on_gpu=self.device.startswith("cuda"),
        )

    def output_topics(self, topics: OutputTopics) -> OutputTopics:
        """Return the topics of the worker that the lane writes to: late events only if the model's windows ask for them."""
        return topics if self.settings.window.late_events_topic else replace(topics, late_events=None)

    def destinations(self, topics: OutputTopics) -> tuple[OutputTopic, ...]:
        """Return the topics of the predictions by decision code; empty if all go to predictions."""
        if self.decision is None or not self.decision.has_topics:
            return ()
        # Of the topic review only the codes of a model that abstains are used.
        named = {
            PREDICTIONS.name: topics.predictions,
            REVIEW.name: topics.review or topics.predictions,
            **topics.routed,
        }
        return tuple(named[name] for name in self.decision.topics)

    def served_model(self, windows: WindowStage | None) -> ServedModel:
        """Return what the admin API needs to know of the model. windows: None if the model takes single events."""
        return ServedModel(
            self.ref,
            self.model.signature,
            device=self.device,
            settings=self.settings,
            executor=self.lane.executor,
            breaker=self.lane.breaker,
            encoder=self.encoder,
            windows=None if self.windows is None or windows is None else WindowLane(self.windows, windows.status),
        )


def build_lane(
    model: Model,
    settings: ServedModelSettings,
    *,
    worker: Settings,
    topics: frozenset[str],
    label: str,
    clock: Clock,
    on_fatal: Callable[[BaseException], None],
) -> ServedLane:
    """Build a lane, without starting it.

    worker: the settings of the worker.
    topics: as in `ServedLane`.
    label: names the circuit breaker in the log.
    on_fatal: receives the error if the model's thread dies.

    Raises ConfigError if the model does not fit its settings.
    """
    ref, signature = ModelRef(model.name, model.version), model.signature
    max_batch_size = batch_size(settings.batch.max_batch_size, signature.output_dim)
    if max_batch_size < settings.batch.max_batch_size:
        log.info(
            "micro-batches of the %s hold at most %d events instead of %d because the model has %d outputs",
            label,
            max_batch_size,
            settings.batch.max_batch_size,
            signature.output_dim,
        )
    own_threshold = getattr(model, "threshold", None)
    decision = decision_layer(settings.decision, signature, ref, settings.decision_section, own_threshold=own_threshold)
    breaker = circuit_breaker(label, worker.breaker)
    call_s = settings.model.call_timeout_ms / 1000
    executor = build_executor(
        instances_of(model), worker.delivery, breaker=breaker, clock=clock, on_fatal=on_fatal, decision=decision
    )
    return ServedLane(
        model,
        settings,
        topics,
        max_batch_size=max_batch_size,
        windows=window_plan(
            settings.window, signature, ref, settings.window_section, keeps_events=worker.audit.enabled
        ),
        encoder=prediction_encoder(model, worker),
        lane=Lane(
            ref,
            executor=executor,
            batcher=MicroBatcher(
                max_batch_size=max_batch_size,
                max_batch_bytes=settings.batch.max_batch_bytes,
                max_queue_delay_ms=settings.batch.max_queue_delay_ms,
            ),
            breaker=breaker,
            call_limits=CallLimits(call_s, call_s + worker.breaker.reset_timeout_ms / 1000),
            topics=topics,
            instances=executor.statuses if isinstance(executor, InstancePool) else tuple,
        ),
        decision=decision,
    )


def build_executor(
    instances: Sequence[Model],
    delivery: DeliverySection,
    *,
    breaker: CircuitBreaker,
    clock: Clock,
    on_fatal: Callable[[BaseException], None],
    decision: DecisionLayer | None,
) -> Executor:
    """Return the executor of a version: a thread for its one instance, or a pool of threads for several."""
    backoff = Backoff(delivery.retry_backoff_ms / 1000, delivery.retry_backoff_max_ms / 1000)
    loop = asyncio.get_running_loop()
    if len(instances) > 1:
        return InstancePool(
            instances,
            clock=clock,
            loop=loop,
            breaker=breaker,
            backoff=backoff,
            on_fatal=on_fatal,
            decision=decision,
        )
    return DeviceThread(
        instances[0],
        clock=clock,
        loop=loop,
        breaker=breaker,
        backoff=backoff,
        on_fatal=on_fatal,
        decision=decision,
    )


def prediction_encoder(model: Model, worker: Settings) -> PredictionEncoder:
    """Return the encoder of the model's predictions as JSON."""
    signature = model.signature
    return PredictionEncoder(
        model=model.name,
        version=model.version,
        labels=signature.labels,
        num_classes=signature.num_classes,
        slices=predicted_slices(model, worker),
    )


def predicted_slices(model: Model, worker: Settings) -> Sequence[SliceColumn]:
    """Return the features that the model's predictions carry."""
    evaluate = worker.evaluate
    if not evaluate.enabled or not evaluate.slices:
        return ()
    return slice_columns(model.signature, getattr(model, "reference", None), evaluate.slices)


def circuit_breaker(name: str, section: BreakerSection) -> CircuitBreaker:
    """Return a circuit breaker that logs its changes under this name."""

    def log_change(state: BreakerState, reason: str) -> None:
        log.warning("circuit breaker of the %s: %s: %s", name, state.value, reason)

    return CircuitBreaker(
        failure_threshold=section.failure_threshold,
        reset_timeout_s=section.reset_timeout_ms / 1000,
        on_change=log_change,
    )
