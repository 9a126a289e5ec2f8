"""Measure `forebay describe` on a large CSV file beside polars and pandas. `python -m benchmarks.describe`.

Each contestant runs in a process of its own, which reads the file once: time, rate and peak memory of the process. polars and
pandas are measured where they are installed. They calculate what their `describe` does and the number of distinct values;
Forebay also histograms, frequent values and lengths.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

BATCH_ROWS = 100_000

POLARS = """
import sys, polars as pl
table = pl.scan_csv(sys.argv[1])
print(table.describe())
print(table.select(pl.all().n_unique()).collect(engine="streaming"))
"""
PANDAS = """
import sys, pandas as pd
table = pd.read_csv(sys.argv[1])
print(table.describe(include="all"))
print(table.nunique())
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a contestant needed. mib_per_s: of the file. cpu_s: CPU time of all threads."""

    contestant: str
    seconds: float
    cpu_s: float
    mib_per_s: float
    peak_mib: float


def write_table(path: Path, num_bytes: int) -> int:
    """Write a file of about this size with columns of different kinds; return the number of rows."""
    random = np.random.default_rng(7)
    carriers = pa.array(["UA", "B6", "EV", "DL", "AA", "MQ", "9E", "US", "WN", "VX"])
    rows = 0
    with path.open("wb") as file:
        writer: pacsv.CSVWriter | None = None
        while file.tell() < num_bytes:
            drawn = random.standard_normal((4, BATCH_ROWS))
            batch = pa.record_batch(
                {
                    "flight": pa.array(np.arange(rows, rows + BATCH_ROWS)),
                    "carrier": carriers.take(pa.array(random.integers(0, 10, BATCH_ROWS))),
                    "tail": pa.array([f"N{number:05d}" for number in random.integers(0, 4_000, BATCH_ROWS).tolist()]),
                    "dep_delay": pa.array(np.round(drawn[0] * 30), mask=random.random(BATCH_ROWS) < 0.02),
                    "arr_delay": pa.array(np.round(drawn[0] * 30 + drawn[1] * 10, 2)),
                    "temperature": pa.array(drawn[2] * 8 + 12),
                    "pressure": pa.array(drawn[3] * 7 + 1013),
                    "distance": pa.array(random.integers(80, 5_000, BATCH_ROWS)),
                    "seats": pa.array(random.choice([55, 140, 180, 300], BATCH_ROWS)),
                    "late": pa.array(drawn[0] > 0.5),
                }
            )
            if writer is None:
                writer = pacsv.CSVWriter(file, batch.schema)
            writer.write_batch(batch)
            rows += BATCH_ROWS
    return rows


def measure(contestant: str, command: list[str], num_bytes: int) -> Result:
    """Run a command and return what it needed. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Result(
        contestant,
        seconds,
        cpu_s=usage.ru_utime + usage.ru_stime,
        mib_per_s=num_bytes / 2**20 / seconds,
        peak_mib=peak_bytes / 2**20,
    )


@click.command()
@click.option("--file", type=click.Path(path_type=Path), default=Path("describe.csv"), show_default=True)
@click.option(
    "--gb", type=float, default=1.0, show_default=True, help="Size of the file, written if it does not exist."
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the results as JSON.")
@click.option(
    "--rivals-python",
    default=sys.executable,
    help="The Python in which polars and pandas are installed.  [default: this one]",
)
@click.option("--only", multiple=True, help="Measure only this contestant; may be repeated.")
def main(file: Path, gb: float, output: Path | None, rivals_python: str, only: tuple[str, ...]) -> None:
    """Measure each contestant on the same file."""
    if not file.exists():
        rows = write_table(file, int(gb * 1e9))
        click.echo(f"wrote {file}: {rows:,} rows", err=True)
    commands = {
        "forebay": [sys.executable, "-m", "forebay", "describe", str(file), "--json"],
        "polars": [rivals_python, "-c", POLARS, str(file)],
        "pandas": [rivals_python, "-c", PANDAS, str(file)],
    }
    results = []
    for name, command in commands.items():
        if only and name not in only:
            continue
        if subprocess.run([command[0], "-c", f"import {name}"], capture_output=True, check=False).returncode:
            click.echo(f"{name} is not installed", err=True)
            continue
        results.append(measure(name, command, file.stat().st_size))
        one = results[-1]
        used = f"{one.seconds:8.1f} s {one.cpu_s:8.1f} s of CPU"
        click.echo(f"{name:10} {used} {one.mib_per_s:8.1f} MiB/s {one.peak_mib:8.0f} MiB at most")
    if output is not None:
        output.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
