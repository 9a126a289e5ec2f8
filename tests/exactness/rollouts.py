"""`make test-rollouts`: canary, promotion and rollback in many cycles on a real Apache Kafka while workers are killed.

python -m tests.exactness.rollouts
python -m tests.exactness.rollouts --cycles 5 --seed 7
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.exactness.proof import REPORT_VARIABLE, SEED_VARIABLE
from tests.exactness.report import WIDTH
from tests.exactness.rollout_proof import CYCLES_VARIABLE, MINUTES_VARIABLE, RATE, RATE_VARIABLE

CYCLES = 50


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-rollouts ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=CYCLES, help=f"number of cycles; default: {CYCLES}")
    parser.add_argument("--rate", type=int, default=RATE, help=f"events per second; default: {RATE:,}")
    parser.add_argument("--minutes", type=float, help="begin no cycle later than this; default: 60")
    parser.add_argument("--seed", type=int, help="seed of versions, weights, keys and kills; default: random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE as JSON")
    return parser.parse_args(words)


def as_table(run: Mapping[str, Any]) -> Table:
    """Return the figures of a run."""
    counts, rollouts, applied = run["counts"], run["rollouts"], run["applied_s"]
    table = Table("", run["name"], title="every event has one outcome, of the right version", title_justify="left")
    for name, value in (
        ("seed", run["seed"]),
        ("seconds", run["took_s"]),
        ("events committed to the input", counts["events"]),
        ("  per second", run["events_per_s"]),
        ("predictions", counts["predictions"]),
        ("  by version", ", ".join(f"{version}: {count:,}" for version, count in rollouts["predictions"].items())),
        ("dead letters", sum(counts["dead_letters"].values())),
        ("revisions", rollouts["revisions"]),
        ("  whose canary and stable version both predicted", rollouts["divided"]),
        ("switches of partitions", rollouts["switches"]),
        ("until all partitions had switched, median", f"{applied['median']:g} s"),
        ("  longest", f"{applied['longest']:g} s"),
        ("workers killed (SIGKILL)", run["done"]["kills"]),
        ("aborted transactions of workers", counts["aborted_output"]),
        ("committed offsets sampled, none fell", run["offset_samples"]),
    ):
        table.add_row(name, f"{value:,}" if isinstance(value, int) and name != "seed" else str(value))
    return table


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with TemporaryDirectory() as folder:
        lines = asked.json or Path(folder) / "report.jsonl"
        lines.write_text("")
        environment = os.environ | {REPORT_VARIABLE: str(lines.absolute()), CYCLES_VARIABLE: str(asked.cycles)}
        environment[RATE_VARIABLE] = str(asked.rate)
        if asked.minutes is not None:
            environment[MINUTES_VARIABLE] = str(asked.minutes)
        if asked.seed is not None:
            environment[SEED_VARIABLE] = str(asked.seed)
        test = "tests/exactness/test_rollouts.py::test_cycles_of_canary_promotion_and_rollback"
        command = [sys.executable, "-m", "pytest", test, "-m", "", "-s"]
        status = subprocess.run(command, env=environment, check=False).returncode
        for line in lines.read_text().splitlines():
            console.print(as_table(json.loads(line)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
