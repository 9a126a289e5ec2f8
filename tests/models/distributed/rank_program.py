"""A small training that a launcher starts as ranks: python -m tests.models.distributed.rank_program OPTIONS (JSON).

With the same options it always computes the same weights, however often its ranks are killed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forebay.models.distributed.checkpoints import CheckpointFolder
from forebay.models.distributed.errors import LOST_STATUS, RankLost
from forebay.models.distributed.options import DistributedOptions
from forebay.models.distributed.rank_process import end_with_launcher
from forebay.models.distributed.ranks import Ranks
from forebay.models.distributed.session import Session
from forebay.models.distributed.state import State

NUM_ROWS, NUM_COLUMNS, BATCH = 512, 20, 64


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return rows, and a label that no linear model learns."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(NUM_ROWS, NUM_COLUMNS, generator=generator, dtype=torch.float64)
    y = torch.sin(x[:, :1] * 2) + x[:, 1:2] * x[:, 2:3]
    return x.to(dtype), y.to(dtype)


def main() -> None:
    options: dict[str, Any] = json.loads(sys.argv[1])
    end_with_launcher(os.environ)
    ranks = Ranks.read(os.environ)
    try:
        train(options, ranks)
    except RankLost as error:
        print(error, file=sys.stderr)
        sys.exit(LOST_STATUS)


def train(options: dict[str, Any], ranks: Ranks | None) -> None:
    dtype = getattr(torch, options.get("dtype", "float64"))
    dropout = options.get("dropout", 0.0)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(NUM_COLUMNS, 32), nn.Tanh(), nn.Dropout(dropout), nn.Linear(32, 16), nn.Tanh())
    net = net.append(nn.Linear(16, 1)).to(dtype)
    parameters = list(net.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    x, y = data(dtype)
    distributed = DistributedOptions(**options["distributed"])
    folder = CheckpointFolder(Path(options["checkpoints"]), "test") if "checkpoints" in options else None
    session = Session.join(
        ranks,
        distributed,
        gradient_bytes=sum(parameter.nbytes for parameter in parameters),
        seed=3,
        folder=folder,
        private=("random",),
    )
    exchange = session.exchange
    torch.manual_seed(100 + exchange.rank)  # dropout differs among the ranks
    first, losses = 0, []
    if session.resumed is not None:
        first = session.resumed.step
        state = session.resumed.state
        net.load_state_dict({name.removeprefix("net."): t for name, t in state.tensors.items() if name[:4] == "net."})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(state.tensors["random"])
        losses = list(state.values["losses"])  # type: ignore[call-overload]
    steps_of_an_epoch = NUM_ROWS // BATCH
    for step in range(first, options["steps"]):
        epoch, place = divmod(step, steps_of_an_epoch)
        order = torch.randperm(NUM_ROWS, generator=torch.Generator().manual_seed(epoch))
        rows = order[place * BATCH : (place + 1) * BATCH]
        own = rows[exchange.rank :: exchange.world_size]
        optimizer.zero_grad()
        loss = (net(x[own]) - y[own]).square().sum() / len(rows)
        (loss * exchange.world_size).backward()
        exchange.exchange(parameters)
        optimizer.step()
        losses.append(exchange.total(float(loss.detach())))
        if options.get("talks"):
            print(f"pid {os.getpid()} step {step}", file=sys.stderr, flush=True)
        misbehave(options, ranks, step)
        if distributed.checkpoint_interval and (step + 1) % distributed.checkpoint_interval == 0:
            tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
            for number, moment in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{key}": value for key, value in moment.items()}
            session.save(step + 1, State(tensors | {"random": torch.get_rng_state()}, {"losses": losses}))
    if exchange.rank == 0:
        weights = [weight for parameter in parameters for weight in parameter.detach().double().flatten().tolist()]
        result = {"losses": losses, "weights": weights, "sent": exchange.transport.sent_bytes}
        Path(options["out"]).write_text(
            json.dumps(result | {"strategy": session.strategy, "world": exchange.world_size})
        )
    session.close()


def misbehave(options: dict[str, Any], ranks: Ranks | None, step: int) -> None:
    """Fail as the options say: {"rank": 1, "step": 5, "attempt": 0, "how": "raise"}."""
    for fault in options.get("faults", ()):
        if ranks and (fault["rank"], fault["step"], fault.get("attempt", 0)) == (ranks.rank, step, ranks.attempt):
            if fault["how"] == "raise":
                raise MemoryError("there is no memory left for this rank")
            os.kill(os.getpid(), fault["how"])


if __name__ == "__main__":
    main()
