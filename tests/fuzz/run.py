"""`make test-fuzz`: mutate artefacts of all backends and load them as a worker does.

    python -m tests.fuzz.run                                 100,000 mutations, divided among all seeds
    python -m tests.fuzz.run --seed trees-xgboost --cases 20000
    python -m tests.fuzz.run --seed onnx-mlp --first 4711 --cases 1      repeats one case

Every artefact must be refused with a short message and a remedy, or be served with finite predictions. No process may crash or
hang, open a file outside the artefact's folder, start a process, or connect. At least 90 % of the artefacts must reach the
parser of their backend.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.seeds import SEEDS

CASES_OF_A_CHILD = 2500
MAX_CASE_S = 60.0
MAX_START_S = 300.0  # imports, and the unchanged artefact
MIN_PARSED = 0.9


@dataclass
class Result:
    """What became of the mutations of one seed. problems: one line for each fault."""

    seed: str
    kinds: Counter[str] = field(default_factory=Counter)
    built: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.kinds.total()

    @property
    def parsed(self) -> float:
        """The share of the artefacts that reached the parser of their backend."""
        return self.built / self.cases if self.cases else 0.0


def fuzz(folder: Path, seed: str, first: int, last: int) -> Result:
    """Try the mutations from `first` to before `last`, in child processes; a fault ends the rest of its child's share."""
    result = Result(seed)
    for start in range(first, last, CASES_OF_A_CHILD):
        _run_child(folder, result, start, min(start + CASES_OF_A_CHILD, last))
    return result


def _run_child(folder: Path, result: Result, first: int, last: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz.child", str(folder), result.seed, str(first), str(last)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryFile("w+") as stderr:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ) as process:
            number = _follow(process, result)
        stderr.seek(0)
        tail = "".join(stderr.readlines()[-3:])[-500:]
    if process.returncode not in (0, 1):
        result.problems.append(f"case {number}: the process ended with {process.returncode}: {tail}")
    elif process.returncode == 1 and not result.problems:
        result.problems.append(f"case {number}: {tail}")


def _follow(process: subprocess.Popen[str], result: Result) -> int:
    """Read the child's lines until it ends; return the last case that it began. A case that takes too long ends it."""
    assert process.stdout is not None
    number = -1
    timer = threading.Timer(MAX_START_S, process.kill)
    timer.start()
    for line in process.stdout:
        message = json.loads(line)
        timer.cancel()
        if "failed" in message:
            result.problems.append(f"case {message['failed']}: {message['problem']}")
        elif "kinds" in message:
            result.kinds.update(message["kinds"])
            result.built += message["built"]
        number = message.get("case", number)
        timer = threading.Timer(MAX_CASE_S, process.kill)
        timer.start()
    timer.cancel()
    return number


def show(results: Sequence[Result], console: Console) -> bool:
    """Print a table; return whether all is as it should be."""
    table = Table("artefact", "mutations", "reached the backend", "served", "refused", "faults")
    for result in results:
        served = result.kinds["served"]
        if not_finite := result.kinds["not finite"]:
            result.problems.append(f"{not_finite} artefacts gave predictions that are not finite")
        if SEEDS[result.seed].is_refused:
            if served or result.built:
                result.problems.append(f"{served + result.built} artefacts that are not trusted reached the backend")
        elif result.cases >= 1000 and result.parsed < MIN_PARSED:
            result.problems.append(f"only {result.parsed:.1%} reached the backend; wanted are {MIN_PARSED:.0%}")
        refused = result.cases - served
        table.add_row(
            result.seed,
            f"{result.cases:,}",
            f"{result.parsed:.1%}",
            f"{served:,}",
            f"{refused:,}",
            str(len(result.problems)),
        )
    console.print(table)
    for result in results:
        for problem in result.problems[:20]:
            console.print(f"{result.seed}: {problem}", markup=False)
    return not any(result.problems for result in results)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="number of mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", choices=sorted(SEEDS), action="append", help="artefacts to mutate; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    options = parser.parse_args(arguments)
    seeds = options.seed or sorted(SEEDS)
    share = max(1, options.cases // len(seeds))
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        for seed in seeds:
            SEEDS[seed].publish(Path(scratch, seed))
        last = options.first + share
        results = list(pool.map(lambda seed: fuzz(Path(scratch), seed, options.first, last), seeds))
    return 0 if show(results, console) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
