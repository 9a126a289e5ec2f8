"""How "auto" decides, and the strategies on torch.distributed with two real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from forebay.models.distributed.connect import choose, explain
from tests.models.distributed.launched import run_ranks
from tests.models.distributed.rank_program import data


def test_the_fastest_strategy_is_chosen_if_it_is_clearly_faster() -> None:
    assert choose({"all_reduce": 0.010, "ring": 0.008, "parameter_server": 0.007}) == "parameter_server"
    assert choose({"all_reduce": 0.010, "ring": 0.0095}) == "all_reduce"
    assert choose({"all_reduce": 0.010}) == "all_reduce"


def test_the_reason_has_the_size_and_the_times() -> None:
    reason = explain("ring", {"all_reduce": 0.01, "ring": 0.004}, 2_500_000)
    assert reason == "strategy auto: ring; a gradient of 2.50 MB takes all_reduce 10.00 ms, ring 4.00 ms"


@pytest.mark.long
def test_two_processes_learn_what_one_process_learns(tmp_path: Path) -> None:
    """Two ranks in a ring on gloo; `make test-training` compares the other strategies, and kills ranks."""
    distributed = {"strategy": "ring", "checkpoint_interval": 5}
    checkpoints = tmp_path / "checkpoints"
    ranks = run_ranks(tmp_path, 2, steps=12, distributed=distributed, checkpoints=str(checkpoints))
    assert ranks["losses"] == pytest.approx(losses_of_one_process(12), abs=1e-12)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-0000000005", "step-0000000010"]


def losses_of_one_process(steps: int) -> list[float]:
    """Return what `rank_program` computes, written down without ranks."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        nn = torch.nn
        net = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = data(torch.float64)
    losses = []
    for step in range(steps):
        epoch, place = divmod(step, 8)
        rows = torch.randperm(512, generator=torch.Generator().manual_seed(epoch))[place * 64 : (place + 1) * 64]
        optimizer.zero_grad()
        loss = (net(x[rows]) - y[rows]).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
