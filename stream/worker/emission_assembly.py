"""The assembly of the builder of emissions, and of what is around it: the audit, and the protection of personal data."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import OutputTopics
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.audit_recorder import AuditedEmissions, AuditRecorder
from forebay.stream.worker.backfill_assembly import Backfill, RangedEmissions
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.lane_factory import LaneFactory
from forebay.stream.worker.privacy_assembly import private_emissions


def build_emitter(lanes: Sequence[ServedLane], factory: LaneFactory, windows: LaneWindows | None) -> EmissionBuilder:
    """Return the builder of emissions of the configured versions."""
    return LanesEmitter(
        {lane.ref: factory.emitter(lane) for lane in lanes},
        combine_metadata=None if windows is None else windows.commit_metadata,
    )


def build_emissions(
    settings: Settings,
    emitter: EmissionBuilder,
    audit: AuditRecorder | None,
    *,
    lanes: Sequence[ServedLane],
    outputs: OutputTopics,
    clock: Clock,
    backfill: Backfill | None = None,
) -> EmissionBuilder:
    """Return the builder of emissions with the audit, the ranges and privacy, where they are used. Raises ConfigError."""
    # The audit is inside, so that its rows have the protected ids.
    if audit is not None:
        emitter = AuditedEmissions(emitter, audit)
    if backfill is not None:
        emitter = RangedEmissions(emitter, backfill.ranges)
    features = {feature.name for lane in lanes for feature in lane.model.signature.features}
    return private_emissions(settings.privacy, emitter, outputs=outputs, used_features=features, clock=clock)
