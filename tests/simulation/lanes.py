"""The lanes of a simulated worker, assembled as `worker.assembly` and `worker.lane_assembly` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.eventtime.emitter import WindowEmitter
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.plan import WindowLimits, WindowPlan
from forebay.stream.eventtime.spec import digest
from forebay.stream.eventtime.timestamp_guard import TimestampBounds
from forebay.stream.kafka.producer.producer import hash_key
from forebay.stream.output.emitter import Emitter, ModelEmitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.lanes_emitter import LanesEmitter, RecordSwitches
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from tests.core.build import signature
from tests.simulation.audit import DEAD_LETTERS, DELTAS, LATE_EVENTS, PREDICTIONS, SWITCHES
from tests.simulation.device import SimulatedDevice, SimulatedModel, SimulatedPool
from tests.simulation.expected_windows import MAX_ROWS, SPEC
from tests.simulation.world import World

MIXED: Final = "features"
OWN: Final = "own-features"
INPUTS: Final = {MIXED: 3, OWN: 1}
"""The number of partitions of the input topics: one for all models, and one that belongs to the last model."""
OUTPUTS: Final = {PREDICTIONS: 3, DEAD_LETTERS: 3, DELTAS: 1, LATE_EVENTS: 3, SWITCHES: 1}
NUM_FEATURES: Final = 3


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """What distinguishes a lane from others. topics: those that belong to it; of_windows: whether its model takes windows.

    num_instances: with several, the results of the model come in any order.
    """

    name: str
    version: int = 1
    max_batch_size: int = 5
    call_s: float = 0.002
    topics: frozenset[str] = frozenset()
    of_windows: bool = False
    num_instances: int = 1


ONE_LANE: Final = (LaneOptions("m"),)
TWO_INSTANCES: Final = (LaneOptions("m", max_batch_size=3, call_s=0.02, num_instances=2),)
THREE_LANES: Final = (
    LaneOptions("m"),
    LaneOptions("slow", max_batch_size=3, call_s=0.2),
    LaneOptions("windows", max_batch_size=2, topics=frozenset({OWN}), of_windows=True),
)
LANES_WITH_ROLLOUTS: Final = (
    LaneOptions("m"),
    LaneOptions("windows", max_batch_size=2, topics=frozenset({OWN}), of_windows=True),
)
ONE_LANE_OF_WINDOWS: Final = (LaneOptions("m", max_batch_size=2, of_windows=True),)
_WINDOW_INPUT: Final = WindowInput(aggregates=(Aggregate("count"), Aggregate("max", 1), Aggregate("sum", 2)))


@dataclass(frozen=True, slots=True)
class SimulatedLane:
    """A lane with its model and device. plan: of its windows; None without windows."""

    model: SimulatedModel
    device: SimulatedDevice
    lane: Lane
    encoder: PredictionEncoder
    plan: WindowPlan | None


def circuit_breaker() -> CircuitBreaker:
    """Return a circuit breaker that is open for a short time."""
    return CircuitBreaker(failure_threshold=5, reset_timeout_s=3.0, on_change=lambda _state, _reason: None)


def build_lane(
    options: LaneOptions, world: World, backoff: Backoff, *, takes: Signature | None = None
) -> SimulatedLane:
    """Build a lane. Call it in the process. takes: the signature of its model; None for the usual one."""
    takes = takes or signature(NUM_FEATURES)
    if options.of_windows:
        takes = replace(takes, window=_WINDOW_INPUT)
    model = SimulatedModel(options.name, options.version, takes)
    breaker = circuit_breaker()
    device = SimulatedDevice(model, world, breaker=breaker, backoff=backoff, call_s=options.call_s)
    if options.num_instances > 1:
        device = SimulatedPool(model, world, breaker=breaker, backoff=backoff, call_s=options.call_s)
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
        plan=_plan(model) if options.of_windows else None,
    )


def _plan(model: SimulatedModel) -> WindowPlan:
    """Return a plan whose limits are never reached, and which closes nothing by the clock, so that the input decides all."""
    return WindowPlan(
        spec=SPEC,
        model=model.ref,
        window_input=_WINDOW_INPUT,
        num_features=NUM_FEATURES,
        digest=digest(SPEC, _WINDOW_INPUT, NUM_FEATURES, max_rows_per_window=MAX_ROWS, ahead_ms=10**9, behind_ms=10**9),
        limits=WindowLimits(
            max_open_windows=10**6,
            max_buffered_rows=10**6,
            max_buffered_bytes=10**9,
            max_replay_records=10**6,
            max_rows_per_window=MAX_ROWS,
            idle_timeout_s=1e9,
            timestamps=TimestampBounds(ahead_ms=10**9, behind_ms=10**9),
        ),
    )


def decoder(lanes: Sequence[SimulatedLane]) -> Decoder:
    """Return the decoder for the models of these lanes."""
    models = [DecodedModel(lane.model.ref, lane.model.signature, lane.lane.topics) for lane in lanes]
    return Decoder(models, max_event_bytes=1000)


def window_stages(lanes: Sequence[SimulatedLane], world: World) -> LaneWindows | None:
    """Return the stages of the windows; None if no model takes windows."""
    plans = [lane.plan for lane in lanes if lane.plan is not None]
    if not plans:
        return None
    return LaneWindows(plans, clock=world, topics={lane.model.ref: lane.lane.topics for lane in lanes})


def emission_builder(
    lanes: Sequence[SimulatedLane],
    windows: LaneWindows | None,
    *,
    worker: str,
    clock: World,
    record_switches: RecordSwitches | None = None,
) -> LanesEmitter:
    """Return what builds the outputs of all lanes."""
    return LanesEmitter(
        {lane.model.ref: emitter_of(lane, worker=worker, clock=clock) for lane in lanes},
        combine_metadata=None if windows is None else windows.commit_metadata,
        record_switches=record_switches,
    )


def emitter_of(lane: SimulatedLane, *, worker: str, clock: World) -> ModelEmitter:
    """Return the emitter of a lane."""
    topics = OutputTopics(
        *(OutputTopic(name, OUTPUTS[name], 10_000) for name in (PREDICTIONS, DEAD_LETTERS, DELTAS, LATE_EVENTS))
    )
    return (Emitter if lane.plan is None else WindowEmitter)(
        lane.encoder,
        model=lane.model.name,
        version=lane.model.version,
        topics=topics,
        placer=Placer(INPUTS, hash_key),
        worker=worker,
        clock=clock,
    )
