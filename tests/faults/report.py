"""`make test-faults`: every fault on a real Apache Kafka, and then what came of each.

python -m tests.faults.report
python -m tests.faults.report -- -k "network or storm"
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

from tests.exactness.proof import REPORT_VARIABLE

WIDTH = 120


def arguments(words: Sequence[str]) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="make test-faults ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the report, one JSON object a fault")
    parser.add_argument("pytest", nargs="*", help="for pytest, after --")
    return parser.parse_args(words)


def table(faults: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each fault that was survived."""
    made = Table(
        "fault, survived",
        title="nothing lost, nothing doubled, order per key kept, nobody stopped",
        title_justify="left",
    )
    for name in ("lasted", "stood still", "events", "lost", "doubled", "aborted", "memory", "log lines"):
        made.add_column(name, justify="right", no_wrap=True)
    for fault in faults:
        made.add_row(
            fault["fault"],
            f"{fault['fault_s']} s",
            f"{fault['still_s']} s",
            f"{fault['events']:,}",
            str(fault["lost"]),
            str(fault["doubled"]),
            str(fault["aborted_output"]),
            f"{fault['growth_mib']:+} MiB",
            str(fault["log_lines"]),
        )
    made.caption = (
        "stood still: the longest time without a commit, the fault itself with it; aborted: transactions; memory: the "
        "worker's that grew most; log lines: of the worker that said most"
    )
    made.caption_justify = "left"
    return made


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    with TemporaryDirectory() as folder:
        lines = asked.json or Path(folder) / "report.jsonl"
        lines.write_text("")
        # An empty -m: what `make test` leaves out belongs to it as well.
        command = [sys.executable, "-m", "pytest", "tests/faults", "-m", "", *asked.pytest]
        environment = os.environ | {REPORT_VARIABLE: str(lines.absolute())}
        status = subprocess.run(command, env=environment, check=False).returncode
        faults = [json.loads(line) for line in lines.read_text().splitlines()]
    if faults:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table(faults))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
