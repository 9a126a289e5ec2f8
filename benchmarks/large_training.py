"""Train from a CSV file that is larger than the memory that the training may use. `python -m benchmarks.large_training`.

`forebay train` runs in a process whose data segment is limited (RLIMIT_DATA: heap and private mappings, not pages of files,
which the system drops when it needs them). What is reserved counts too, so the limit is stated beyond what the imported
libraries have reserved, Arrow uses the system's allocator, and threads have small stacks. Printed are the peaks of the
process's own memory, of the data segment, and of its resident set, which includes as many pages of mapped files as the
machine has memory to spare for.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

BATCH_ROWS = 100_000
NUM_FEATURES = 24
INTERVAL_S = 0.1
ENVIRON = os.environ | {"OMP_NUM_THREADS": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
STACK_BYTES = 1 << 20
"""Each thread reserves a stack, which counts as a part of the data segment."""

RECIPE = """
[data]
path = "{path}"
label = "late"

[split]
by = "random"

[[prepare]]
step = "impute"
columns = "numbers"
strategy = "median"

[[prepare]]
step = "standardise"
columns = "numbers"

[[prepare]]
step = "one_hot"
columns = "texts"

[model]
architecture = "{architecture}"
hidden_dims = [32]

[training]
epochs = {epochs}
batch_size = 16384
fit_rows = {fit_rows}

[register]
name = "large"
repository = "{repository}"
"""


def write_table(path: Path, num_bytes: int) -> int:
    """Write a file of about this size with numbers, some of them missing, a text and a label; return the number of rows."""
    random = np.random.default_rng(7)
    carriers = pa.array(["UA", "B6", "EV", "DL", "AA", "MQ", "9E", "US", "WN", "VX"])
    weights_F = random.standard_normal(NUM_FEATURES)
    rows = 0
    with path.open("wb") as file:
        writer: pacsv.CSVWriter | None = None
        while file.tell() < num_bytes:
            drawn_NF = np.round(random.standard_normal((BATCH_ROWS, NUM_FEATURES)), 4)
            late_N = drawn_NF @ weights_F + random.standard_normal(BATCH_ROWS) > 0
            columns: dict[str, pa.Array] = {
                f"f{place}": pa.array(drawn_NF[:, place], mask=random.random(BATCH_ROWS) < 0.02)
                for place in range(NUM_FEATURES)
            }
            columns["carrier"] = carriers.take(pa.array(random.integers(0, 10, BATCH_ROWS)))
            batch = pa.record_batch(columns | {"late": pa.array(late_N.astype(np.int8))})
            writer = writer or pacsv.CSVWriter(file, batch.schema)
            writer.write_batch(batch)
            rows += BATCH_ROWS
    return rows


def watch(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Return the peaks of the process in MiB, once it has ended."""
    peaks = {"RssAnon": 0.0, "VmData": 0.0, "VmHWM": 0.0}
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        for line in lines:
            name, _, value = line.partition(":")
            if name in peaks and value.split():
                peaks[name] = max(peaks[name], int(value.split()[0]) / 1024)
        time.sleep(INTERVAL_S)
    process.wait()
    return peaks


def _limit(num_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, num_bytes))
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, STACK_BYTES))


def libraries_mib() -> int:
    """Return the data segment of a process that has only imported what a training needs."""
    code = "import forebay.models.training.run; print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRON, capture_output=True, text=True, check=True)
    return next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmData")) // 1024


def train(recipe: Path, folder: Path, limit_mib: int) -> dict[str, object]:
    """Train with a limited data segment and return what it took. Raises ClickException if it fails."""
    limit = limit_mib << 20
    command = [
        sys.executable,
        "-m",
        "forebay",
        "train",
        str(recipe),
        "--cache-dir",
        str(folder / "cache"),
        "--no-cache",
    ]
    began_s = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=ENVIRON,
            preexec_fn=lambda: _limit(limit),
        )
        peaks = watch(process)
    output = (folder / "log").read_text()
    if process.returncode:
        raise click.ClickException(f"the training ended with status {process.returncode}:\n{output[-3000:]}")
    return {
        "seconds": round(time.monotonic() - began_s, 1),
        "own memory, MiB at most": round(peaks["RssAnon"]),
        "data segment, MiB at most": round(peaks["VmData"]),
        "resident with pages of files, MiB at most": round(peaks["VmHWM"]),
        "output": [line for line in output.splitlines() if ":" in line][:8],
    }


@click.command()
@click.option("--gb", default=2.0, show_default=True, help="Size of the file.")
@click.option("--mib", default=600, show_default=True, help="Memory that may be used beyond that of the libraries.")
@click.option("--fit-rows", default=200_000, show_default=True, help="Rows that the preparation is fitted to.")
@click.option("--epochs", default=1, show_default=True)
@click.option("--architecture", type=click.Choice(["logistic", "mlp"]), default="mlp", show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the files are written.  [default: a temporary one]"
)
def main(gb: float, mib: int, fit_rows: int, epochs: int, architecture: str, folder: Path | None) -> None:
    """Print what the training needed, as JSON."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        table = place / "table.csv"
        rows = write_table(table, int(gb * 1e9))
        recipe = place / "recipe.toml"
        recipe.write_text(
            RECIPE.format(
                path=table, architecture=architecture, epochs=epochs, fit_rows=fit_rows, repository=place / "models"
            )
        )
        limit_mib = libraries_mib() + mib
        found = train(recipe, place, limit_mib)
        sizes = {
            "rows": rows,
            "file, MiB": round(table.stat().st_size / 2**20),
            "allowed beyond the libraries, MiB": mib,
            "limit of the data segment, MiB": limit_mib,
        }
        click.echo(json.dumps(sizes | found, indent=2))


if __name__ == "__main__":
    main()
