from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.training.loop import LoopOptions, NullObserver, Rows, StepReport, TrainingLoop
from forebay.models.training.losses import Loss
from forebay.models.training.optimisers import OptimizerOptions
from forebay.models.training.training_state import EpochRecord, Snapshot, TrainingState
from forebay.schemas.errors import ModelError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(203, 5)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) > 0).astype(np.float32)
VALID = Rows(X[:40], Y[:40])
TRAIN = Rows(X[40:], Y[40:])
OPTIONS = LoopOptions(Loss("binary"), OptimizerOptions("adam", 0.01), epochs=3, batch_size=32, patience=3, seed=5)


def mlp(dropout_rate: float = 0.0, seed: int = 1) -> Net:
    torch.manual_seed(seed)
    return build_net("mlp", {"input_dim": 5, "hidden_dims": [8], "output_dim": 1, "dropout_rate": dropout_rate})


@pytest.fixture(autouse=True)
def _own_random_state() -> object:
    with torch.random.fork_rng(devices=[]):
        yield


class SaveAt(NullObserver):
    def __init__(self, step: int) -> None:
        self.count, self.step, self.saved = 0, step, None
        self.saved: Snapshot | None

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        self.count += 1
        if self.count == self.step:
            self.saved = state.snapshot()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("step", [1, 6, 8, 12])
def test_a_training_continues_from_a_snapshot_bit_by_bit(name: str, step: int) -> None:
    momentum = 0.9 if name == "sgd" else 0.0
    options = replace(OPTIONS, optimizer=OptimizerOptions(name, 0.01, momentum=momentum, schedule="cosine"))
    observer = SaveAt(step)
    whole = TrainingLoop(mlp(0.3), TRAIN, VALID, options, observer=observer)
    whole.run()
    assert observer.saved is not None
    # As a checkpoint stores it.
    stored = Snapshot(observer.saved.tensors, json.loads(json.dumps(observer.saved.values)))
    resumed = TrainingLoop(mlp(0.3, seed=99), TRAIN, VALID, options)
    torch.manual_seed(12345)
    resumed.state.restore(stored)
    resumed.run()
    expected = whole.state.net.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state.net.state_dict().items())
    assert resumed.state.history == whole.state.history


def test_a_snapshot_of_another_net_is_refused() -> None:
    snapshot = TrainingLoop(mlp(), TRAIN, VALID, OPTIONS).state.snapshot()
    torch.manual_seed(0)
    other = build_net("logistic_regression", {"input_dim": 5})
    with pytest.raises(ModelError, match="other names or shapes"):
        TrainingLoop(other, TRAIN, VALID, OPTIONS).state.restore(snapshot)


class Ranks:
    """Ranks that are threads of this process."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.barrier = threading.Barrier(world_size, timeout=20)
        self.slots: list[object] = [None] * world_size

    def gather(self, rank: int, value: object) -> list[object]:
        self.slots[rank] = value
        self.barrier.wait()
        gathered = list(self.slots)
        self.barrier.wait()
        return gathered


class ThreadExchange:
    def __init__(self, ranks: Ranks, rank: int) -> None:
        self.ranks, self.rank, self.world_size = ranks, rank, ranks.world_size

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        gathered = self.ranks.gather(self.rank, [parameter.grad for parameter in parameters])
        means = [torch.stack(grads).mean(dim=0) for grads in zip(*gathered, strict=True)]  # type: ignore[arg-type]
        self.ranks.barrier.wait()
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.grad = mean

    def total(self, value: float) -> float:
        return sum(self.ranks.gather(self.rank, value))  # type: ignore[arg-type]


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 32), (3, 27), (3, 81)])
def test_ranks_compute_what_one_process_computes(world_size: int, batch_size: int) -> None:
    options = replace(OPTIONS, loss=Loss("binary", (1.0, 4.0)), batch_size=batch_size)  # the last batch is smaller
    alone = TrainingLoop(mlp().double(), TRAIN, VALID, options)
    alone.run()
    ranks = Ranks(world_size)
    loops = [
        TrainingLoop(mlp().double(), TRAIN, VALID, options, exchange=ThreadExchange(ranks, rank))
        for rank in range(world_size)
    ]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for loop in loops:
        assert len(loop.state.history) == len(alone.state.history)
        for found, expected in zip(loop.state.history, alone.state.history, strict=True):
            assert found.training_loss == pytest.approx(expected.training_loss, rel=1e-10)
            assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-10)


def test_the_best_epoch_is_kept_and_patience_ends_the_training() -> None:
    # Validation labels are the opposite: each epoch is worse than the one before.
    loop = TrainingLoop(
        mlp(),
        TRAIN,
        Rows(VALID.x, 1 - VALID.y),
        replace(OPTIONS, epochs=50, patience=4, optimizer=OptimizerOptions("adam", 0.05)),
    )
    assert loop.run() == "no better epoch"
    assert loop.state.best_epoch == 1
    assert len(loop.state.history) == 5
    assert loop.evaluate(Rows(VALID.x, 1 - VALID.y)) == pytest.approx(loop.state.history[0].validation_loss)


def test_an_interrupted_training_keeps_the_best_so_far() -> None:
    steps = iter(range(1000))
    loop = TrainingLoop(mlp(), TRAIN, VALID, OPTIONS, should_stop=lambda: next(steps) == 2)
    assert loop.run() == "interrupted"
    assert loop.state.best_epoch == 1
    assert loop.evaluate(VALID) == pytest.approx(loop.state.best_loss)


def test_a_loss_that_is_not_finite_ends_the_training_with_a_remedy() -> None:
    huge = Rows(TRAIN.x * np.float32(1e30), (TRAIN.x[:, :1] * 1e30).astype(np.float32))
    options = replace(OPTIONS, loss=Loss("mse"), optimizer=OptimizerOptions("sgd", 1.0))
    with pytest.raises(ModelError, match="in epoch 1 the training loss is not finite") as caught:
        TrainingLoop(mlp(), huge, huge, options).run()
    assert "lower the learning rate (1)" in str(caught.value.remedy)


def test_gradients_are_clipped_to_the_norm() -> None:
    class Norms(NullObserver):
        def __init__(self) -> None:
            self.norms: list[float] = []

        def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
            grads = [parameter.grad.norm() for parameter in state.net.parameters() if parameter.grad is not None]
            self.norms.append(float(torch.stack(grads).norm()))

    observer = Norms()
    options = replace(OPTIONS, optimizer=OptimizerOptions("sgd", 0.1, gradient_clip=0.01))
    TrainingLoop(mlp(), TRAIN, VALID, options, observer=observer).run()
    assert max(observer.norms) <= 0.01 * (1 + 1e-4)
    assert min(observer.norms) > 0.009


def test_reports_and_epochs_reach_the_observer() -> None:
    class Recorder(NullObserver):
        def __init__(self) -> None:
            self.reports: list[StepReport] = []
            self.records: list[EpochRecord] = []

        def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
            self.reports.append(report())

        def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
            self.records.append(copy.copy(record))

    observer = Recorder()
    TrainingLoop(mlp(), TRAIN, VALID, OPTIONS, observer=observer).run()
    assert [(report.epoch, report.step) for report in observer.reports] == [
        (epoch, step) for epoch in (1, 2, 3) for step in range(1, 7)
    ]
    # All batches but the last have 32 rows; the last has 3.
    losses = [report.loss for report in observer.reports[:6]]
    mean = (sum(losses[:5]) * 32 + losses[5] * 3) / 163
    assert observer.records[0].training_loss == pytest.approx(mean, rel=1e-6)
    assert observer.reports[-1].fraction(3) == 1.0
