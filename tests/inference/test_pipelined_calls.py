"""Overlapping calls have the outcomes of calls one after the other, in the same order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.simulated_device import Costs, Faults, SimulatedDevice
from forebay.models.artefacts.preprocessing import Preprocessing, RowCheck, Standardise
from forebay.models.artefacts.preprocessing.step import Step
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.serving.served_model import ModelDescription, ServedModel
from forebay.schemas.errors import DeviceLostError, ModelError
from forebay.schemas.topics import PREDICTIONS, REVIEW
from forebay.stream.core.device_call import DeviceCall
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.model_calls import ModelCalls
from forebay.stream.inference.pipelined_calls import PipelinedCalls, model_calls
from tests.core.build import JULY, ManualClock, chunk
from tests.models.backends.torch.cuda.build import WIDTH, Picky, pipelined_model, simulated

STEPS = (
    RowCheck(WIDTH, (1,), (None,), (900.0,), allow_missing=(True,), names=("f1",)),
    Standardise(WIDTH, (1, 2), (2.0, 3.0), (0.5, 4.0)),
)
GOOD, POISON, NAN, OUTLIER, EXPIRED = range(5)
FIRST_VALUES = {GOOD: 1.0, POISON: -666.0, NAN: -999.0, OUTLIER: 1.0, EXPIRED: 1.0}


def batch_of(kinds: Sequence[Sequence[int]], seq: int) -> MicroBatch:
    """Return a micro-batch with a part for each list of kinds of rows."""
    parts = []
    for index, part in enumerate(kinds):
        offsets = list(range(100 * index, 100 * index + len(part)))
        x_BF = np.array([[offset % 7, offset % 5, seq] for offset in offsets], dtype=np.float32).reshape(-1, WIDTH)
        x_BF[:, 0] += [FIRST_VALUES[kind] - x_BF[row, 0] * (kind in (POISON, NAN)) for row, kind in enumerate(part)]
        x_BF[[kind == OUTLIER for kind in part], 1] = 1000
        deadlines = {row: JULY - 5 for row, kind in enumerate(part) if kind == EXPIRED}
        made = chunk(offsets, deadlines=deadlines) if offsets else replace(chunk([0], rejected=[0]))
        parts.append(replace(made, x_BF=x_BF))
    return MicroBatch(seq, tuple(parts), "size", 0.0)


def serial_model(steps: Sequence[Step], module: nn.Module) -> ServedModel:
    signature = Signature(tuple(Feature(f"f{index}") for index in range(WIDTH)), (WIDTH,), "multiclass", 2)
    description = ModelDescription("m", 3, signature, Preprocessing(tuple(steps)))
    return ServedModel(description, TorchRunner(module, torch.device("cpu")))


def run_all(calls: ModelCalls, batches: Sequence[MicroBatch]) -> list[BatchResult | Deferred]:
    """Run the batches as the thread does: as many as possible begin before the oldest is finished."""
    results = []
    waiting, begun = deque(batches), 0
    while waiting or begun:
        while waiting and begun < calls.depth:
            calls.begin(waiting.popleft())
            begun += 1
        results.append(calls.finish())
        begun -= 1
    return results


def pipelined(
    device: SimulatedDevice, *, steps: Sequence[Step] = (), graphs: bool = True, decision: DecisionLayer | None = None
) -> PipelinedCalls:
    calls = model_calls(pipelined_model(device, steps=steps, graphs=graphs), clock=device.clock, decision=decision)  # type: ignore[arg-type]
    assert isinstance(calls, PipelinedCalls)
    calls.warm_up([1, 256])
    device.timeline.clear()
    return calls


KINDS = st.sampled_from([GOOD] * 12 + [POISON, NAN, OUTLIER, EXPIRED])
BATCHES = st.lists(st.lists(st.lists(KINDS, max_size=20), min_size=1, max_size=3), max_size=4)


@settings(max_examples=30)
@given(
    BATCHES,
    st.booleans(),
    st.builds(
        Faults,
        max_rows=st.sampled_from([64, 1000]),
        max_eager_rows=st.sampled_from([1, 30, 1000]),
        uncapturable=st.sampled_from([None, "not permitted"]),
    ),
)
def test_any_batches_have_the_same_outcomes_in_the_same_order(
    kinds: list[list[list[int]]], has_steps: bool, faults: Faults
) -> None:
    steps = STEPS if has_steps else ()
    batches = [batch_of(parts, seq) for seq, parts in enumerate(kinds)]
    decision = DecisionLayer((PREDICTIONS.name, REVIEW.name, REVIEW.name), min_confidence=np.float32(0.9))
    late = faults.max_eager_rows
    faults.max_eager_rows = 1000  # enough to start with
    calls = pipelined(simulated(faults=faults), steps=steps, decision=decision)
    faults.max_eager_rows = late
    clock = ManualClock()
    expected = run_all(model_calls(serial_model(steps, Picky()), clock=clock, decision=decision), batches)
    found = run_all(calls, batches)
    assert len(found) == len(batches)
    for batch, one, other in zip(batches, found, expected, strict=True):
        assert one.batch is batch and other.batch is batch
        assert isinstance(one, BatchResult) and isinstance(other, BatchResult)
        assert {row: failure.kind for row, failure in one.failures.items()} == {
            row: failure.kind for row, failure in other.failures.items()
        }
        good = [row for row in range(batch.num_rows) if row not in one.failures]
        np.testing.assert_allclose(one.values_BO[good], other.values_BO[good], rtol=1e-5)
        if not good:
            continue
        for name in ("classes_B", "confidences_B", "decisions_B"):
            np.testing.assert_allclose(getattr(one, name)[good], getattr(other, name)[good], rtol=1e-5)


def test_a_batch_without_bad_rows_takes_the_device_path() -> None:
    device = simulated()
    results = run_all(pipelined(device), [batch_of([[GOOD] * 3, [GOOD] * 2], 0), batch_of([[GOOD] * 70], 1)])
    assert [result.device_call for result in results if isinstance(result, BatchResult)] == [
        DeviceCall(5, 64, True, 0.0),
        DeviceCall(70, 256, True, 0.0),
    ]
    assert len(device.timeline) == 2, "each batch is one call"


def test_the_next_batch_begins_before_the_oldest_is_finished() -> None:
    clock = ManualClock()
    device = simulated(clock=clock, costs=Costs(call_s=1.0))
    calls = pipelined(device)
    clock.now_s = began_s = 500.0
    results = run_all(calls, [batch_of([[GOOD] * 10], seq) for seq in range(4)])
    assert [busy.starts_s - began_s for busy in device.timeline] == [0, 1, 2, 3], "the device is never idle"
    assert [busy.launched_s - began_s for busy in device.timeline] == [0, 0, 1, 2], "one waits on the device"
    assert [result.model_s for result in results if isinstance(result, BatchResult)] == [1, 2, 2, 2]
    waits = [result.device_call.wait_s for result in results if isinstance(result, BatchResult) and result.device_call]
    assert waits == [1, 1, 1, 1]


def test_rows_go_from_their_parts_into_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pipelined(simulated())

    def joined(batch: MicroBatch) -> FloatMatrix:
        raise AssertionError("the parts were joined elsewhere")

    monkeypatch.setattr(MicroBatch, "features", joined)
    calls.begin(batch_of([[GOOD] * 3, [GOOD] * 2], 0))
    assert isinstance(calls.finish(), BatchResult)


def test_a_batch_that_is_larger_than_all_buckets_is_divided() -> None:
    device = simulated(faults=Faults(max_rows=100))
    [result] = run_all(pipelined(device), [batch_of([[GOOD] * 90, [GOOD] * 90], 0)])
    assert isinstance(result, BatchResult) and not result.failures and result.device_call is None
    assert [busy.num_rows for busy in device.timeline] == [64, 64, 64]
    assert len(result.values_BO) == 180


def test_a_model_that_fails_for_every_row_is_deferred() -> None:
    class Broken(nn.Module):
        broken = False

        def forward(self, x: Tensor) -> Tensor:
            if self.broken:
                raise ValueError("gone")
            return x[:, :2]

    module = Broken()
    calls = pipelined(simulated(module), graphs=False)
    module.broken = True
    results = run_all(calls, [batch_of([[GOOD] * 4], seq) for seq in range(3)])
    assert all(isinstance(result, Deferred) for result in results)
    module.broken = False
    assert not any(isinstance(result, Deferred) for result in run_all(calls, [batch_of([[GOOD] * 4], 3)]))


def test_a_lost_device_ends_the_thread_and_is_no_failure_of_rows() -> None:
    device = simulated()
    calls = pipelined(device)
    device.faults.lost_at_call = 1
    calls.begin(batch_of([[GOOD]], 0))
    calls.begin(batch_of([[GOOD]], 1))
    assert isinstance(calls.finish(), BatchResult)
    with pytest.raises(DeviceLostError):
        calls.finish()
    with pytest.raises(DeviceLostError):
        calls.begin(batch_of([[GOOD]], 2))
    calls = pipelined(simulated())
    calls.begin(batch_of([[EXPIRED, GOOD]], 0))  # runs with a new call
    calls._model._pipelined._device.faults.lost = True  # type: ignore[attr-defined]
    with pytest.raises(DeviceLostError):
        calls.finish()


def test_too_little_memory_for_the_smallest_bucket_fails_the_warm_up() -> None:
    with pytest.raises(ModelError, match="model m version 3: not enough memory for 64 rows") as caught:
        pipelined(simulated(faults=Faults(max_rows=0)))
    assert caught.value.kind == "out_of_memory"


def test_calls_become_smaller_until_the_memory_suffices() -> None:
    faults = Faults(uncapturable="not permitted")
    calls = pipelined(simulated(faults=faults))
    faults.max_eager_rows = 2
    [result] = run_all(calls, [batch_of([[GOOD] * 200], 0)])
    assert isinstance(result, BatchResult) and not result.failures
    faults.max_eager_rows = 0
    [result] = run_all(calls, [batch_of([[GOOD] * 4], 1)])
    assert isinstance(result, Deferred)
