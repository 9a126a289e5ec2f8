"""`make test-faults`: run every fault on a real Apache Kafka, then report the results.

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

FILES = ("tests/faults", "tests/harness/test_apache.py", "tests/worker/test_brokers_away.py")
WIDTH = 120


def arguments(words: Sequence[str]) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="make test-faults ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE, one JSON object per fault")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser.parse_args(words)


def table(faults: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each fault that the workers survived."""
    made = Table(
        "fault, survived",
        title="nothing lost, nothing duplicated, order per key kept, no worker stopped",
        title_justify="left",
    )
    for name in ("duration", "stalled", "events", "lost", "duplicated", "aborted", "memory", "log lines"):
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
            str(fault["log_lines_of_a_kind"]),
        )
    made.caption = (
        "stalled: the longest time without a commit, including the fault itself; aborted: the number of transactions; "
        "memory: the largest growth of a worker; log lines: the most of one kind in one worker"
    )
    made.caption_justify = "left"
    return made


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    with TemporaryDirectory() as folder:
        lines = asked.json or Path(folder) / "report.jsonl"
        lines.write_text("")
        # An empty -m includes the tests that `make test` leaves out.
        command = [sys.executable, "-m", "pytest", *FILES, "-m", "", *asked.pytest]
        environment = os.environ | {REPORT_VARIABLE: str(lines.absolute())}
        status = subprocess.run(command, env=environment, check=False).returncode
        faults = [json.loads(line) for line in lines.read_text().splitlines()]
    if faults:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table(faults))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
