"""The metrics of several processes as those of one: counters and histograms add up, and each gauge has its rule. Pure.

The counters of a process that has ended stay in the sums, with their last known values, so that no counter decreases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry import lane_metrics as lanes
from forebay.stream.telemetry.metric_store import HistogramState, Labels, Snapshot


class GaugeRule(Enum):
    """How the values of a gauge with equal labels, one of each process, become those of the page."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    BY_PROCESS = "by_process"
    """All of them, with the additional label `process`: to add or compare them has no meaning."""


_OF_THE_SUM: Final = (
    *(c.OPEN_WINDOWS, c.BUFFERED_ROWS, c.ASSIGNED_PARTITIONS, c.IN_FLIGHT_EVENTS, c.IN_FLIGHT_BYTES),
    *(c.IN_FLIGHT_BATCHES, c.IN_FLIGHT_LIMIT, lanes.LANE_IN_FLIGHT_EVENTS, lanes.LANE_WAITING_BATCHES),
    lanes.PRIORITY_WAITING_BATCHES,
)
# A partition has one owner, except that after a rebalance the former one may still report it. A device is the same for all.
_OF_THE_MAX: Final = (
    *(c.SCHEMA_WAIT, c.WATERMARK_DELAY, c.CONSUMER_LAG_RECORDS, c.CONSUMER_LAG, c.PAUSED, c.BREAKER_STATE),
    *(lanes.LANE_BLOCKED, c.MODEL_INFO, c.BUILD_INFO, c.ROLLOUT_SHARE, c.ROLLOUT_RESIDENT, c.ROLLOUT_LOADING),
    *(c.ROLLOUT_BLOCKED, c.GPU_UTILIZATION, c.GPU_MEMORY, c.GPU_MEMORY_LIMIT),
)
# READY: the supervisor replaces it with its own verdict. The revision is the one that all processes have reached.
_OF_THE_MIN: Final = (c.READY, c.ROLLOUT_REVISION)

GAUGE_RULES: Final[Mapping[c.Gauge, GaugeRule]] = MappingProxyType(
    {
        **dict.fromkeys(_OF_THE_SUM, GaugeRule.SUM),
        **dict.fromkeys(_OF_THE_MAX, GaugeRule.MAX),
        **dict.fromkeys(_OF_THE_MIN, GaugeRule.MIN),
    }
)
"""The rules of gauges; BY_PROCESS for all others."""


def rule_of(gauge: c.Gauge) -> GaugeRule:
    """Return how values of this gauge are merged."""
    return GAUGE_RULES.get(gauge, GaugeRule.BY_PROCESS)


def merge(running: Mapping[str, Snapshot], ended: Snapshot | None = None) -> Snapshot:
    """Return the metrics of all processes.

    running: the last known snapshot of each running process, by its name.
    ended: the totals of processes that have ended (see `add_ended`).
    """
    every = [*running.values(), *([] if ended is None else [ended])]
    return Snapshot(_add_counters(every), _merge_gauges(running), _add_histograms(every))


def add_ended(totals: Snapshot | None, last: Snapshot) -> Snapshot:
    """Return the totals with the counters and histograms of one more process that has ended. Its gauges are dropped.

    last: its last known snapshot.
    """
    both = [last] if totals is None else [totals, last]
    return Snapshot(_add_counters(both), {}, _add_histograms(both))


def _add_counters(snapshots: Iterable[Snapshot]) -> dict[c.Counter, dict[Labels, float]]:
    merged: dict[c.Counter, dict[Labels, float]] = {}
    for snapshot in snapshots:
        for counter, values in snapshot.counters.items():
            totals = merged.setdefault(counter, {})
            for labels, value in values.items():
                totals[labels] = totals.get(labels, 0) + value
    return merged


def _add_histograms(snapshots: Iterable[Snapshot]) -> dict[c.Histogram, dict[Labels, HistogramState]]:
    merged: dict[c.Histogram, dict[Labels, HistogramState]] = {}
    for snapshot in snapshots:
        for histogram, states in snapshot.histograms.items():
            totals = merged.setdefault(histogram, {})
            for labels, state in states.items():
                totals[labels] = _add_states(totals[labels], state) if labels in totals else state.copy()
    return merged


def _add_states(total: HistogramState, state: HistogramState) -> HistogramState:
    """Add a state to a total, which is changed and returned. Of two exemplars, the newer one stays."""
    total.counts += state.counts
    total.sum += state.sum
    total.min, total.max = min(total.min, state.min), max(total.max, state.max)
    for bucket, exemplar in state.exemplars.items():
        current = total.exemplars.get(bucket)
        if current is None or exemplar.at_s > current.at_s:
            total.exemplars[bucket] = exemplar
    return total


def _merge_gauges(running: Mapping[str, Snapshot]) -> dict[c.Gauge, dict[Labels, float]]:
    merged: dict[c.Gauge, dict[Labels, float]] = {}
    for process, snapshot in running.items():
        for gauge, values in snapshot.gauges.items():
            rule, totals = rule_of(gauge), merged.setdefault(gauge, {})
            for labels, value in values.items():
                if rule is GaugeRule.BY_PROCESS:
                    totals[(*labels, process)] = value
                elif labels not in totals:
                    totals[labels] = value
                else:
                    totals[labels] = _combined(rule, totals[labels], value)
    return merged


def _combined(rule: GaugeRule, first: float, second: float) -> float:
    if rule is GaugeRule.SUM:
        return first + second
    return max(first, second) if rule is GaugeRule.MAX else min(first, second)
