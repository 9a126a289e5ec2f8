"""Time two models against each other: in turn, in rounds, so that whatever slows the machine slows both.

Shapes: B rows of a call, R rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.measurement.energy import EnergyMeter
from forebay.models.measurement.intervals import Float64Array, Interval, ratio_interval
from forebay.models.serving.served_model import ServedModel

BATCH_SIZES: Final = (1, 64, 512)
_MAX_CALLS: Final = 200
_WARM_UP_CALLS: Final = 3


@dataclass(frozen=True, slots=True)
class TimingOptions:
    """How long to measure. rounds: of each batch size. round_s: the time that the calls of one model take in a round."""

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    rounds: int = 15
    round_s: float = 0.01


@dataclass(frozen=True, slots=True)
class PairedTiming:
    """How long both models take for a call with `batch_size` rows, preparation and scores included.

    original_ms, other_ms: the median time of a call. other_p99_ms: its 99th percentile.
    speed_up: time of the original by that of the other, with the interval over the rounds: above 1 is faster.
    other_millijoules: energy of one call of the other model.
    """

    batch_size: int
    original_ms: float
    other_ms: float
    other_p99_ms: float
    speed_up: Interval
    other_millijoules: float

    @property
    def verdict(self) -> str:
        """Whether the other model is "faster" or "slower"; "the same" if the interval includes 1."""
        if self.speed_up.low > 1:
            return "faster"
        return "slower" if self.speed_up.high < 1 else "the same"

    def to_dict(self) -> dict[str, object]:
        """Return the timing as JSON values."""
        return {
            "batch_size": self.batch_size,
            "original_ms": self.original_ms,
            "ms": self.other_ms,
            "p99_ms": self.other_p99_ms,
            "speed_up": self.speed_up.to_dict(),
            "verdict": self.verdict,
            "millijoules": self.other_millijoules,
        }


def time_models(
    original: ServedModel,
    other: ServedModel,
    rows_NW: FloatArray,
    options: TimingOptions,
    *,
    clock_s: Callable[[], float],
    energy: EnergyMeter,
    random: np.random.Generator,
) -> tuple[PairedTiming, ...]:
    """Return the timing of each batch size.

    rows_NW: rows as events give them, which are repeated where a batch is larger.
    clock_s: returns the CPU time of this thread: on a busy machine it is steadier than the time of day. Models must run on this
        thread alone.
    """
    return tuple(
        _time_batch(
            _calls(original, rows_NW, size),
            _calls(other, rows_NW, size),
            size,
            options,
            clock_s=clock_s,
            energy=energy,
            random=random,
        )
        for size in options.batch_sizes
    )


Call = Callable[[], object]


def _calls(model: ServedModel, rows_NW: FloatArray, size: int) -> Call:
    batch = np.ascontiguousarray(np.resize(rows_NW, (size, rows_NW.shape[1])))
    return lambda: model.forward(model.prepare(batch))


def _time_batch(
    original: Call,
    other: Call,
    size: int,
    options: TimingOptions,
    *,
    clock_s: Callable[[], float],
    energy: EnergyMeter,
    random: np.random.Generator,
) -> PairedTiming:
    counts = [_calls_of_a_round(call, options.round_s, clock_s) for call in (original, other)]
    samples: tuple[list[Float64Array], list[Float64Array]] = ([], [])
    joules = 0.0
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            before = energy.joules()
            samples[which].append(_times((original, other)[which], counts[which], clock_s))
            joules += energy.joules() - before if which else 0.0
    # The median of a round: an interrupt in one call does not decide.
    medians = [np.array([np.median(times) for times in rounds]) for rounds in samples]
    floor_s = 1e-9
    ratios_R = np.maximum(medians[0], floor_s) / np.maximum(medians[1], floor_s)
    others = np.concatenate(samples[1])
    return PairedTiming(
        size,
        original_ms=float(np.median(medians[0])) * 1e3,
        other_ms=float(np.median(medians[1])) * 1e3,
        other_p99_ms=float(np.quantile(others, 0.99)) * 1e3,
        speed_up=ratio_interval(ratios_R, random),
        other_millijoules=joules * 1e3 / len(others),
    )


def _calls_of_a_round(call: Call, round_s: float, clock_s: Callable[[], float]) -> int:
    took_s = float(np.median(_times(call, _WARM_UP_CALLS, clock_s)))
    return int(np.clip(round_s / max(took_s, 1e-6), _WARM_UP_CALLS, _MAX_CALLS))


def _times(call: Call, count: int, clock_s: Callable[[], float]) -> Float64Array:
    times = np.empty(count)
    for index in range(count):
        started_s = clock_s()
        call()
        times[index] = clock_s() - started_s
    return times


def timing_at(timings: Sequence[PairedTiming], batch_size: int) -> PairedTiming:
    """Return the timing of a batch size that was measured."""
    return next(timing for timing in timings if timing.batch_size == batch_size)
