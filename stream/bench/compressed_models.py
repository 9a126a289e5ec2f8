"""Measure versions of a model end to end: workers with an embedded broker drain the same events, in turn."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from forebay.stream.bench.measure import Plan, measure_variants
from forebay.stream.bench.stats import MeanRatio, mean_ratio, pairwise_ratios
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock

EVENTS: Final = 200_000
ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class WorkerRate:
    """What workers reach with a version.

    events_per_cpu_s: the median over the rounds. ratio: to the first version, round by round.
    """

    label: str
    events_per_cpu_s: float
    ratio: MeanRatio

    @property
    def text(self) -> str:
        """The result, for people."""
        low = "" if self.ratio.lower_95 is None else f", at least {self.ratio.lower_95:.2f}×"
        rate = f"{self.events_per_cpu_s:,.0f} events/CPU-s, {self.ratio.mean:.2f}× of the original{low}"
        return f"in a worker, {self.label}: {rate}"

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        ratio = {"mean": self.ratio.mean, "lower_95": self.ratio.lower_95}
        return {"label": self.label, "events_per_cpu_s": self.events_per_cpu_s, "ratio": ratio}


async def measure_in_worker(
    settings: Settings,
    repository: Path,
    name: str,
    versions: Mapping[str, int],
    *,
    events: int = EVENTS,
    rounds: int = ROUNDS,
) -> tuple[WorkerRate, ...]:
    """Return the rate of each version. The ratios are to the first one. Raises ForebayError."""

    def serving(version: int) -> Settings:
        model = settings.model.model_copy(update={"repository": repository, "name": name, "version": version})
        return settings.model_copy(update={"model": model})

    plan = Plan(
        settings=settings,
        embedded=True,
        own_model=False,
        events=events,
        memory_events=0,
        rate=0,
        seconds=0,
        run_id=uuid.uuid4().hex[:8],
    )
    variants = {label: serving(version) for label, version in versions.items()}
    reports = await measure_variants(
        plan, variants, rounds=rounds, clock=SystemClock(), progress=lambda name, events: lambda done: None
    )
    rates: dict[str, list[float]] = {label: [] for label in versions}
    for report in reports:
        assert report.closed_loop is not None
        rates[report.variant].append(report.closed_loop.events_per_cpu_s)
    first = rates[next(iter(versions))]
    return tuple(
        WorkerRate(label, median(found), mean_ratio(pairwise_ratios(found, first))) for label, found in rates.items()
    )
