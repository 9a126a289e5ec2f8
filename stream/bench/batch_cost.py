"""The CPU time of a worker as a function of its micro-batches, S(n) = a + b·n, fitted to measurements. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class CpuSpan:
    """The CPU time of a worker over a span of time, in seconds, with what it processed in it."""

    events: int
    batches: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class BatchCost:
    """The CPU time of a micro-batch of n events with its share of fetches and commits: a_us + b_us · n, in µs.

    error: the largest relative error of the fit.
    """

    a_us: float
    b_us: float
    error: float

    def of(self, events: float) -> float:
        """Return the CPU time of a micro-batch of this many events, in µs."""
        return self.a_us + self.b_us * events

    def per_event(self, events: float) -> float:
        """Return the CPU time of an event in a micro-batch of this many, in µs."""
        return self.of(events) / events


def fit_cost(spans: Sequence[CpuSpan]) -> BatchCost:
    """Fit the cost to spans with small and with large micro-batches, by least squares of the relative errors.

    Neither part is negative: one that would be is 0, and the other is fitted alone. With one span all of the time is `b`.
    Raises ValueError if there is no span with events.
    """
    used = [span for span in spans if span.events > 0 and span.batches > 0 and span.cpu_s > 0]
    if not used:
        raise ValueError("no CPU time was measured")
    # Rows divided by the measured time, so that each span has the same weight; columns: batches, events.
    rows = np.array([[span.batches / span.cpu_s, span.events / span.cpu_s] for span in used]) / 1e6
    ones = np.ones(len(used))
    a, b = (0.0, -1.0) if len(used) == 1 else np.linalg.lstsq(rows, ones, rcond=None)[0]
    if a < 0 or b < 0:
        candidates = [(0.0, _alone(rows[:, 1])), (_alone(rows[:, 0]), 0.0)][: 1 if len(used) == 1 else 2]
        a, b = min(candidates, key=lambda pair: float(np.square(rows @ pair - 1).sum()))
    return BatchCost(float(a), float(b), float(np.abs(rows @ (a, b) - 1).max()))


def _alone(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the coefficient of one column that brings it closest to 1."""
    return float(column.sum() / np.square(column).sum())
