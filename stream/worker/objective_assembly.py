"""The assembly of the objective on latency."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.stream.config.objective_section import ObjectiveSection
from forebay.stream.core.clock import Clock
from forebay.stream.objective.controller import ObjectiveController
from forebay.stream.pipeline.commit_pacing import CommitPacing
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.objective_control import ObjectiveControl
from forebay.stream.worker.lane_assembly import ServedLane


def build_objective(
    section: ObjectiveSection, lanes: Iterable[ServedLane], in_flight: InFlight, *, clock: Clock
) -> ObjectiveControl | None:
    """Return the control of the lanes for single events; None if there is no objective."""
    if section.p99_ms is None:
        return None
    controller = ObjectiveController(section.p99_ms / 1000, efficient=section.prefer == "efficiency")
    control = ObjectiveControl(controller, CommitPacing(clock), in_flight, clock=clock)
    for served in lanes:
        if served.windows is None:
            control.add_lane(served.lane)
    return control
