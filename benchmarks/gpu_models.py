"""Rates of models on a CUDA device, from NumPy arrays to NumPy arrays, in each way of calling them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from benchmarks.simulated_device import SimulatedDevice
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.protocol import Precision, Ticket
from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.models.backends.torch.cuda.cuda_device import CudaDevice
from forebay.models.backends.torch.cuda.port import Device
from forebay.models.backends.torch.cuda.precision import convert_weights
from forebay.models.backends.torch.cuda.scored_module import ModelForm, ScoredModule
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.serving.pipelined_model import PipelinedServedModel
from forebay.models.serving.served_model import ModelDescription, ServedModel

BATCH_SIZES: Final = (64, 256, 1024, 4096)
MODELS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    "mlp": ("mlp", {"input_dim": 32, "hidden_dims": [128, 64], "output_dim": 2}),
    "mlp-large": ("mlp", {"input_dim": 256, "hidden_dims": [2048, 2048, 2048], "output_dim": 10}),
    "cnn": ("cnn", {"in_channels": 1, "image_size": 28, "num_classes": 10}),
    "wide": ("mlp", {"input_dim": 1024, "hidden_dims": [1024], "output_dim": 100}),
}


class RealClock:
    """The clock of a simulated device that takes no time of its own."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Place:
    """Where models run. device: None for a simulated device on the CPU."""

    device: torch.device | None
    precision: Precision = "fp32"

    def of(self, net: Net, form: ModelForm) -> Device:
        program = ScoredModule(net, form)
        if self.device is None:
            return SimulatedDevice(program.eval(), RealClock())
        if self.precision == "bf16":
            convert_weights(net)
        return CudaDevice(program, self.device, precision=self.precision)


class Rate(NamedTuple):
    """Rows per second of a model in one way. cpu_us_per_row: CPU time of the thread."""

    model: str
    way: str
    batch_size: int
    rows_per_s: float
    cpu_us_per_row: float


def new_net(name: str) -> Net:
    """Return one of the models with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_net(*MODELS[name]).eval()


def signature_of(net: Net) -> Signature:
    """Return the signature of a classifier."""
    if len(net.input_shape) > 1:
        return Signature((), net.input_shape, "multiclass", net.output_dim)
    features = tuple(Feature(f"f{index}") for index in range(net.input_dim))
    return Signature(features, net.input_shape, "multiclass", net.output_dim)


def measure(name: str, place: Place, *, sizes: Sequence[int], seconds: float, with_cpu: bool = True) -> list[Rate]:
    """Return the rates of one model for all batch sizes: served, pipelined, floor and cpu."""
    net = new_net(name)
    description = ModelDescription(name, 1, signature_of(net), Preprocessing())
    form = ModelForm(net.input_shape, net.output_dim, "multiclass", "logits")
    device = place.of(new_net(name), form)
    runner = BucketedRunner(device, form)
    pipelined = PipelinedServedModel(description, runner)
    pipelined.warm_up([max(sizes)])
    served = ServedModel(description, TorchRunner(new_net(name), place.device or torch.device("cpu")))
    cpu = ServedModel(description, TorchRunner(net, torch.device("cpu")))
    rates = []
    for size in sizes:
        x_BF = np.random.default_rng(0).standard_normal((size, net.input_dim)).astype(np.float32)
        ways: list[tuple[str, Callable[[float], tuple[int, float, float]]]] = [
            ("served", lambda limit_s, x=x_BF: _one_by_one(served, x, limit_s)),  # type: ignore[misc]
            ("pipelined", lambda limit_s, x=x_BF: _overlapping(pipelined, x, limit_s)),  # type: ignore[misc]
            ("floor", lambda limit_s, count=size: _floor(place, device, count, limit_s)),  # type: ignore[misc]
        ]
        if with_cpu:
            ways.append(("cpu", lambda limit_s, x=x_BF: _one_by_one(cpu, x, limit_s)))  # type: ignore[misc]
        for way, run in ways:
            run(min(0.1, seconds))
            calls, taken_s, cpu_s = run(seconds)
            rows = calls * size
            rates.append(Rate(name, way, size, rows_per_s=rows / taken_s, cpu_us_per_row=cpu_s / rows * 1e6))
    return rates


def _timed(step: Callable[[], object], limit_s: float, finish: Callable[[], object]) -> tuple[int, float, float]:
    """Repeat a step for this long. Return the number of calls, the seconds and the CPU seconds of the thread."""
    calls, began_s, cpu_began_s = 0, time.perf_counter(), time.thread_time()
    while calls < 3 or time.perf_counter() - began_s < limit_s:
        step()
        calls += 1
    finish()
    return calls, time.perf_counter() - began_s, time.thread_time() - cpu_began_s


def _one_by_one(model: ServedModel, x_BF: FloatArray, limit_s: float) -> tuple[int, float, float]:
    return _timed(lambda: model.forward(x_BF), limit_s, lambda: None)


def _overlapping(model: PipelinedServedModel, x_BF: FloatArray, limit_s: float) -> tuple[int, float, float]:
    begun: deque[Ticket] = deque()

    def step() -> None:
        if len(begun) == model.depth:
            model.finish(begun.popleft())
        begun.append(model.begin([x_BF]))

    def finish() -> None:
        while begun:
            model.finish(begun.popleft())

    return _timed(step, limit_s, finish)


def _floor(place: Place, device: Device, num_rows: int, limit_s: float) -> tuple[int, float, float]:
    """Replay the work with its rows on the device already, without copies."""
    workspace: Any = device.open_slot().allocate(num_rows)
    workspace.launch(num_rows)
    workspace.wait()
    workspace.capture()
    if place.device is None:
        return _timed(lambda: (workspace.launch(num_rows), workspace.wait()), limit_s, lambda: None)
    replayed = [0]

    def step() -> None:
        workspace.replay()
        replayed[0] += 1
        if replayed[0] % 64 == 0:  # so that the queue of launches stays short
            torch.cuda.synchronize(place.device)

    return _timed(step, limit_s, lambda: torch.cuda.synchronize(place.device))


def ratios(rates: Sequence[Rate]) -> dict[str, dict[int, float]]:
    """Return for each model and batch size the share of the floor that overlapping calls reach."""
    found: dict[str, dict[int, float]] = {}
    by_key = {(rate.model, rate.batch_size, rate.way): rate.rows_per_s for rate in rates}
    for (model, size, way), rows_per_s in by_key.items():
        if way == "pipelined":
            found.setdefault(model, {})[size] = rows_per_s / by_key[model, size, "floor"]
    return found
