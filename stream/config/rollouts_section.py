"""Settings of rollouts: whether revisions of the topic `rollouts` choose the versions, and what ends a canary."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed

MetricName = Literal["accuracy", "log_loss", "brier", "mae", "mse"]
_METRICS: Final = ("accuracy", "log_loss", "brier", "mae", "mse")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in _METRICS:
            raise ValueError(f"{name[:80]!r} is not a metric")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is listed twice")
    return names


GuardRails = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_metrics),
    Allowed(f"a list (separated by commas in the environment) of {', '.join(_METRICS)}"),
]


class RolloutsSection(Section):
    """Rollouts of model versions by `forebay models`: canaries, shadows, promotion and rollback while workers run."""

    enabled: bool = Field(
        default=False,
        description="Follow the topic rollouts. Its revisions override model.version. The topics are created by "
        "`forebay topics create`.",
    )
    keep_previous_s: int = Field(
        default=600,
        ge=0,
        le=604_800,
        description="How long a version stays in memory after a switch to another, so that a rollback needs no load.",
    )
    max_non_finite: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="A worker rolls a canary back at once after more predictions that are not finite than this.",
    )
    judge_window_s: int = Field(
        default=60, ge=1, le=86_400, description="Length of the time windows in which the aggregator judges a canary."
    )
    judge_windows: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Number of consecutive windows that must exceed max_latency_ratio or max_cost_ratio to end a canary.",
    )
    judge_min_events: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000_000,
        description="Least number of predictions of a canary in a step, if the command does not say. With fewer, the rollout "
        "holds.",
    )
    max_failure_rate: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="A canary may always fail this share of its events. Beyond it, max_failure_ratio applies.",
    )
    max_failure_ratio: float = Field(
        default=2.0,
        ge=1,
        le=1_000,
        description="A canary ends if it fails more often than max_failure_rate and this many times the stable version's "
        "failure rate.",
    )
    max_latency_ratio: float = Field(
        default=1.5,
        ge=1,
        le=1_000,
        description="A canary ends if its 99th percentile of latency exceeds the stable version's by this factor in "
        "judge_windows consecutive windows.",
    )
    max_cost_ratio: float = Field(
        default=0,
        ge=0,
        le=1_000,
        description="A canary ends if its CPU time per prediction exceeds the stable version's by this factor in "
        "judge_windows consecutive windows. 0: not judged.",
    )
    quality_metric: MetricName | None = Field(
        default=None,
        description="The aggregator also judges a canary by this metric of its labelled predictions: it ends a canary that is "
        "worse, and takes no step before labels show that it is not. Default: quality is not judged. Needs evaluate.enabled.",
    )
    guard_rails: GuardRails = Field(
        default=(),
        description="Further metrics that end a canary which is worse by them.",
    )
    min_effect: float = Field(
        default=0.05,
        gt=0,
        le=10,
        description="Smallest difference in quality that matters, as a share of the stable version's value. 0.05: 5 %.",
    )
    quality_alpha: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="Probability of ever ending a canary because of its quality that is as good as the stable version, by "
        "quality_metric and all guard_rails together.",
    )
    shadow_max_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Largest share of a worker's time that shadows may take. Events beyond it are not predicted by shadows.",
    )
    shadow_queue_batches: int = Field(
        default=8,
        ge=1,
        le=4_096,
        description="Number of micro-batches that may wait for a shadow. Further ones are dropped.",
    )
    shadow_deadline_ms: int = Field(
        default=1_000,
        ge=1,
        le=600_000,
        description="A shadow drops micro-batches that have waited longer than this.",
    )
