"""Measure the peak memory of a process that runs a model with a full batch, by model and batch size.

python -m benchmarks.memory
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping

MODELS: Mapping[str, tuple[str, Mapping[str, object], tuple[int, ...]]] = {
    "MLP 32-128-64-2": ("mlp", {"input_dim": 32, "hidden_dims": [128, 64], "output_dim": 2}, (32,)),
    "MLP 256-1024-1024-10": ("mlp", {"input_dim": 256, "hidden_dims": [1024, 1024], "output_dim": 10}, (256,)),
    "CNN 3×32×32": ("cnn", {"in_channels": 3, "image_size": 32, "num_classes": 10}, (3, 32, 32)),
}
BATCH_SIZES = (64, 512, 4096)


def peak_mib(name: str, batch_size: int) -> float:
    """Return the peak memory of this process with a model; without one if `name` is empty."""
    import torch

    import forebay.stream.worker.assembly  # noqa: F401  imported for its memory
    from forebay.models.backends.torch.architectures import build_net
    from forebay.models.backends.torch.device import limit_threads
    from forebay.stream.worker.process_tuning import keep_freed_memory

    keep_freed_memory()
    limit_threads(1)
    if name:
        architecture, params, shape = MODELS[name]
        net = build_net(architecture, dict(params)).eval()
        with torch.inference_mode():
            for _ in range(3):
                net(torch.zeros(batch_size, *shape))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(f"{'peak MiB by batch size':<24}" + "".join(f"{size:>8}" for size in BATCH_SIZES))
    print(f"{'no model':<24}{_in_new_process('', 1):>8.0f}")
    for name in MODELS:
        print(f"{name:<24}" + "".join(f"{_in_new_process(name, size):>8.0f}" for size in BATCH_SIZES), flush=True)


def _in_new_process(name: str, batch_size: int) -> float:
    """Measure in a new process, because the peak of a process never decreases."""
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps([name, batch_size])]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(peak_mib(*json.loads(sys.argv[1])))
    else:
        main()
