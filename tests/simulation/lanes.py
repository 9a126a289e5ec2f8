"""The lanes of a simulated worker, assembled as `worker.assembly` and `worker.lane_assembly` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.kafka.producer.producer import hash_key
from forebay.stream.output.emitter import EmissionBuilder, Emitter, ModelEmitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from tests.core.build import signature
from tests.simulation.audit import DEAD_LETTERS, DELTAS, PREDICTIONS
from tests.simulation.device import SimulatedDevice, SimulatedModel
from tests.simulation.world import World

MIXED: Final = "features"
OWN: Final = "own-features"
INPUTS: Final = {MIXED: 3, OWN: 1}
"""The number of partitions of the input topics: one for all models, and one that belongs to the last model."""
OUTPUTS: Final = {PREDICTIONS: 3, DEAD_LETTERS: 3, DELTAS: 1}
NUM_FEATURES: Final = 3


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """What distinguishes a lane from others. topics: those that belong to it."""

    name: str
    max_batch_size: int = 5
    call_s: float = 0.002
    topics: frozenset[str] = frozenset()


ONE_LANE: Final = (LaneOptions("m"),)
THREE_LANES: Final = (
    LaneOptions("m"),
    LaneOptions("slow", max_batch_size=3, call_s=0.2),
    LaneOptions("own", max_batch_size=8, topics=frozenset({OWN})),
)


@dataclass(frozen=True, slots=True)
class SimulatedLane:
    """A lane with its model and device."""

    model: SimulatedModel
    device: SimulatedDevice
    lane: Lane
    encoder: PredictionEncoder


def circuit_breaker() -> CircuitBreaker:
    """Return a circuit breaker that is open for a short time."""
    return CircuitBreaker(failure_threshold=5, reset_timeout_s=3.0, on_change=lambda _state, _reason: None)


def build_lane(options: LaneOptions, world: World, backoff: Backoff) -> SimulatedLane:
    """Build a lane. Call it in the process."""
    model = SimulatedModel(options.name, 1, signature(NUM_FEATURES))
    breaker = circuit_breaker()
    device = SimulatedDevice(model, world, breaker=breaker, backoff=backoff, call_s=options.call_s)
    return SimulatedLane(
        model,
        device,
        Lane(
            model.ref,
            executor=device,
            batcher=MicroBatcher(max_batch_size=options.max_batch_size, max_batch_bytes=10**6, max_queue_delay_ms=5),
            breaker=breaker,
            call_limits=CallLimits(20.0, 30.0),
            topics=options.topics,
        ),
        PredictionEncoder(model=model.name, version=model.version, labels=("no", "yes"), num_classes=2),
    )


def decoder(lanes: Sequence[SimulatedLane]) -> Decoder:
    """Return the decoder for the models of these lanes."""
    models = [DecodedModel(lane.model.ref, lane.model.signature, lane.lane.topics) for lane in lanes]
    return Decoder(models, max_event_bytes=1000)


def window_stage(lanes: Sequence[SimulatedLane], world: World) -> WindowStage | None:
    """Return the stage of the windows; None if no model takes windows."""
    return None


def emission_builder(
    lanes: Sequence[SimulatedLane], windows: WindowStage | None, *, worker: str, clock: World
) -> EmissionBuilder:
    """Return what builds the outputs of all lanes."""
    topics = OutputTopics(*(OutputTopic(name, OUTPUTS[name], 10_000) for name in (PREDICTIONS, DEAD_LETTERS, DELTAS)))
    options: dict[str, Any] = {"topics": topics, "placer": Placer(INPUTS, hash_key), "worker": worker, "clock": clock}
    emitters: dict[Any, ModelEmitter] = {
        lane.model.ref: Emitter(lane.encoder, model=lane.model.name, version=lane.model.version, **options)
        for lane in lanes
    }
    return LanesEmitter(emitters)
