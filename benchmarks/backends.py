"""Print the model time of ONNX Runtime against eager torch, for an MLP and a CNN, as a Markdown table.

    python -m benchmarks.backends

Both run the same net on one CPU thread, in turns, so that other work on the machine slows both down. The times are medians.
"""

from __future__ import annotations

import statistics
import time
from typing import Final

import click
import numpy as np
import torch

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.onnx.backend import build_runner
from forebay.models.backends.protocol import Runner, RunOptions
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.registration.torch_export import export_net

NETS: Final = (
    ("MLP 32-128-64-2", "mlp", {"input_dim": 32, "hidden_dims": [128, 64], "output_dim": 2}),
    ("CNN", "cnn", {"in_channels": 1, "image_size": 28, "num_classes": 10}),
)
BATCH_SIZES: Final = (1, 32, 256, 1024)


def run_time_s(runner: Runner, x: FloatArray) -> float:
    """Return the seconds of one call."""
    started_s = time.perf_counter()
    runner.run(x)
    return time.perf_counter() - started_s


@click.command()
@click.option("--seconds", default=2.0, show_default=True, help="Time for each net and batch size.")
def main(seconds: float) -> None:
    """Print the model time of ONNX Runtime against eager torch."""
    torch.set_num_threads(1)
    print("| net | rows | torch, µs | ONNX Runtime, µs | ratio |\n|---|---|---|---|---|", flush=True)
    for title, architecture, params in NETS:
        net = build_net(architecture, params).eval()
        runners: tuple[Runner, Runner] = (
            TorchRunner(net, torch.device("cpu")),
            build_runner(export_net(title, net), title, RunOptions(threads=1)),
        )
        for rows in BATCH_SIZES:
            x = np.random.default_rng(0).standard_normal((rows, *net.input_shape)).astype(np.float32)
            times: list[list[float]] = [[], []]
            end_s = time.perf_counter() + seconds
            while time.perf_counter() < end_s or len(times[0]) < 10:
                for runner, taken in zip(runners, times, strict=True):
                    taken.append(run_time_s(runner, x))
            eager, onnx = (statistics.median(taken) * 1e6 for taken in times)
            print(f"| {title} | {rows} | {eager:,.0f} | {onnx:,.0f} | {eager / onnx:.1f} |", flush=True)


if __name__ == "__main__":
    main()
