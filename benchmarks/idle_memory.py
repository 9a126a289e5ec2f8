"""Print what an idle worker's memory consists of, import by import, as a Markdown table.

    python -m benchmarks.idle_memory

Own memory is private to the process (`Anonymous` in /proc/self/smaps_rollup). Pages of library files are shared between workers
and count only in the resident size. Requires Linux.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

# In the order in which torch's CUDA build needs them. The CPU build has none of them.
CUDA_LIBRARIES: Final = (
    "libnvrtc.so", "libnvJitLink.so", "libcublasLt.so", "libcublas.so", "libcudnn.so", "libcufft.so", "libcusparse.so",
    "libcusparseLt.so", "libcusolver.so", "libnccl.so", "libcupti.so", "libnvshmem_host.so",
)  # fmt: skip
STEPS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    ("Python, asyncio, numpy", ("asyncio", "numpy")),
    ("CUDA libraries, loaded by `import torch`", ("cuda",)),
    ("`libtorch_cpu`: mostly the table of operators", ("libtorch_cpu.so",)),
    ("`libtorch_cuda`: the same for CUDA", ("libtorch_cuda.so",)),
    ("the rest of `import torch`: a thousand Python modules", ("torch",)),
    ("aiohttp", ("aiohttp.web",)),
    ("aiokafka", ("aiokafka",)),
    ("OpenTelemetry", ("opentelemetry.sdk.metrics", "opentelemetry.sdk.trace")),
    ("OTLP exporter", ("opentelemetry.exporter.otlp.proto.http.trace_exporter",)),
    (
        "pydantic, click, orjson, msgspec, prometheus-client",
        ("pydantic", "click", "orjson", "msgspec", "prometheus_client"),
    ),
    (
        "Forebay",
        (
            "forebay.stream.cli.run",
            "forebay.stream.worker.assembly",
            "forebay.models.artefacts.artefact",
            "forebay.models.serving.served_model",
        ),
    ),
)
IDLE_S: Final = 5.0


def own_mib(pid: int | str = "self") -> float:
    """Return the memory that is private to the process."""
    return _smaps(pid, "Anonymous")


def resident_mib(pid: int | str = "self") -> float:
    """Return the resident memory, including shared pages."""
    return _smaps(pid, "Rss")


def _smaps(pid: int | str, name: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no {name}")


def load(name: str) -> None:
    """Import a module, or load a library of torch or CUDA if it exists."""
    if name == "cuda":
        for library in _cuda_libraries():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    elif ".so" in name:
        for library in _torch_folder().glob(f"lib/{name}*"):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    else:
        importlib.import_module(name)


def _cuda_libraries() -> Iterator[Path]:
    found = sorted(_torch_folder().parent.glob("nvidia/**/lib*.so*"))
    for name in CUDA_LIBRARIES:
        yield from (path for path in found if path.name.startswith(name))


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def print_imports() -> None:
    """Import the steps in this process and print a row for each."""
    before = 0.0
    for description, names in STEPS:
        for name in names:
            load(name)
        after = own_mib()
        print(f"| {description} | {after - before:.0f} | {after:.0f} |", flush=True)
        before = after


async def worker_mib() -> tuple[float, float]:
    """Return own and resident memory of a worker with the benchmark's model, some seconds after it is ready."""
    from forebay.stream.bench.setup import save_bench_model
    from forebay.stream.config.load import load_settings
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.embedded import EmbeddedBroker
    from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
    from forebay.stream.kafka.cluster.topics import create_topics

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_bench_model(folder / "models")
        async with EmbeddedBroker() as broker:
            config = folder / "forebay.toml"
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{broker.bootstrap_servers}"\n'
                f'[model]\nname = "bench"\nrepository = "{folder / "models"}"\n[admin]\nport = 0\n'
            )
            await create_topics(load_settings(config, {}).settings)
            environ = without_settings(os.environ)
            worker = WorkerProcess(config, folder / "log", environ=environ, clock=SystemClock(), die_with_parent=False)
            worker.start()
            try:
                await worker.wait_ready()
                await asyncio.sleep(IDLE_S)
                return own_mib(worker.pid), resident_mib(worker.pid)
            finally:
                await worker.stop()


@click.command()
@click.option("--imports-only", is_flag=True, hidden=True)
def main(imports_only: bool) -> None:
    """Print what an idle worker's memory consists of."""
    if imports_only:
        print_imports()
        return
    print("| | own MiB | sum |\n|---|---|---|", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.idle_memory", "--imports-only"], check=True)
    own, resident = asyncio.run(worker_mib())
    print(f"| an idle worker with an MLP 32-128-64-2, after warm-up | | {own:.0f} |")
    print(
        f"\nResident memory: {resident:.0f} MiB, including {resident - own:.0f} MiB of file pages shared between workers."
    )


if __name__ == "__main__":
    main()
