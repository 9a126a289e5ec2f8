"""Compare the compressions of gradients: bytes and seconds of a step, and the accuracy of a net that is trained with them.

    python -m benchmarks.gradient_compression                  two ranks on this machine; takes about 5 minutes
    python -m benchmarks.gradient_compression --sizes 1 40     gradients of 1 and 40 MB

1. exchange: the median time of averaging one gradient of a given size, without any computation of a net. Beside it, the speed
   of the link below which the compression saves time: the bytes that it saves, divided by the time that it costs.
2. training: an MLP 64-256-128-10 on scikit-learn's digits, one fifth of them for the test, with each compression.

Both ranks share this machine's cores and its loopback, which no compression makes faster; the bytes do not depend on it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from forebay.models.distributed.launcher import Launcher, LaunchOptions
from forebay.models.distributed.options import COMPRESSIONS, DistributedOptions
from forebay.models.distributed.ranks import Ranks

ROUNDS: Final = 15
WIDTH: Final = 1024  # of the gradient matrices
STEPS: Final = 300
BATCH: Final = 128
SEED: Final = 0
_BITS: Final = 8


def measure_exchange(options: DistributedOptions, ranks: Ranks, megabytes: float) -> dict[str, float]:
    """Return the median seconds and the payload bytes of averaging one gradient. Runs on each rank."""
    import torch
    from torch import nn

    from forebay.models.distributed.session import Session

    torch.set_num_threads(1)
    rows = max(1, round(megabytes * 1e6 / 4 / WIDTH / 4))
    parameters = [nn.Parameter(torch.zeros(rows, WIDTH)) for _ in range(4)]
    generator = torch.Generator().manual_seed(ranks.rank)
    num_bytes = sum(parameter.nbytes for parameter in parameters)
    session = Session.join(ranks, options, gradient_bytes=num_bytes, seed=SEED)
    times, sent = [], 0
    for _ in range(ROUNDS):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        session.exchange.total(0.0)  # wait for the other rank
        before = session.exchange.transport.sent_bytes
        start = time.perf_counter()
        session.exchange.exchange(parameters)
        times.append(time.perf_counter() - start)
        sent = session.exchange.transport.sent_bytes - before
    session.close()
    return {"seconds": median(times[2:]), "bytes": sent}


def train_digits(options: DistributedOptions, ranks: Ranks) -> dict[str, float]:
    """Return the test accuracy, and the seconds and payload bytes of a step. Runs on each rank."""
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits
    from torch import nn

    from forebay.models.distributed.session import Session

    torch.set_num_threads(1)
    digits = load_digits()
    x, y = torch.from_numpy(digits.data / 16).float(), torch.from_numpy(digits.target)
    is_test = torch.arange(len(x)) % 5 == 0
    x_train, y_train = x[~is_test], y[~is_test]
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    parameters = list(net.parameters())
    num_bytes = sum(parameter.nbytes for parameter in parameters)
    session = Session.join(ranks, options, gradient_bytes=num_bytes, seed=SEED)
    exchange = session.exchange
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(SEED)
    start, before = time.perf_counter(), exchange.transport.sent_bytes
    for _ in range(STEPS):
        rows = torch.randint(len(x_train), (BATCH,), generator=generator)[exchange.rank :: exchange.world_size]
        optimizer.zero_grad()
        F.cross_entropy(net(x_train[rows]), y_train[rows]).backward()  # type: ignore[no-untyped-call]
        exchange.exchange(parameters)
        optimizer.step()
    seconds = (time.perf_counter() - start) / STEPS
    sent = (exchange.transport.sent_bytes - before) / STEPS
    with torch.no_grad():
        accuracy = float((net(x[is_test]).argmax(1) == y[is_test]).float().mean())
    session.close()
    return {"seconds": seconds, "bytes": sent, "accuracy": accuracy, "gradient": num_bytes}


def run_rank(work: dict[str, Any]) -> None:
    """Do one measurement as a rank; rank 0 writes the result."""
    ranks = Ranks.read(os.environ)
    assert ranks is not None, "start this with the launcher"
    options = DistributedOptions(compression=work["compression"], timeout_s=120.0)
    result = (
        train_digits(options, ranks) if work["what"] == "train" else measure_exchange(options, ranks, work["megabytes"])
    )
    if ranks.rank == 0:
        Path(work["out"]).write_text(json.dumps(result))


def measure(folder: Path, compression: str, **work: Any) -> dict[str, float]:
    """Return the result of a measurement with two ranks."""
    out = folder / "result.json"
    work |= {"compression": compression, "out": str(out)}
    command = [sys.executable, "-m", "benchmarks.gradient_compression", "--rank", json.dumps(work)]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    Launcher(command, LaunchOptions(2), environ=environ, report=lambda line: print(line, file=sys.stderr)).run()
    return dict(json.loads(out.read_text()))


def link_speed(none: dict[str, float], compressed: dict[str, float]) -> str:
    """Return the speed of a link below which a compression saves time."""
    cost = compressed["seconds"] - none["seconds"]
    if cost <= 0:
        return "any"
    return f"{(none['bytes'] - compressed['bytes']) * _BITS / cost / 1e6:,.0f} Mbit/s"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient_compression")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.2, 4, 40], help="megabytes of a gradient")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rank:
        run_rank(json.loads(options.rank))
        return 0
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in options.sizes:
            table = Table("compression", "KB a step", "ms a step", "saves time below", title=f"exchange of {size:g} MB")
            results = {
                compression: measure(folder, compression, what="exchange", megabytes=size)
                for compression in COMPRESSIONS
            }
            for compression, result in results.items():
                speed = "" if compression == "none" else link_speed(results["none"], result)
                table.add_row(compression, f"{result['bytes'] / 1e3:,.1f}", f"{result['seconds'] * 1e3:.2f}", speed)
            console.print(table)
        table = Table(
            "compression", "KB a step", "ms a step", "test accuracy", title=f"digits, {STEPS} steps of {BATCH}"
        )
        for compression in COMPRESSIONS:
            result = measure(folder, compression, what="train")
            table.add_row(
                compression,
                f"{result['bytes'] / 1e3:,.1f}",
                f"{result['seconds'] * 1e3:.2f}",
                f"{result['accuracy']:.4f}",
            )
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
