"""Times of two models in turn, and the intervals of what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.measurement.energy import EstimateMeter
from forebay.models.measurement.intervals import mean_interval, ratio_interval
from forebay.models.measurement.memory import measure_peak_memory
from forebay.models.measurement.timing import PairedTiming, TimingOptions, time_models, timing_at
from forebay.models.serving.served_model import ModelDescription, ServedModel
from forebay.schemas.errors import ModelError
from tests.models.compression.small_models import (
    NAME,
    graph_subject,
    published,
    spots_data,
    spots_layers,
    spots_signature,
)

OPTIONS = TimingOptions((1, 64), rounds=6, round_s=0.02)


class Clock:
    """A clock that only models advance."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class SlowRunner:
    """Takes a fixed time for a call and more for each row."""

    device = "cpu"

    def __init__(self, clock: Clock, call_s: float, row_s: float) -> None:
        self._clock, self._call_s, self._row_s = clock, call_s, row_s

    def run(self, x: FloatArray) -> FloatArray:
        self._clock.now_s += self._call_s + self._row_s * len(x)
        return np.zeros((len(x), 3), np.float32)


def timed(call_s: float, row_s: float, other_call_s: float, other_row_s: float) -> tuple[PairedTiming, ...]:
    clock = Clock()
    description = ModelDescription("timed", 1, spots_signature(), Preprocessing.identity())
    models = [
        ServedModel(description, SlowRunner(clock, *cost)) for cost in ((call_s, row_s), (other_call_s, other_row_s))
    ]
    return time_models(
        models[0],
        models[1],
        np.zeros((5, 6), np.float32),
        OPTIONS,
        clock_s=clock,
        energy=EstimateMeter(clock, watts_per_core=10.0),
        random=np.random.default_rng(0),
    )


def test_a_model_can_be_slower_in_small_batches_and_faster_in_large_ones() -> None:
    timings = timed(1e-3, 1e-4, 2e-3, 1e-5)
    small, large = timing_at(timings, 1), timing_at(timings, 64)
    assert small.speed_up.value == pytest.approx(1.1e-3 / 2.01e-3) and small.verdict == "slower"
    assert large.speed_up.value == pytest.approx(7.4e-3 / 2.64e-3) and large.verdict == "faster"
    assert (large.original_ms, large.other_ms, large.other_p99_ms) == pytest.approx((7.4, 2.64, 2.64))
    assert large.other_millijoules == pytest.approx(26.4)


def test_equal_models_are_neither_faster_nor_slower() -> None:
    assert [timing.verdict for timing in timed(1e-3, 0.0, 1e-3, 0.0)] == ["the same", "the same"]


def test_the_interval_of_a_mean_is_about_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_interval(values, np.random.default_rng(2))
    half = 1.96 * values.std() / 20
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    ratio = ratio_interval(np.array([2.0, 8.0]), np.random.default_rng(3))
    assert ratio.value == pytest.approx(4.0) and (ratio.low, ratio.high) == pytest.approx((2.0, 8.0))


def test_the_peak_memory_is_that_of_a_process_which_loads_the_version(tmp_path: Path) -> None:
    data = spots_data()
    published(graph_subject(spots_layers(2_000), spots_signature()), tmp_path, data)
    found = measure_peak_memory(tmp_path, NAME, 1, max_rows=512)
    assert 2_000 * 9 * 4 < found.model < found.process
    with pytest.raises(ModelError, match="cannot be measured"):
        measure_peak_memory(tmp_path, NAME, 2, max_rows=1)
