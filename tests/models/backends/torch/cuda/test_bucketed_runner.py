"""Slots, buckets and failures of overlapping calls, on a simulated device."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.simulated_device import Costs, Faults, SimulatedDevice
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import PipelinedRunner, Scores
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.schemas.errors import DeviceLostError, ModelError
from tests.core.build import ManualClock
from tests.models.backends.torch.cuda.build import WIDTH, rows, simulated

ROW = np.zeros(WIDTH, dtype=np.float32)


def runner(device: SimulatedDevice, max_rows: int = 4096, *, graphs: bool = True) -> BucketedRunner:
    made = BucketedRunner(device, device.program.form, graphs=graphs, label="model m version 3")
    made.warm_up(ROW, max_rows)
    device.timeline.clear()
    return made


def finished(made: BucketedRunner, x: FloatArray) -> Scores:
    return made.finish(made.begin([x]))


def test_it_is_a_pipelined_runner() -> None:
    made = runner(simulated())
    assert isinstance(made, PipelinedRunner)
    assert (made.device, made.depth, made.max_rows) == ("cuda:0", 2, 4096)


def test_padding_reaches_no_result() -> None:
    made = runner(simulated(task="regression"))
    assert finished(made, rows(300, 1000)).values_BO[0, 0] == 3003
    found = finished(made, rows(5)).values_BO
    assert found.shape == (5, 2)
    np.testing.assert_array_equal(found[:, 0], rows(5).sum(axis=1))


def test_parts_are_joined_in_the_memory_that_the_device_reads() -> None:
    made = runner(simulated(task="regression"))
    ticket = made.begin([rows(2), rows(1, 50), rows(3, 90)])
    assert (ticket.num_rows, ticket.bucket, ticket.is_graph) == (6, 64, True)
    expected = np.concatenate([rows(2), rows(1, 50), rows(3, 90)]).sum(axis=1)
    np.testing.assert_array_equal(made.finish(ticket).values_BO[:, 0], expected)


def test_results_are_in_memory_of_their_own() -> None:
    made = runner(simulated(task="regression"))
    first = finished(made, rows(4))
    kept = first.values_BO.copy()
    for _ in range(made.depth):
        finished(made, rows(4, 77))
    np.testing.assert_array_equal(first.values_BO, kept)


def test_beginning_does_not_wait_and_the_copy_overlaps_the_model() -> None:
    clock = ManualClock()
    device = simulated(clock=clock, costs=Costs(call_s=1.0, copy_row_s=0.25 / 64))
    made = runner(device, 64)
    clock.now_s = start_s = 1000.0
    first, second = made.begin([rows(64)]), made.begin([rows(64)])
    assert clock.now_s == start_s
    made.finish(first)
    third = made.begin([rows(64)])
    made.finish(second)
    made.finish(third)
    starts = [busy.starts_s - start_s for busy in device.timeline]
    assert starts == [0.25, 1.25, 2.25], "the model runs without a gap"
    assert [busy.slot for busy in device.timeline] == [0, 1, 0]


def test_more_calls_than_slots_are_a_mistake_of_the_caller() -> None:
    made = runner(simulated())
    tickets = [made.begin([rows(1)]), made.begin([rows(1)])]
    with pytest.raises(RuntimeError, match="2 calls have begun"):
        made.begin([rows(1)])
    made.finish(tickets[0])
    with pytest.raises(RuntimeError, match="already finished"):
        made.finish(tickets[0])
    with pytest.raises(ValueError, match="5000 rows; allowed are 1 to 4096"):
        made.begin([rows(5000)])
    made.finish(made.begin([rows(1)]))
    made.finish(tickets[1])


def test_run_returns_the_outputs_of_any_number_of_rows() -> None:
    made = runner(simulated(), 256)
    found = made.run(rows(1000))
    np.testing.assert_array_equal(found[:, 0], rows(1000).sum(axis=1))
    np.testing.assert_array_equal(found[:, 1], -rows(1000).sum(axis=1))


def test_golden_rows_run_before_the_warm_up_in_a_graph() -> None:
    device = simulated()
    made = BucketedRunner(device, device.program.form)
    assert made.max_rows == 0
    assert len(made.run(rows(100))) == 100
    assert made.max_rows == 256 and made.begin([rows(1)]).is_graph
    made.warm_up(ROW, 512)
    assert made.max_rows == 512


def test_a_model_that_cannot_be_captured_runs_without_a_graph_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reason = "CUDA error: operation not permitted when stream is capturing\nmore"
    with caplog.at_level(logging.WARNING, "forebay.model"):
        made = runner(simulated(task="regression", faults=Faults(uncapturable=reason)))
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith("model m version 3 cannot be captured as a CUDA graph")
    assert message.endswith("operation not permitted when stream is capturing")
    ticket = made.begin([rows(5)])
    assert (ticket.bucket, ticket.is_graph) == (64, False)
    np.testing.assert_array_equal(made.finish(ticket).values_BO[:, 0], rows(5).sum(axis=1))


def test_graphs_can_be_switched_off() -> None:
    assert not runner(simulated(), graphs=False).begin([rows(5)]).is_graph


def test_too_little_memory_for_a_bucket_leaves_the_smaller_ones(caplog: pytest.LogCaptureFixture) -> None:
    made = runner(simulated(faults=Faults(max_rows=500)))
    assert made.max_rows == 256
    assert "calls have fewer than 1024 rows on cuda:0: not enough memory for 1024 rows" in caplog.text
    with pytest.raises(ModelError) as caught:
        runner(simulated(faults=Faults(max_rows=10)))
    assert caught.value.kind == "out_of_memory"


def test_memory_that_runs_out_later_removes_the_bucket() -> None:
    device = simulated()
    made = runner(device, graphs=False)
    device.faults.max_eager_rows = 300
    with pytest.raises(ModelError) as caught:
        made.begin([rows(2000)])
    assert caught.value.kind == "out_of_memory" and made.max_rows == 1024
    assert len(finished(made, rows(200)).values_BO) == 200, "the slot is free again"
    device.faults.max_eager_rows = 0
    for _ in range(4):
        with pytest.raises(ModelError):
            made.begin([rows(1)])
    assert made.max_rows == 1024, "the call was for the smallest bucket"


def test_a_bucket_that_is_removed_while_a_call_is_under_way_in_it_keeps_its_memory() -> None:
    device = simulated(task="regression")
    made = runner(device, graphs=False)
    ticket = made.begin([rows(3000)])
    device.faults.max_eager_rows = 300
    with pytest.raises(ModelError):
        made.begin([rows(3000)])
    np.testing.assert_array_equal(made.finish(ticket).values_BO[:, 0], rows(3000).sum(axis=1))


def test_an_error_of_the_model_frees_the_slot() -> None:
    made = runner(simulated(), graphs=False)
    for _ in range(3):
        with pytest.raises(ValueError, match="I choke"):
            made.begin([np.full((1, WIDTH), -666, dtype=np.float32)])
    assert len(finished(made, rows(2)).values_BO) == 2


def test_a_lost_device_has_an_error_of_its_own() -> None:
    device = simulated()
    made = runner(device)
    device.faults.lost_at_call = 0
    ticket = made.begin([rows(2)])
    with pytest.raises(DeviceLostError) as caught:
        made.finish(ticket)
    assert caught.value.kind == "device_lost"
    assert "cuda:0 is lost for this process: CUDA error: an illegal memory access" in caught.value.message
    with pytest.raises(DeviceLostError):
        made.begin([rows(2)])
    with pytest.raises(DeviceLostError):
        made.run(rows(2))


def test_a_device_that_is_lost_during_the_warm_up_is_not_taken_for_a_model_without_graphs() -> None:
    with pytest.raises(DeviceLostError):
        runner(simulated(faults=Faults(lost_at_call=0)))


def test_another_shape_of_outputs_is_an_error_before_anything_is_served() -> None:
    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(ModelError, match=r"returned \[64, 3\] instead of \[64, 2\]") as caught:
        runner(simulated(Wide()), 64)
    assert caught.value.kind == "output_shape"


def test_a_column_without_its_dimension_and_other_types_are_accepted() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(dim=1).to(torch.float64)

    made = runner(simulated(Flat(), task="regression", output_dim=1))
    assert finished(made, rows(2)).values_BO.tolist() == [[3.0], [12.0]]
