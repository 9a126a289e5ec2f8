"""A training with checkpoints: resumed after an interruption it gives the same bits; ranks are threads here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.distributed.connect import build_compression
from forebay.models.distributed.exchange import RankExchange
from forebay.models.distributed.options import DistributedOptions
from forebay.models.training.distribution import AgreedStop, CheckpointObserver, Distribution, fingerprint, resume
from forebay.models.training.loop import LoopOptions, NullObserver, Rows, TrainingLoop
from forebay.models.training.losses import Loss
from forebay.models.training.net_training import train_net
from forebay.models.training.prepared_data import prepare_data
from forebay.schemas.errors import ModelError
from tests.models.distributed.threads import ThreadTransport, on_ranks
from tests.models.training.tables import MemoryTable, recipe_with, weather


class Interrupted(Exception):
    """Ends a training as a kill does, without a chance to save anything."""


class Interruption(NullObserver):
    def __init__(self, step: int) -> None:
        self._left = step

    def on_step(self, state: Any, report: Callable[[], Any]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Interrupted


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Any, Any]:
    recipe = recipe_with(
        tmp_path, training={"epochs": 3, "batch_size": 32, "learning_rate": 0.01}, model={"dropout_rate": 0.3}
    )
    (tmp_path / "rows").mkdir()
    return recipe, prepare_data(recipe, MemoryTable(weather(200)), tmp_path / "rows")


def weights(net: Any) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


@pytest.mark.parametrize("step", [3, 5, 8])
def test_an_interrupted_training_resumes_with_the_same_bits(
    prepared: tuple[Any, Any], tmp_path: Path, step: int
) -> None:
    recipe, data = prepared
    options = DistributedOptions(checkpoint_interval=2)
    undisturbed = train_net(recipe, data)
    distribution = Distribution(options, checkpoints=tmp_path / "checkpoints")
    with pytest.raises(Interrupted):
        train_net(recipe, data, distribution=distribution, observer=Interruption(step))
    assert (tmp_path / "checkpoints").exists()
    resumed = train_net(recipe, data, distribution=distribution)
    assert weights(resumed.model) == weights(undisturbed.model)
    assert resumed.history == undisturbed.history
    distribution.finish(recipe, data, resumed)
    assert not (tmp_path / "checkpoints").exists()


def test_another_recipe_or_other_rows_are_another_training(prepared: tuple[Any, Any], tmp_path: Path) -> None:
    recipe, data = prepared
    options = DistributedOptions()
    own = fingerprint(recipe, data, options)
    assert fingerprint(recipe.with_values({"register.name": "other"}), data, options) == own
    assert fingerprint(recipe, data, DistributedOptions(checkpoint_interval=7, timeout_s=9.0)) == own
    assert fingerprint(recipe.with_values({"training.epochs": 4}), data, options) != own
    assert fingerprint(recipe, data, DistributedOptions(compression="int8")) != own
    (tmp_path / "other").mkdir()
    changed = prepare_data(recipe, MemoryTable(weather(200, seed=1)), tmp_path / "other")
    assert fingerprint(recipe, changed, options) != own
    distribution = Distribution(DistributedOptions(checkpoint_interval=2), checkpoints=tmp_path / "checkpoints")
    with pytest.raises(Interrupted):
        train_net(recipe, data, distribution=distribution, observer=Interruption(5))
    with pytest.raises(ModelError, match="another recipe"):
        train_net(recipe, changed, distribution=distribution)


def regression_rows() -> Rows:
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    return Rows(x.numpy(), (x[:, :1] * 2 - x[:, 1:2]).numpy())


def loop_of(exchange: RankExchange, **options: Any) -> tuple[TrainingLoop, Net]:
    net = build_net("mlp", {"input_dim": 4, "hidden_dims": [8], "output_dim": 1}).double()
    generator = torch.Generator().manual_seed(1)  # torch's own is shared by the threads
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    rows = regression_rows()
    settings = LoopOptions(Loss("mse"), epochs=4, batch_size=24, seed=3)
    return TrainingLoop(net, rows, rows, settings, exchange=exchange, **options), net


def exchange_of(transport: ThreadTransport) -> RankExchange:
    return RankExchange(transport, build_compression(DistributedOptions(), seed=0))


@pytest.mark.parametrize("count", [2, 3])
def test_any_number_of_ranks_trains_the_same_net(count: int) -> None:
    def train(transport: ThreadTransport) -> tuple[list[Any], Sequence[nn.Parameter]]:
        loop, net = loop_of(exchange_of(transport))
        loop.run()
        return list(loop.state.history), list(net.parameters())

    ((alone, expected),) = on_ranks(1, train)
    for history, found in on_ranks(count, train):
        assert [record.training_loss for record in history] == pytest.approx([r.training_loss for r in alone])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_all_ranks_stop_after_the_same_step_when_one_is_interrupted() -> None:
    def train(transport: ThreadTransport) -> tuple[str, int, int]:
        exchange = exchange_of(transport)
        asked = iter(range(1000))
        stop = AgreedStop(exchange, lambda: transport.rank == 1 and next(asked) >= 0)
        loop, _ = loop_of(exchange, should_stop=stop)
        end = loop.run()
        return end, loop.state.epoch, loop.state.best_epoch

    results = on_ranks(2, train)
    assert results[0] == results[1]
    assert results[0][0] == "interrupted"


def test_checkpoints_are_saved_at_the_interval_over_epochs() -> None:
    saved: list[int] = []

    class Recorder:
        resumed = None

        def save(self, step: int, state: Any) -> None:
            saved.append(step)
            assert {"random.cpu", "epoch.sums"} <= state.tensors.keys()

    def train(transport: ThreadTransport) -> None:
        session: Any = Recorder()
        observer = CheckpointObserver(session, NullObserver(), interval=3, steps=4)
        loop, _ = loop_of(exchange_of(transport), observer=observer)
        resume(session, loop.state)
        loop.run()

    on_ranks(1, train)
    assert saved == [3, 6, 9, 12, 15]
