"""Models on a simulated device, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.simulated_device import Costs, Faults, SimulatedDevice
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.preprocessing.step import Step
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.models.backends.torch.cuda.scored_module import ModelForm, ScoredModule
from forebay.models.backends.torch.device import limit_threads
from forebay.models.serving.pipelined_model import PipelinedServedModel
from forebay.models.serving.served_model import ModelDescription
from tests.core.build import ManualClock

WIDTH = 3


class Picky(nn.Module):
    """Sums the row as two outputs. Raises for -666, returns NaN for rows that begin with -999."""

    def forward(self, x: Tensor) -> Tensor:
        if (x == -666).any():
            raise ValueError("I choke on 42.5")
        total = x.sum(dim=1)
        total = torch.where(x[:, 0] == -999, torch.nan, total)
        return torch.stack([total, -total], dim=1)


def simulated(
    module: nn.Module | None = None,
    *,
    clock: ManualClock | None = None,
    costs: Costs | None = None,
    faults: Faults | None = None,
    task: Task = "multiclass",
    output_dim: int = 2,
) -> SimulatedDevice:
    limit_threads(1)  # several of them wait for each other on a busy machine
    form = ModelForm((WIDTH,), output_dim, task, "values" if task == "regression" else "logits")
    program = ScoredModule(module or Picky(), form)
    return SimulatedDevice(program, clock or ManualClock(), costs or Costs(), faults or Faults())


def pipelined_model(
    device: SimulatedDevice, *, steps: Sequence[Step] = (), graphs: bool = True
) -> PipelinedServedModel:
    form = device.program.form
    features = tuple(Feature(f"f{index}") for index in range(WIDTH))
    description = ModelDescription(
        "m", 3, Signature(features, (WIDTH,), form.task, form.output_dim), Preprocessing(tuple(steps))
    )
    return PipelinedServedModel(description, BucketedRunner(device, form, graphs=graphs))


def rows(count: int, first: float = 0.0) -> FloatArray:
    return first + np.arange(count * WIDTH, dtype=np.float32).reshape(count, WIDTH)
