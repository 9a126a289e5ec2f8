"""Overlapping calls on a CUDA device: `make test-gpu`."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.backends.protocol import Precision
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.models.backends.torch.cuda.cuda_device import CudaDevice
from forebay.models.backends.torch.cuda.precision import convert_weights
from forebay.models.backends.torch.cuda.scored_module import ModelForm, ScoredModule
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.serving.scoring import scores_of

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda
DEVICE = torch.device("cuda", 0)
NETS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "mlp": ("mlp", {"input_dim": 32, "hidden_dims": [128, 64], "output_dim": 2}),
    "cnn": ("cnn", {"in_channels": 1, "image_size": 28, "num_classes": 10}),
    "gru": ("gru", {"sequence_length": 6, "input_dim": 4, "hidden_dim": 16, "num_layers": 1, "output_dim": 3}),
}


def made(
    module: nn.Module,
    shape: tuple[int, ...],
    output_dim: int,
    *,
    task: Task = "multiclass",
    precision: Precision = "fp32",
    shares_stream: bool = False,
    max_rows: int = 1024,
) -> BucketedRunner:
    form = ModelForm(shape, output_dim, task, "values" if task == "regression" else "logits")
    device = CudaDevice(ScoredModule(module, form), DEVICE, precision=precision, shares_stream=shares_stream)
    runner = BucketedRunner(device, form)
    runner.warm_up(np.zeros(shape, dtype=np.float32), max_rows)
    return runner


def batch(num_rows: int, shape: tuple[int, ...], seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((num_rows, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("bf16", 5e-2)], ids=["fp32", "tf32", "bf16"]
)
@pytest.mark.parametrize("name", NETS)
def test_scores_are_those_of_the_cpu(name: str, precision: Precision, tolerance: float) -> None:
    torch.manual_seed(0)
    try:
        net = build_net(*NETS[name])
        same = build_net(*NETS[name])
    except Exception as error:  # of parameters that another release names otherwise
        pytest.skip(str(error))
    same.load_state_dict(net.state_dict())
    shape, output_dim = net.input_shape, net.output_dim
    cpu = TorchRunner(same, torch.device("cpu"))
    if precision == "bf16":
        convert_weights(net)
    runner = made(net, shape, output_dim, precision=precision)
    for num_rows in (1, 63, 64, 65, 700, 1024):
        x = batch(num_rows, shape, num_rows)
        ticket = runner.begin([x[: num_rows // 2], x[num_rows // 2 :]])
        assert ticket.is_graph
        scores, expected = runner.finish(ticket), scores_of(cpu.run(x), "multiclass", "logits")
        np.testing.assert_allclose(scores.values_BO, expected.values_BO, atol=tolerance)
        assert scores.classes_B is not None and expected.classes_B is not None and expected.confidences_B is not None
        top = np.sort(expected.values_BO, axis=1)
        clear = top[:, -1] - top[:, -2] > 2 * tolerance
        np.testing.assert_array_equal(scores.classes_B[clear], expected.classes_B[clear])
        np.testing.assert_allclose(runner.run(x), cpu.run(x), atol=max(tolerance, 1e-3), rtol=tolerance)


def test_overlapping_calls_do_not_mix_up_their_rows() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(dim=1, keepdim=True)

    runner = made(Sum(), (8,), 1, task="regression")
    expected: list[FloatArray] = []
    found: list[FloatArray] = []
    begun = []
    for number in range(300):
        x = batch(1 + number * 7 % 1000, (8,), number)
        expected.append(x.sum(axis=1))
        begun.append(runner.begin([x]))
        if len(begun) == runner.depth:
            found.append(runner.finish(begun.pop(0)).values_BO[:, 0])
    found += [runner.finish(ticket).values_BO[:, 0] for ticket in begun]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_module_that_writes_to_its_own_memory_shares_a_stream() -> None:
    class Scratch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scratch", torch.zeros(1024, 8))

        def forward(self, x: Tensor) -> Tensor:
            scratch = self.get_buffer("scratch")
            scratch[: len(x)].copy_(x)
            return scratch[: len(x)].sum(dim=1, keepdim=True)

    runner = made(Scratch(), (8,), 1, task="regression", shares_stream=True)
    xs = [batch(1024, (8,), number) for number in range(2)]
    tickets = [runner.begin([x]) for x in xs]
    for x, ticket in zip(xs, tickets, strict=True):
        np.testing.assert_allclose(runner.finish(ticket).values_BO[:, 0], x.sum(axis=1), atol=1e-5)


def test_a_module_that_reads_a_value_runs_without_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1] * (2.0 if x.sum().item() > 1e9 else 1.0)

    with caplog.at_level(logging.WARNING, "forebay.model"):
        runner = made(Reads(), (8,), 1, task="regression")
    assert len([record for record in caplog.records if "cannot be captured" in record.getMessage()]) == 1
    for num_rows in (5, 200):
        x = batch(num_rows, (8,))
        ticket = runner.begin([x])
        assert not ticket.is_graph
        np.testing.assert_allclose(runner.finish(ticket).values_BO, x[:, :1])


def test_another_model_runs_while_one_is_captured() -> None:
    runner = made(nn.Linear(8, 1), (8,), 1, task="regression")
    x, stop, errors = batch(64, (8,)), threading.Event(), list[BaseException]()
    expected = runner.finish(runner.begin([x])).values_BO

    def serve() -> None:
        try:
            while not stop.is_set():
                np.testing.assert_array_equal(runner.finish(runner.begin([x])).values_BO, expected)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for _ in range(5):
            assert made(nn.Linear(8, 1), (8,), 1, task="regression").begin([x]).is_graph
    finally:
        stop.set()
        thread.join()
    assert not errors


def test_beginning_does_not_wait_for_the_device() -> None:
    net = nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(20)))
    runner = made(net, (4096,), 4096, task="regression")
    x = batch(1024, (4096,))
    runner.finish(runner.begin([x]))
    ticket = runner.begin([x])
    assert not ticket.workspace._done.query(), "the device works"  # type: ignore[attr-defined]
    runner.finish(ticket)


LOSE = """
import numpy as np, torch
from torch import nn
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.models.backends.torch.cuda.cuda_device import CudaDevice
from forebay.models.backends.torch.cuda.scored_module import ModelForm, ScoredModule
from forebay.schemas.errors import DeviceLostError

class Lookup(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 1)
    def forward(self, x):
        return self.table(x[:, 0].long())

form = ModelForm((1,), 1, "regression", "values")
runner = BucketedRunner(CudaDevice(ScoredModule(Lookup(), form), torch.device("cuda", 0), precision="fp32"), form)
runner.warm_up(np.zeros(1, dtype=np.float32), 64)
try:
    runner.finish(runner.begin([np.full((1, 1), 1000, dtype=np.float32)]))
except DeviceLostError as error:
    print("lost:", error.message)
"""


def test_a_failed_assertion_in_a_kernel_loses_the_device() -> None:
    done = subprocess.run([sys.executable, "-c", LOSE], capture_output=True, text=True, timeout=120, check=False)
    assert "lost: the device cuda:0 is lost for this process" in done.stdout, done.stderr[-2000:]
