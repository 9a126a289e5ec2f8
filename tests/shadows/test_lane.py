"""The lane of a shadow: what it gets, what is dropped and why, and when it is disabled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, FloatMatrix
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.rollouts.sampling import OffsetSample
from forebay.stream.shadows.job import DropReason
from forebay.stream.shadows.lane import MAX_FAULTS, ShadowLane, ShadowLimits, ShadowState
from forebay.stream.shadows.share_budget import BURST_S, ShareBudget
from forebay.stream.shadows.work import ShadowWork
from tests.core.build import P1, ManualClock, chunk, finish
from tests.shadows.build import ONE_FEATURE, SHADOW, TOPIC, HeldExecutor, RecordingSink, ShadowModel, result

DEADLINE_S = 1.0
CALL_TIMEOUT_S = 30.0


class Rig:
    """A running lane whose executor is held, with a clock, a sink and a load that tests set."""

    def __init__(
        self, *, model: ShadowModel | None = None, sample: float = 1.0, queue_batches: int = 3, max_share: float = 0.25
    ) -> None:
        self.clock = ManualClock()
        self.model = model or ShadowModel()
        self.sink = RecordingSink()
        self.load_is_high = False
        self.budget = ShareBudget(max_share, now_s=self.clock.monotonic_s())
        self.lane = ShadowLane(
            SHADOW,
            sample=OffsetSample(sample, 7),
            revision=12,
            limits=ShadowLimits(queue_batches, CALL_TIMEOUT_S),
            budget=self.budget,
            has_same_columns=lambda primary: True,
            is_load_high=lambda: self.load_is_high,
            sink=self.sink,
            clock=self.clock,
        )
        work = ShadowWork(
            self.model,
            decoder=Decoder([DecodedModel(SHADOW, self.model.signature)], max_event_bytes=1_000),
            primaries={1: ONE_FEATURE, 3: ONE_FEATURE},
            topic=TOPIC,
            clock=self.clock,
            deadline_s=DEADLINE_S,
        )
        self.executor = HeldExecutor(work, self.lane.on_outcome, clock=self.clock)
        self.lane.run_on(self.executor)

    def dropped(self) -> dict[DropReason, int]:
        return dict(self.lane.counts.dropped)

    def check_conservation(self) -> None:
        counts, compared = self.lane.counts, sum(found.events for found in self.lane.comparisons.values())
        assert counts.sampled == counts.waiting + counts.dropped.total() + compared


def test_a_shadow_predicts_the_events_that_the_primary_predicted() -> None:
    rig = Rig()
    rig.lane.offer(result())
    assert rig.sink.records == []  # nothing happens before the executor has run
    rig.executor.run()
    compared = rig.lane.comparisons[1]
    assert (compared.events, compared.agreed, compared.differences.largest) == (10, 10, 0.0)
    assert len(rig.sink.records) == 10
    rig.check_conservation()


def test_pairs_are_placed_by_the_partition_of_the_event_and_have_its_key() -> None:
    rig = Rig()
    rig.lane.offer(finish(result(chunk([3, 4]), chunk([8], partition=P1)).batch))
    rig.executor.run()
    assert [(place.topic, place.partition, key) for place, key, _ in rig.sink.records] == [
        ("shadow-predictions", 0, b"key-0"),
        ("shadow-predictions", 0, b"key-1"),
        ("shadow-predictions", 1, b"key-2"),
    ]


def test_only_sampled_events_reach_the_shadow_however_they_are_batched() -> None:
    seen: dict[str, list[float]] = {}
    for name, size in (("small", 7), ("large", 640)):
        rig = Rig(sample=0.5, queue_batches=1_000)
        for first in range(0, 640, size):
            rig.lane.offer(result(chunk(range(first, min(640, first + size)))))
        rig.executor.run()
        seen[name] = np.concatenate(rig.model.calls)[:, 0].tolist()
        rig.check_conservation()
    assert seen["small"] == seen["large"]
    assert 0 < len(seen["small"]) < 640


def test_a_batch_without_sampled_events_is_ignored() -> None:
    rig = Rig(sample=1e-9)
    rig.lane.offer(result())
    assert (rig.lane.counts.sampled, rig.executor.jobs) == (0, [])


def test_events_are_dropped_while_the_worker_is_under_load() -> None:
    rig = Rig()
    rig.load_is_high = True
    rig.lane.offer(result())
    assert (rig.dropped(), rig.executor.jobs) == ({DropReason.LOAD: 10}, [])
    rig.load_is_high = False
    rig.lane.offer(result())
    assert len(rig.executor.jobs) == 1


def test_events_are_dropped_when_the_queue_is_full() -> None:
    rig = Rig(queue_batches=2)
    for _ in range(5):
        rig.lane.offer(result())
    assert (rig.dropped(), len(rig.executor.jobs), rig.lane.counts.waiting) == ({DropReason.QUEUE_FULL: 30}, 2, 20)
    rig.executor.run()
    rig.check_conservation()
    rig.lane.offer(result())
    assert len(rig.executor.jobs) == 1


def test_events_that_waited_beyond_the_deadline_are_dropped() -> None:
    rig = Rig()
    rig.lane.offer(result())
    rig.clock.advance(DEADLINE_S + 0.1)
    rig.executor.run()
    assert (rig.dropped(), rig.model.calls) == ({DropReason.DEADLINE: 10}, [])
    rig.check_conservation()


def test_a_shadow_stays_within_its_share_of_time() -> None:
    clock_of: list[ManualClock] = []
    rig = Rig(model=ShadowModel(on_call=lambda x_BF: clock_of[0].advance(0.2)), max_share=0.25)
    clock_of.append(rig.clock)
    started_s = rig.clock.monotonic_s()
    for _ in range(500):
        rig.clock.advance(0.1)
        rig.lane.offer(result())
        rig.executor.run()
    elapsed_s = rig.clock.monotonic_s() - started_s
    assert rig.budget.busy_s <= 0.25 * (elapsed_s + BURST_S) + 0.2
    assert rig.budget.busy_s > 0.24 * elapsed_s
    assert rig.dropped().keys() == {DropReason.SHARE}
    rig.check_conservation()


def test_the_current_call_counts_for_the_share() -> None:
    rig = Rig(max_share=0.25)
    rig.executor.running_since_s = rig.clock.monotonic_s()
    rig.clock.advance(BURST_S * 0.25 + 0.01)
    rig.lane.offer(result())
    assert rig.dropped() == {DropReason.SHARE: 10}


def raises(x_BF: FloatMatrix) -> None:
    raise RuntimeError("no such column")


def test_a_shadow_that_raises_is_compared_and_then_disabled() -> None:
    rig = Rig(model=ShadowModel(on_call=raises), queue_batches=10, max_share=1.0)
    for number in range(MAX_FAULTS):
        assert rig.lane.state is ShadowState.RUNNING, number
        rig.lane.offer(result())
        rig.executor.run()
    assert rig.lane.state is ShadowState.DISABLED
    assert "model_error: RuntimeError: no such column" in str(rig.lane.error)
    assert rig.lane.comparisons[1].shadow_failures == 10 * MAX_FAULTS
    assert rig.executor.stopped
    rig.lane.offer(result())
    assert rig.lane.counts.sampled == 10 * MAX_FAULTS
    rig.check_conservation()


def test_rows_without_a_finite_output_fail_on_the_shadow_side_only() -> None:
    rig = Rig(model=ShadowModel(shift=float("nan")))
    rig.lane.offer(result())
    rig.executor.run()
    assert (rig.lane.comparisons[1].shadow_failures, rig.lane.comparisons[1].differences.count) == (10, 0)
    assert b'"failure":"output_not_finite"' in (rig.sink.records[0][2] or b"")


def test_single_failures_do_not_disable_a_shadow() -> None:
    def rejects_five(x_BF: FloatMatrix) -> None:
        if (x_BF == 5).any():
            raise RuntimeError("five")

    rig = Rig(model=ShadowModel(on_call=rejects_five), queue_batches=100, max_share=1.0)
    for _ in range(3 * MAX_FAULTS):
        rig.lane.offer(result())
        rig.executor.run()
    assert rig.lane.state is ShadowState.RUNNING
    assert rig.lane.comparisons[1].shadow_failures == 3 * MAX_FAULTS


def test_a_shadow_that_hangs_is_disabled_and_its_jobs_are_dropped() -> None:
    rig = Rig()
    rig.lane.offer(result())
    rig.executor.running_since_s = rig.clock.monotonic_s()
    rig.clock.advance(CALL_TIMEOUT_S)
    rig.lane.check_call()
    assert rig.lane.state is ShadowState.RUNNING
    rig.clock.advance(0.1)
    rig.lane.check_call()
    assert (rig.lane.state, rig.executor.stopped) == (ShadowState.DISABLED, True)
    assert "has not returned after 30.1 s" in str(rig.lane.error)
    assert rig.dropped() == {DropReason.STOPPED: 10}
    rig.executor.run()  # the call returns after all
    rig.check_conservation()
    assert rig.sink.records == []


def test_pairs_that_the_sink_loses_are_counted_and_still_compared() -> None:
    rig = Rig()
    rig.sink.loses = True
    rig.lane.offer(result())
    rig.executor.run()
    assert (rig.lane.counts.not_sent, rig.lane.comparisons[1].events) == (10, 10)


def test_a_version_is_not_compared_with_itself() -> None:
    rig = Rig()
    rig.lane.offer(result(model=SHADOW))
    assert rig.lane.counts.sampled == 0


def test_each_primary_has_a_comparison_of_its_own() -> None:
    rig = Rig()
    rig.lane.offer(result())
    rig.lane.offer(result(model=ModelRef("m", 3)))
    rig.executor.run()
    status = rig.lane.status()
    assert {version: found["events"] for version, found in status["comparisons"].items()} == {"1": 10, "3": 10}
    assert (status["rows"], status["agreement"], status["state"]) == (20, 1.0, "running")


@pytest.mark.parametrize("makes", [lambda: result(), lambda: result(chunk(range(10), rejected=[3, 4]))])
def test_an_offer_does_not_run_the_model(makes: Callable[[], BatchResult]) -> None:
    rig = Rig()
    rig.lane.offer(makes())
    assert rig.model.calls == []
