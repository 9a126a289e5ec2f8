"""Checkpoints of several ranks, which are threads here, and of one process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forebay.models.distributed.checkpoints import CheckpointFolder
from forebay.models.distributed.connect import build_compression
from forebay.models.distributed.exchange import RankExchange
from forebay.models.distributed.options import DistributedOptions
from forebay.models.distributed.session import Session
from forebay.models.distributed.state import State
from tests.models.distributed.threads import ThreadTransport, on_ranks


def session(transport: ThreadTransport, folder: Path, compression: Any = "top_k") -> Session:
    options = DistributedOptions(compression=compression, density=0.1)
    exchange = RankExchange(transport, build_compression(options, seed=0))
    checkpoints = CheckpointFolder(folder, "print")
    return Session.start(exchange, "all_reduce", folder=checkpoints, private=("random.", "own"))


def step(session: Session, number: int) -> Tensor:
    parameter = nn.Parameter(torch.zeros(50))
    generator = torch.Generator().manual_seed(100 * session.exchange.rank + number)
    parameter.grad = torch.randn(50, generator=generator)
    session.exchange.exchange([parameter])
    return parameter.grad


def state_of(session: Session, number: int) -> State:
    rank = session.exchange.rank
    tensors = {"net.w": torch.full((3,), float(number)), "random.cpu": torch.tensor([rank, number])}
    return State(tensors, {"step": number, "own": rank * 10})


def test_each_rank_gets_what_all_share_and_what_is_its_own(tmp_path: Path) -> None:
    def first(transport: ThreadTransport) -> Tensor:
        running = session(transport, tmp_path)
        assert running.resumed is None
        for number in range(4):
            step(running, number)
            if number == 1:
                running.save(2, state_of(running, 2))
        return step(running, 4)

    def second(transport: ThreadTransport) -> Tensor:
        running = session(transport, tmp_path)
        resumed = running.resumed
        assert resumed is not None and resumed.step == 2
        assert resumed.state.tensors["net.w"].tolist() == [2.0] * 3
        assert resumed.state.tensors["random.cpu"].tolist() == [transport.rank, 2]
        assert resumed.state.values == {"step": 2, "own": transport.rank * 10}
        for number in range(2, 4):
            step(running, number)
        return step(running, 4)

    undisturbed, resumed = on_ranks(3, first), on_ranks(3, second)
    assert all(torch.equal(one, other) for one, other in zip(undisturbed, resumed, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000002"]


def test_ranks_with_other_weights_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def run(transport: ThreadTransport) -> None:
        running = session(transport, tmp_path)
        weights = torch.zeros(3)
        weights[1] = float(transport.rank == 2)
        running.save(1, State({"net.w": weights}))

    with caplog.at_level(logging.WARNING):
        on_ranks(3, run)
    assert "the optimiser of rank 2 differ from rank 0's" in caplog.text


def test_one_process_keeps_checkpoints_too(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "print")
    options = DistributedOptions()
    first = Session.join(None, options, gradient_bytes=12, seed=0, folder=folder)
    first.save(7, State({"w": torch.ones(2)}, {"x": 1}))
    second = Session.join(None, options, gradient_bytes=12, seed=0, folder=folder)
    assert second.resumed is not None and second.resumed.step == 7
    assert second.resumed.state.values == {"x": 1}
    assert second.exchange.total(3.5) == 3.5 and second.exchange.world_size == 1


def test_without_a_folder_nothing_is_saved() -> None:
    alone = Session.join(None, DistributedOptions(), gradient_bytes=12, seed=0)
    alone.save(1, State())
    assert alone.resumed is None
