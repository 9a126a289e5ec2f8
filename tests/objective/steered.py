"""The controller of the objective at a simulated worker (see `plant`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.stream.core.records import BatchResult
from forebay.stream.objective.controller import ObjectiveController
from forebay.stream.objective.verdict import Verdict
from tests.objective.costs import Costs
from tests.objective.plant import MODEL, Plant


class Steered:
    """A plant whose limits the controller sets.

    verdicts: (time, verdict) whenever it was or was no longer met; all_verdicts: of all decisions.
    settings: (time, commit interval, micro-batch size, delay) after each decision.
    """

    def __init__(
        self,
        costs: Costs,
        rates: Sequence[tuple[float, float]],
        *,
        objective_s: float,
        seed: int,
        efficient: bool = False,
        max_batch_size: int = 4096,
    ) -> None:
        self.plant = Plant(costs, rates, seed=seed, max_batch_size=max_batch_size)
        self.plant.steering = self
        self.controller = ObjectiveController(objective_s, efficient=efficient)
        self.controller.add_lane(MODEL, max_batch_size=max_batch_size)
        self.verdicts: list[tuple[float, Verdict]] = []
        self.all_verdicts: list[tuple[float, Verdict]] = []
        self.settings: list[tuple[float, float, int, float]] = []
        self._lag_s = 0.0
        self._apply()

    def run(self) -> Steered:
        self.plant.run()
        return self

    def on_polled(self, events: int, oldest_s: float, now_s: float) -> None:
        self.controller.on_polled(MODEL, events, now_s=now_s)
        self.controller.on_read(now_s - oldest_s, now_s=now_s)
        self._advance(now_s)

    def on_result(self, result: BatchResult, now_s: float) -> None:
        self.controller.on_call(
            MODEL,
            result.batch.num_rows,
            model_s=result.model_s,
            queued_s=result.started_s - result.batch.opened_s,
            now_s=now_s,
        )

    def on_commit_started(self, now_s: float) -> None:
        self.plant.batcher.hold_until(now_s + self.controller.hold_s(MODEL))

    def on_committed(self, duration_s: float, now_s: float, latencies_s: npt.NDArray[np.float64]) -> None:
        self.controller.on_committed(len(latencies_s), 1000 * latencies_s, duration_s=duration_s, now_s=now_s)
        self._advance(now_s)

    def _advance(self, now_s: float) -> None:
        if now_s - self._lag_s >= 2:
            self._lag_s = now_s
            end = int(np.searchsorted(self.plant.arrivals_N, now_s))
            self.controller.on_lag({0: end}, end - self.plant.num_read, now_s=now_s)
        if self.controller.advance(now_s=now_s, cpu_s=self.plant.loop_s, in_flight=self.plant.in_flight_events):
            self._apply()
            verdict = self.controller.verdict
            self.all_verdicts.append((now_s, verdict))
            if not self.verdicts or self.verdicts[-1][1].is_met != verdict.is_met:
                self.verdicts.append((now_s, verdict))
            limits = self.controller.limits_of(MODEL)
            self.settings.append(
                (now_s, self.controller.commit_interval_s, limits.max_batch_size, limits.max_queue_delay_s)
            )

    def _apply(self) -> None:
        self.plant.set_limits(self.controller.limits_of(MODEL), self.controller.commit_interval_s)
