"""`make test-exactness`: run the whole proof on a real Apache Kafka, then report the results.

python -m tests.exactness.report
python -m tests.exactness.report --seed 7 --seconds 300 -- -k one_broker
python -m tests.exactness.report --trust -- -k test_one_broker
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

from tests.exactness.proof import REPORT_VARIABLE, SECONDS_VARIABLE, SEED_VARIABLE, TRUST_VARIABLE

WIDTH = 120

DONE = {
    "started": "workers started",
    "kills": "  killed (SIGKILL)",
    "stops": "  frozen (SIGSTOP)",
    "clean_ends": "  drained (SIGTERM)",
}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-exactness ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="seed for the actions on workers and their times; default: random")
    parser.add_argument("--seconds", type=float, help="duration of each storm; default: 60")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run with tokens and access rules, encrypted fields and the audit: the runs with one model; verify the audit",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE, one JSON object per run")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser.parse_args(words)


def storms(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of the storms, one per column."""
    table = Table("", *(run["name"] for run in runs), title="every event has exactly one outcome", title_justify="left")

    def row(name: str, *values: object) -> None:
        table.add_row(name, *(f"{value:,}" if isinstance(value, int | float) else str(value) for value in values))

    row("seed", *(str(run["seed"]) for run in runs))
    row("seconds", *(run["seconds"] for run in runs))
    row("events committed to the input", *(run["events"] for run in runs))
    row("  aborted transactions of the input", *(run["aborted_input"] for run in runs))
    row("predictions", *(run["predictions"] for run in runs))
    row("  of windows", *(run["windows"] for run in runs))
    row("dead letters", *(sum(run["dead_letters"].values()) for run in runs))
    row("events too late for their windows", *(run["late"] for run in runs))
    row("aborted transactions of workers", *(run["aborted_output"] for run in runs))
    row("  of at least", *(run["min_aborted"] for run in runs))
    row("  records in them", *(run["aborted_output_records"] for run in runs))
    for what, words in DONE.items():
        row(words, *(run["done"].get(what, 0) for run in runs))
    row("  ended by themselves", *(_words(run["ended"]) for run in runs))
    row("brokers killed or restarted", *(run["done"].get("broker_restarts", 0) for run in runs))
    row("rewinds", *(run["rewinds"] for run in runs))
    row("committed offsets sampled, none fell", *(run["offset_samples"] for run in runs))
    return table


def recoveries(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of the time without outcomes after a SIGKILL."""
    table = Table("after a SIGKILL", "outcomes flow again after", "bound", title="recovery", title_justify="left")
    for run in runs:
        seconds = run["after_s"].values()
        table.add_row(run["name"], f"{min(seconds)} to {max(seconds)} s, by partition", f"{run['bound_s']:g} s")
    return table


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with TemporaryDirectory() as folder:
        lines = asked.json or Path(folder) / "report.jsonl"
        lines.write_text("")
        environment = os.environ | {REPORT_VARIABLE: str(lines.absolute())}
        if asked.trust:
            environment[TRUST_VARIABLE] = "1"
        if asked.seed is not None:
            environment[SEED_VARIABLE] = str(asked.seed)
        if asked.seconds is not None:
            environment[SECONDS_VARIABLE] = str(asked.seconds)
        # An empty -m includes the tests that `make test` leaves out.
        folders = ["tests/exactness", "tests/aggregate", "tests/eventtime"]
        command = [sys.executable, "-m", "pytest", *folders, "-m", "", *asked.pytest]
        status = subprocess.run(command, env=environment, check=False).returncode
        runs = [json.loads(line) for line in lines.read_text().splitlines()]
    if proofs := [run for run in runs if "predictions" in run]:
        console.print(storms(proofs))
    if killed := [run for run in runs if "after_s" in run]:
        console.print(recoveries(killed))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
