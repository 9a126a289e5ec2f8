"""Build the lane and the emitter of a version, also while the worker runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forebay.models.backends.protocol import Model
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.eventtime.emitter import WindowEmitter
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.kafka.producer.producer import hash_key
from forebay.stream.output.emitter import Emitter, ModelEmitter, Placer
from forebay.stream.output.encoder import Encoder
from forebay.stream.output.prediction_format import BinaryPredictions
from forebay.stream.rollouts.performance import ProcessUsage
from forebay.stream.worker.encryption_assembly import Encryption
from forebay.stream.worker.lane_assembly import ServedLane, build_lane, predicted_slices


@dataclass(frozen=True, slots=True)
class LaneFactory:
    """What all lanes of a worker have in common.

    worker: its instance id.
    model_names: of all models that it serves.
    on_fatal: receives the error if the thread of a model dies.
    process_usage: returns what the process has used since the last call; None if performance is not reported.
    predictions: the format of predictions on the topics; None for JSON.
    encryption: None if nothing is encrypted.
    """

    settings: Settings
    layout: Layout
    worker: str
    model_names: tuple[str, ...]
    clock: Clock
    on_fatal: Callable[[BaseException], None]
    process_usage: Callable[[], ProcessUsage] | None = None
    predictions: BinaryPredictions | None = None
    encryption: Encryption | None = None

    def lane(self, model: Model, settings: ServedModelSettings, topics: frozenset[str]) -> ServedLane:
        """Build the lane of a version that is loaded beside others."""
        return build_lane(
            model,
            settings,
            worker=self.settings,
            topics=topics,
            label=f"model {model.name} version {model.version}",
            clock=self.clock,
            on_fatal=self.on_fatal,
        )

    def emitter(self, lane: ServedLane) -> ModelEmitter:
        """Build the emitter of a lane."""
        in_rollouts = self.settings.rollouts.enabled and lane.windows is None
        return (Emitter if lane.windows is None else WindowEmitter)(
            self._encoder(lane),
            model=lane.ref.name,
            version=lane.ref.version,
            topics=lane.output_topics(self.layout.outputs),
            placer=Placer(self.layout.input_partitions, hash_key),
            worker=self.worker,
            feature_names=[*(feature.name for feature in lane.model.signature.features), *self.model_names],
            clock=self.clock,
            destinations=lane.destinations(self.layout.outputs),
            measured=None if self.process_usage is None else lane.measured(self.process_usage),
            names_rejections=in_rollouts,
            concealment=None if self.encryption is None else self.encryption.input,
        )

    def _encoder(self, lane: ServedLane) -> Encoder:
        encoder = self._plain_encoder(lane)
        if self.encryption is None:
            return encoder
        topics = lane.destinations(self.layout.outputs) or (self.layout.outputs.predictions,)
        return self.encryption.encoder(encoder, [topic.name for topic in topics])

    def _plain_encoder(self, lane: ServedLane) -> Encoder:
        if self.predictions is None:
            return lane.encoder
        signature = lane.model.signature
        return self.predictions.encoder(
            model=lane.ref.name,
            version=lane.ref.version,
            labels=signature.labels,
            num_classes=signature.num_classes,
            slices=predicted_slices(lane.model, self.settings),
        )
