"""The assembly of what a worker needs for rollouts: the stages that revisions change, the versions in memory, the follower."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import Clock
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.output.lanes_emitter import CombineMetadata, LanesEmitter
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import SwitchRecorder
from forebay.stream.rollouts.offset_metadata import require_room
from forebay.stream.telemetry.available_memory import available_bytes
from forebay.stream.telemetry.load_meter import load_meter
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.lane_factory import LaneFactory
from forebay.stream.worker.non_finite import NonFiniteCounter
from forebay.stream.worker.resident_versions import ResidentVersions, VersionReports
from forebay.stream.worker.rollout_follower import RolloutFollower
from forebay.stream.worker.rollout_ports import FollowedModel, FollowerParts, FollowerSettings, FollowerTools
from forebay.stream.worker.shadow_assembly import Shadows, build_shadows
from forebay.stream.worker.version_loader import LoadTools, VersionLoader


@dataclass(frozen=True, slots=True)
class RolloutParts:
    """What a worker has if rollouts are enabled.

    stage: the part of the pipeline in which revisions take effect.
    """

    emitters: LanesEmitter
    ledger: SwitchLedger
    stage: Rollouts
    versions: ResidentVersions
    follower: RolloutFollower
    shadows: Shadows


def build_rollouts(
    lanes: Sequence[ServedLane],
    *,
    factory: LaneFactory,
    decoder: VersionedDecoder,
    pipeline: Pipeline,
    reports: VersionReports,
    non_finite: NonFiniteCounter,
    combine_metadata: CombineMetadata | None,
) -> RolloutParts:
    """Build the parts, without starting them.

    lanes: of the versions with which the worker starts.
    combine_metadata: as in `LanesEmitter`.

    Raises ConfigError if there are too many models for the metadata of an offset.
    """
    settings, clock, switches = factory.settings, factory.clock, factory.layout.outputs.rollout_switches
    assert switches is not None
    names = [lane.ref.name for lane in lanes if lane.windows is None]
    require_room(names, [lane.ref.name for lane in lanes if lane.windows is not None])
    ledger = SwitchLedger(names)
    recorder = SwitchRecorder(ledger, switches, worker=factory.worker, observer=reports.telemetry.rollouts)
    emitters = LanesEmitter(
        {lane.ref: factory.emitter(lane) for lane in lanes},
        combine_metadata=combine_metadata,
        record_switches=recorder.record,
    )
    versions = ResidentVersions(
        lanes, pipeline=pipeline, loader=_loader(factory, clock), factory=factory, reports=reports
    )
    shadows = build_shadows(lanes, factory, versions=versions, in_flight=pipeline.in_flight, formats=decoder.formats)
    parts = FollowerParts(
        store=RolloutStore(settings, clock=clock),
        versions=versions,
        pipeline=pipeline,
        non_finite=non_finite,
        settings=FollowerSettings(
            worker=factory.worker,
            keep_previous_s=settings.rollouts.keep_previous_s,
            max_non_finite=settings.rollouts.max_non_finite,
        ),
        tools=FollowerTools(
            clock=clock,
            random=random.random,
            new_id=lambda: uuid.uuid4().hex,
            observer=reports.telemetry.rollouts,
            on_applied=shadows.lanes.apply,
            comparisons=shadows.lanes.comparisons,
        ),
    )
    models = [
        FollowedModel(lane.ref.name, lane.ref.version, lane.settings.model.version, lane.windows is not None)
        for lane in lanes
    ]
    return RolloutParts(
        emitters=emitters,
        ledger=ledger,
        stage=Rollouts(decoder, emitters, ledger, recorder),
        versions=versions,
        follower=RolloutFollower(parts, models),
        shadows=shadows,
    )


def _loader(factory: LaneFactory, clock: Clock) -> VersionLoader:
    meter, settings = load_meter(), factory.settings
    tools = LoadTools(
        loader=ModelLoader(settings.models_to_serve(), settings.trust, meter),
        meter=meter,
        available_bytes=available_bytes,
        clock=clock,
    )
    return VersionLoader(tools)
