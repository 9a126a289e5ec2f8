"""From the ledger to the report. Pure arithmetic; N = events published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.training.metrics import accuracy, log_loss, roc_auc
from forebay.stream.demo.ledger import CODES, Ledger
from forebay.stream.demo.totals import Totals

_MOST_SHOWN: Final = 10
_COMMONEST: Final = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """From when an event was to be sent until a subscriber had its outcome, in ms."""

    p50: float
    p95: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the predictions are against what really happened, beside what the base rate alone would give.

    rows: predicted events whose truth is known; base_rate: the share of class 1 among them; base_accuracy: always saying the
    commoner class; base_log_loss: always saying the base rate; roc_auc: None where only one class is there (guessing: 0.5).
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
    """A kind of failure, how often it was, and one of its messages."""

    kind: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told at the end.

    missing: events without an outcome; duplicated: events with more than one; unexpected: records of no published event.
    Of each the first few are named. seconds: from the first event's due time to the last outcome; throughput: outcomes a
    second in that time. aggregator: what it has counted; None where none ran, or there was nothing whole to count.
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

    @property
    def exact(self) -> bool:
        """Whether every event has exactly one outcome, and nothing else came."""
        return self.missing == self.duplicated == self.unexpected == 0 and sum(self.outcomes.values()) == self.events

    @property
    def passed(self) -> bool:
        """Whether it is exact, and the aggregator, where one ran, has counted the same."""
        return self.exact and (self.aggregator is None or self.aggregator.equal)

    def conservation(self) -> str:
        """The line that says that it adds up."""
        sum_of = " + ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.items())
        return f"{self.events:,} events in = {sum_of}" + (f" + {self.missing:,} missing" if self.missing else "")

    def to_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {"exact": self.exact, **asdict(self)}


def build_report(ledger: Ledger, labels_N: npt.NDArray[np.int8], aggregator: Totals | None = None) -> Report:
    """The report on the events that were sent. `labels_N`: 1, 0, or negative where the truth is not known."""
    sent = slice(0, ledger.num_sent)
    counts_N = ledger.num_outcomes_N[sent]
    missing_N, duplicated_N = np.flatnonzero(counts_N == 0), np.flatnonzero(counts_N > 1)
    seconds = _seconds(ledger)
    accounted = int(np.count_nonzero(counts_N))
    return Report(
        events=ledger.num_sent,
        outcomes={outcome.value: ledger.num(outcome) for outcome in CODES},
        missing=len(missing_N),
        duplicated=len(duplicated_N),
        unexpected=ledger.num_unexpected,
        missing_ids=tuple(ledger.ids[place] for place in missing_N[:_MOST_SHOWN]),
        duplicated_ids=tuple(ledger.ids[place] for place in duplicated_N[:_MOST_SHOWN]),
        unexpected_ids=tuple(ledger.unexpected),
        seconds=seconds,
        throughput=accounted / seconds if seconds > 0 else 0.0,
        latency_ms=latency(ledger.due_s_N[sent], ledger.readable_s_N[sent]),
        quality=quality(labels_N[sent], ledger.probability_N[sent]),
        errors=tuple(
            CommonError(kind, count, ledger.examples[kind]) for kind, count in ledger.kinds.most_common(_COMMONEST)
        ),
        aggregator=aggregator,
    )


def latency(due_s_N: npt.NDArray[np.float64], readable_s_N: npt.NDArray[np.float64]) -> Latency | None:
    """Percentiles over the events that were sent and answered; None where there are none."""
    waited_ms = (readable_s_N - due_s_N) * 1000
    waited_ms = waited_ms[~np.isnan(waited_ms)]
    if len(waited_ms) == 0:
        return None
    p50, p95, p99 = np.percentile(waited_ms, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99), float(waited_ms.max()))


def quality(labels_N: npt.NDArray[np.int8], probability_N: npt.NDArray[np.float32]) -> Quality | None:
    """Over the events that were predicted and whose truth is known; None where there are none."""
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
