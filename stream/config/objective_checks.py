"""Rules for the objective on latency."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.model_checks import effective_key
from forebay.stream.config.models_section import BatchSection
from forebay.stream.config.sections import Settings


def objective_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about the objective."""
    objective = settings.objective
    if objective.p99_ms is None:
        if objective.prefer != "latency":
            yield Conflict(("objective.prefer", "objective.p99_ms"), "needs objective.p99_ms")
        return
    default_ms = BatchSection().max_queue_delay_ms
    of_events = [
        (index, served) for index, served in enumerate(settings.models_to_serve()) if served.window.kind == "none"
    ]
    if not of_events:
        yield Conflict(
            ("objective.p99_ms", "window.kind"),
            "is for models that take single events, and all models of this worker take windows",
        )
    keys = {
        effective_key(settings, index, "batch.max_queue_delay_ms")
        for index, served in of_events
        if served.batch.max_queue_delay_ms != default_ms
    }
    for key in sorted(keys):
        yield Conflict(
            (key, "objective.p99_ms"),
            "must not be set together with objective.p99_ms, with which the worker chooses how long events wait: "
            f"remove it, or leave it at its default ({default_ms})",
        )
