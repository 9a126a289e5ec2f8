"""Computation of the report from the ledger. Pure. N: published events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.training.metrics import accuracy, log_loss, roc_auc
from forebay.stream.demo.evaluated import EvaluatedVersion
from forebay.stream.demo.ledger import CODES, Ledger
from forebay.stream.demo.totals import Totals

_MAX_EXAMPLES: Final = 10
_MAX_ERRORS: Final = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency from when an event was due to be sent until the subscriber had read its outcome, in ms. most: maximum."""

    p50: float
    p95: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the predictions, and for comparison that of the base rate.

    rows: number of predicted events whose label is known.
    base_rate: share of class 1 among them.
    base_accuracy: accuracy of always predicting the more frequent class.
    base_log_loss: log loss of always predicting the base rate.
    roc_auc: None if only one class occurs; guessing gives 0.5.
    """

    rows: int
    base_rate: float
    accuracy: float
    base_accuracy: float
    roc_auc: float | None
    log_loss: float
    base_log_loss: float


@dataclass(frozen=True, slots=True)
class CommonError:
    """A failure kind, its number, and one of its messages."""

    kind: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a demo.

    missing: number of events without an outcome.
    duplicated: number of events with more than one outcome.
    unexpected: number of records that do not belong to a published event.
    missing_ids, duplicated_ids, unexpected_ids: the first ids of each.
    seconds: time from when the first event was due to the last outcome.
    throughput: events with an outcome per second of that time.
    aggregator: the aggregator's counts; None if no aggregator ran or not every event has an outcome.
    evaluated: the quality of each version by the labels that the evaluator has joined.
    """

    events: int
    outcomes: Mapping[str, int]
    missing: int
    duplicated: int
    unexpected: int
    missing_ids: tuple[str, ...]
    duplicated_ids: tuple[str, ...]
    unexpected_ids: tuple[str, ...]
    seconds: float
    throughput: float
    latency_ms: Latency | None
    quality: Quality | None
    errors: tuple[CommonError, ...]
    aggregator: Totals | None
    evaluated: tuple[EvaluatedVersion, ...] = ()

    @property
    def evaluated_equal(self) -> bool:
        """Whether the evaluator has joined all labels and counted as many right predictions as the demo itself."""
        quality = self.quality
        if quality is None:
            return not self.evaluated
        matched = sum(version.matched for version in self.evaluated)
        right = sum(round(version.accuracy * version.matched) for version in self.evaluated)
        return (matched, right) == (quality.rows, round(quality.accuracy * quality.rows))

    @property
    def exact(self) -> bool:
        """Whether every event has exactly one outcome, and nothing else was read."""
        return self.missing == self.duplicated == self.unexpected == 0 and sum(self.outcomes.values()) == self.events

    @property
    def passed(self) -> bool:
        """Whether the report is exact, and the aggregator, if one ran, and the evaluator have the same counts."""
        return self.exact and self.evaluated_equal and (self.aggregator is None or self.aggregator.equal)

    def conservation(self) -> str:
        """Return the line with the sum of the outcomes."""
        outcomes = " + ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.items())
        return f"{self.events:,} events in = {outcomes}" + (f" + {self.missing:,} missing" if self.missing else "")

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {"exact": self.exact, "evaluated_equal": self.evaluated_equal, **asdict(self)}


def build_report(ledger: Ledger, labels_N: npt.NDArray[np.int8], aggregator: Totals | None = None) -> Report:
    """Build the report on the events that were sent. labels_N: 1, 0, or negative if the label is unknown."""
    sent = slice(0, ledger.num_sent)
    counts_N = ledger.num_outcomes_N[sent]
    missing_N, duplicated_N = np.flatnonzero(counts_N == 0), np.flatnonzero(counts_N > 1)
    seconds = _seconds(ledger)
    accounted = int(np.count_nonzero(counts_N))
    return Report(
        events=ledger.num_sent,
        outcomes={outcome.value: ledger.num_with(outcome) for outcome in CODES},
        missing=len(missing_N),
        duplicated=len(duplicated_N),
        unexpected=ledger.num_unexpected,
        missing_ids=tuple(ledger.ids[index] for index in missing_N[:_MAX_EXAMPLES]),
        duplicated_ids=tuple(ledger.ids[index] for index in duplicated_N[:_MAX_EXAMPLES]),
        unexpected_ids=tuple(ledger.unexpected),
        seconds=seconds,
        throughput=accounted / seconds if seconds > 0 else 0.0,
        latency_ms=latency(ledger.due_s_N[sent], ledger.readable_s_N[sent]),
        quality=quality(labels_N[sent], ledger.probability_N[sent]),
        errors=tuple(
            CommonError(kind, count, ledger.examples[kind]) for kind, count in ledger.kinds.most_common(_MAX_ERRORS)
        ),
        aggregator=aggregator,
        evaluated=ledger.evaluated,
    )


def latency(due_s_N: npt.NDArray[np.float64], readable_s_N: npt.NDArray[np.float64]) -> Latency | None:
    """Return the latency percentiles of the events with an outcome; None if there are none."""
    latency_ms = (readable_s_N - due_s_N) * 1000
    latency_ms = latency_ms[~np.isnan(latency_ms)]
    if len(latency_ms) == 0:
        return None
    p50, p95, p99 = np.percentile(latency_ms, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99), float(latency_ms.max()))


def quality(labels_N: npt.NDArray[np.int8], probability_N: npt.NDArray[np.float32]) -> Quality | None:
    """Return the quality over the predicted events whose label is known; None if there are none."""
    scored_N = (labels_N >= 0) & ~np.isnan(probability_N)
    true, p = labels_N[scored_N], probability_N[scored_N]
    if len(true) == 0:
        return None
    rate = float(np.mean(true))
    return Quality(
        rows=len(true),
        base_rate=rate,
        accuracy=accuracy(true, (p >= 0.5).astype(np.int8)),
        base_accuracy=max(rate, 1 - rate),
        roc_auc=roc_auc(true, p),
        log_loss=log_loss(true, p),
        base_log_loss=-sum(share * math.log(share) for share in (rate, 1 - rate) if share > 0),
    )


def _seconds(ledger: Ledger) -> float:
    due_s, readable_s = ledger.due_s_N[: ledger.num_sent], ledger.readable_s_N[: ledger.num_sent]
    if len(due_s) == 0 or np.isnan(readable_s).all():
        return 0.0
    return float(np.nanmax(readable_s) - np.nanmin(due_s))
