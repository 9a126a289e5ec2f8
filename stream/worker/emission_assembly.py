"""The assembly of what stands around the builder of emissions: the audit, and the protection of personal data."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import OutputTopics
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.pipeline.audit_recorder import AuditedEmissions, AuditRecorder
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.privacy_assembly import private_emissions


def build_emissions(
    settings: Settings,
    emitter: EmissionBuilder,
    audit: AuditRecorder | None,
    *,
    lanes: Sequence[ServedLane],
    outputs: OutputTopics,
    clock: Clock,
) -> EmissionBuilder:
    """Return the builder of emissions with the audit and with privacy, where they are enabled. Raises ConfigError."""
    # The audit is inside, so that its rows have the protected ids.
    if audit is not None:
        emitter = AuditedEmissions(emitter, audit)
    features = {feature.name for lane in lanes for feature in lane.model.signature.features}
    return private_emissions(settings.privacy, emitter, outputs=outputs, used_features=features, clock=clock)
