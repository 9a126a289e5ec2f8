"""Looks at an experiment after every commit, and what would have been decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np
import numpy.typing as npt

from forebay.stream.experiments.arms import comparable
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.confidence_sequence import (
    MIN_BLOCKS,
    Estimate,
    best_rho,
    estimate,
    interval,
    planned_information,
)
from forebay.stream.experiments.experiment import Outcome, Plan, Result, compare, compare_paired
from forebay.stream.experiments.metric import METRICS
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.quality.keys import Task
from tests.experiments.streams import Events

LOG_LOSS = METRICS["log_loss"]
FIXED_Z = 1.959964


def scores_of(losses_B: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return scores that have these log losses, if the label is 1."""
    return np.exp(-losses_B).astype(np.float32)[:, None]


def add(sums: BlockSums, blocks_B: npt.NDArray[np.uint16], losses_B: npt.NDArray[np.float64]) -> None:
    scores_BO = scores_of(losses_B)
    sums.add_predictions(blocks_B)
    sums.add_pairs(blocks_B, scores_BO, (scores_BO[:, 0] > 0.5).astype(np.int32), np.ones(len(blocks_B)))


@dataclass
class EventLevel:
    """Sums of events that count each event as independent, which is wrong."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, losses_B: npt.NDArray[np.float64]) -> None:
        self.count += len(losses_B)
        self.total += float(losses_B.sum())
        self.squares += float(np.square(losses_B).sum())

    def estimate(self) -> Estimate:
        if self.count < 2:
            return Estimate(0.0, 0.0, 0)
        mean = self.total / self.count
        return Estimate(mean, (self.squares / self.count - mean**2) / self.count, self.count)


@dataclass
class Look:
    """What is known after a commit.

    events: labelled events of the treatment.
    fixed_z: the difference in standard deviations, by a test that allows one look.
    event_level_excludes: whether the sequence that takes events as independent says that there is a difference.
    """

    events: int
    result: Result
    fixed_z: float
    event_level_excludes: bool = False
    control: BlockSums | None = field(default=None, repr=False)


def _z(found: Estimate) -> float:
    enough = found.num_blocks >= MIN_BLOCKS and found.variance > 0
    return found.mean / sqrt(found.variance) if enough else 0.0


def canary_looks(events: Events, *, worse: float, commit: int, plan: Plan) -> Iterator[Look]:
    """Yield a look after every commit. worse: factor of the canary's losses."""
    control, treatment = BlockSums(Task.BINARY), BlockSums(Task.BINARY)
    levels = EventLevel(), EventLevel()
    for start in range(0, len(events.blocks_B), commit):
        rows = slice(start, start + commit)
        blocks_B, losses_B, is_canary_B = events.blocks_B[rows], events.losses_B[rows], events.is_canary_B[rows]
        for sums, level, chosen, factor in (
            (control, levels[0], ~is_canary_B, 1.0),
            (treatment, levels[1], is_canary_B, worse),
        ):
            add(sums, blocks_B[chosen], factor * losses_B[chosen])
            level.add(factor * losses_B[chosen])
        result = compare(control, treatment, LOG_LOSS, plan)
        arms = [estimate(arm.sums, arm.n_matched) for arm in comparable(control, treatment, "log_loss")]
        by_event = levels[1].estimate().minus(levels[0].estimate())
        effect = plan.min_effect * max(levels[0].estimate().mean, 1e-9)
        rho = best_rho(planned_information(effect, plan.alpha), plan.alpha)
        yield Look(
            result.treatment.events,
            result,
            _z(arms[1].minus(arms[0])),
            interval(by_event, alpha=plan.alpha, rho=rho).excludes(0.0),
        )


def shadow_looks(events: Events, *, worse: float, commit: int, plan: Plan) -> Iterator[Look]:
    """Yield a look after every commit of a shadow that predicts every event. worse: factor of its losses."""
    served, paired = BlockSums(Task.BINARY), PairedSums(Task.BINARY, served=1)
    for start in range(0, len(events.blocks_B), commit):
        rows = slice(start, start + commit)
        blocks_B, actual_B = events.blocks_B[rows], np.ones(len(events.blocks_B[rows]))
        add(served, blocks_B, events.losses_B[rows])
        sides = [
            PredictedBy(scores_BO, (scores_BO[:, 0] > 0.5).astype(np.int32))
            for scores_BO in (scores_of(events.losses_B[rows]), scores_of(worse * events.shadow_losses_B[rows]))
        ]
        paired.add_pairs(blocks_B, sides[0], sides[1], actual_B)
        result = compare_paired(paired, served, LOG_LOSS, plan)
        found = estimate(paired.differences("log_loss"), paired.n_matched)
        yield Look(result.treatment.events, result, _z(found))


def first_events(looks: Iterator[Look], outcome: Outcome) -> float:
    """Return after how many events an outcome was reached; infinity if it was not."""
    return next((float(look.events) for look in looks if look.result.outcome is outcome), inf)
