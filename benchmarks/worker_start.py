"""Print how long a worker of one ONNX graph, or of one tree ensemble, takes to be ready, and its memory, as a Markdown table.

    python -m benchmarks.worker_start

The models come from scikit-learn (extra `trees`). A worker that has imported torch has its library among the mapped files.
Requires Linux.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.idle_memory import resident_mib
from forebay.models.registration.register import register
from forebay.stream.config.load import load_settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded import EmbeddedBroker
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.cluster.topics import create_topics


def has_library(pid: int, name: str) -> bool:
    """Return whether a process has loaded a library."""
    return name in Path(f"/proc/{pid}/maps").read_text()


async def measure(model: Any) -> tuple[str, float, float, bool]:
    """Return the backend, the seconds until ready, the resident MiB, and whether torch is loaded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = register(model, name="wine", repository=folder / "models")
        async with EmbeddedBroker() as broker:
            config = folder / "forebay.toml"
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{broker.bootstrap_servers}"\n'
                f'[model]\nname = "wine"\nrepository = "{folder / "models"}"\n[admin]\nport = 0\n'
            )
            await create_topics(load_settings(config, {}).settings)
            environ = without_settings(os.environ)
            worker = WorkerProcess(config, folder / "log", environ=environ, clock=SystemClock(), die_with_parent=False)
            started_s = time.monotonic()
            worker.start()
            try:
                await worker.wait_ready()
                took_s = time.monotonic() - started_s
                return done.backend, took_s, resident_mib(worker.pid), has_library(worker.pid, "libtorch")
            finally:
                await worker.stop()


@click.command()
def main() -> None:
    """Print how long workers without torch take to be ready, and their memory."""
    x, y = load_wine(return_X_y=True, as_frame=True)
    print("| backend | ready after, s | resident, MiB | torch |\n|---|---|---|---|", flush=True)
    for model in (make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(100)):
        backend, took_s, mib, has_torch = asyncio.run(measure(model.fit(x, y)))
        print(f"| {backend} | {took_s:.1f} | {mib:.0f} | {'imported' if has_torch else 'not imported'} |", flush=True)


if __name__ == "__main__":
    main()
