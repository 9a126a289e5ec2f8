"""What the records of `quality` say about the versions of a model, compared with each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from forebay.schemas.errors import DataError
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.experiment import Outcome, Plan, Result, compare, compare_paired
from forebay.stream.experiments.metric import Metric, default_metric, metric_for
from forebay.stream.experiments.paired_sums import McNemarCounts, PairedSums
from forebay.stream.experiments.sample_ratio import ShareCheck, check_matched_share, check_sample_ratio
from forebay.stream.quality.keys import Task
from forebay.stream.quality.wire import QualityDelta, decode_quality


class Versions(NamedTuple):
    """A version and the one that it is compared with."""

    version: int
    against: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A version compared with another one.

    paired: whether it is a shadow, compared by the events that both predicted; else both predicted different keys.
    keys: the check of its share of the keys; None if that share is not known.
    labels: the check of the shares of predictions with a label; None for a shadow.
    right: for a shadow, how many events which side predicted correctly.
    time_needed_ms: about how much longer it takes to decide, at least; None if unknown.
    """

    versions: Versions
    paired: bool
    result: Result
    keys: ShareCheck | None = None
    labels: ShareCheck | None = None
    right: McNemarCounts | None = None
    time_needed_ms: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as JSON values."""
        right = self.right
        return {
            "version": self.versions.version,
            "against": self.versions.against,
            "paired": self.paired,
            **self.result.to_dict(),
            "keys": None if self.keys is None else self.keys.to_dict(),
            "labels": None if self.labels is None else self.labels.to_dict(),
            "right": None
            if right is None
            else {
                "both": right.both,
                "only_against": right.only_served,
                "only_version": right.only_shadow,
                "neither": right.neither,
            },
            "time_needed_s": None if self.time_needed_ms is None else round(self.time_needed_ms / 1000),
        }


class ExperimentView:
    """The sums by block of the versions of one model. Add every record once, in any order.

    group: the consumer group of the evaluators. Each group counts everything, so the records of others are left out.
    since_ms: windows of event time that begin earlier are left out.
    rejected: number of records that could not be added; last_error: why, for the last one.
    other_models, other_groups: names of other models and groups that have records.
    """

    def __init__(self, model: str, *, group: str, since_ms: int) -> None:
        self._model = model
        self.group = group
        self._since_ms = since_ms
        self.arms: dict[int, BlockSums] = {}
        self.pairs: dict[Versions, PairedSums] = {}
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.rejected = 0
        self.last_error = ""
        self.other_models: set[str] = set()
        self.other_groups: set[str] = set()
        self.earlier_windows = 0

    def read(self, value: bytes | None) -> None:
        """Add a record's value; count it as rejected if it is not a quality record."""
        try:
            self.add(decode_quality(value))
        except DataError as error:
            self.rejected += 1
            self.last_error = error.message

    def add(self, delta: QualityDelta) -> None:
        """Add a record. Raises DataError if its sums are of another task than those that were added before."""
        key = delta.key
        if key.slice or (delta.blocks is None and delta.paired is None):
            return
        if delta.group != self.group:
            self.other_groups.add(delta.group)
            return
        if key.model != self._model:
            self.other_models.add(key.model)
            return
        if key.window_start < self._since_ms:
            self.earlier_windows += 1
            return
        if delta.blocks is not None:
            arm = BlockSums.read(delta.blocks)
            self.arms.setdefault(key.version, BlockSums(arm.task)).merge(arm)
        if delta.paired is not None:
            paired = PairedSums.read(delta.paired)
            new = PairedSums(paired.task, served=paired.served)
            self.pairs.setdefault(Versions(key.version, paired.served), new).merge(paired)
        self.first_ms = key.window_start if self.first_ms is None else min(self.first_ms, key.window_start)
        self.last_ms = delta.window_end if self.last_ms is None else max(self.last_ms, delta.window_end)

    @property
    def task(self) -> Task | None:
        """The task of the model; None without records."""
        tasks = [*(sums.task for sums in self.arms.values()), *(sums.task for sums in self.pairs.values())]
        return tasks[0] if tasks else None

    def stable(self) -> int | None:
        """Return the version with the most predictions; None without records."""
        return max(self.arms, key=lambda version: int(self.arms[version].n_predictions.sum()), default=None)


def report(
    view: ExperimentView,
    *,
    metric: str | None,
    plan: Plan,
    against: int | None,
    shares: Mapping[int, float],
) -> list[Comparison]:
    """Return the comparison of each version with one of them, and of each shadow with the versions that served.

    metric: None for that of the task.
    against: None for the version with the most predictions.
    shares: the shares of the keys that versions should have; versions without one are not checked.

    Raises ConfigError if the task does not have the metric.
    """
    task = view.task
    if task is None:
        return []
    chosen = default_metric(task) if metric is None else metric_for(metric, task)
    control = view.stable() if against is None else against
    found = [
        _unpaired(view, Versions(version, control), chosen, plan=plan, shares=shares)
        for version in sorted(view.arms)
        if control in view.arms and control is not None and version != control
    ]
    return found + [
        _paired(view, versions, chosen, plan)
        for versions in sorted(view.pairs)
        if (against is None or versions.against == against) and versions.against in view.arms
    ]


def _unpaired(
    view: ExperimentView, versions: Versions, metric: Metric, *, plan: Plan, shares: Mapping[int, float]
) -> Comparison:
    control, treatment = view.arms[versions.against], view.arms[versions.version]
    own, other = shares.get(versions.version), shares.get(versions.against)
    keys = None
    if own and other:
        keys = check_sample_ratio(control, treatment, own / (own + other))
    result = compare(control, treatment, metric, plan)
    return Comparison(
        versions,
        paired=False,
        result=result,
        keys=keys,
        labels=check_matched_share(control, treatment),
        time_needed_ms=_time_needed_ms(view, result),
    )


def _paired(view: ExperimentView, versions: Versions, metric: Metric, plan: Plan) -> Comparison:
    paired = view.pairs[versions]
    result = compare_paired(paired, view.arms[versions.against], metric, plan)
    return Comparison(
        versions,
        paired=True,
        result=result,
        right=None if paired.task is Task.REGRESSION else paired.right,
        time_needed_ms=_time_needed_ms(view, result),
    )


def _time_needed_ms(view: ExperimentView, result: Result) -> int | None:
    """Return the time in which as many labels come as are needed, at the rate of all windows so far."""
    if result.outcome not in (Outcome.INCONCLUSIVE, Outcome.NO_DATA):
        return 0
    if not result.events_needed or not result.treatment.events or view.first_ms is None or view.last_ms is None:
        return None
    return ceil(result.events_needed * (view.last_ms - view.first_ms) / result.treatment.events)
