"""`make test-artefacts`: mutate artefacts of all backends and load them as a worker does.

    python -m tests.fuzz.run                                 100,000 mutations, divided among all seeds
    python -m tests.fuzz.run --seed trees --cases 20000
    python -m tests.fuzz.run --seed onnx --first 4711 --cases 1      repeats one case

Every artefact must be refused with a short message and a remedy, or be served with finite predictions. No process may crash or
hang, open a file outside the artefact's folder, start a process, or connect. At least 90 % of the artefacts must reach the
parser of their backend.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.table import Table

from tests.fuzz.seeds import SEEDS, Seed
from tests.fuzz.traits import in_memory

CASES_OF_A_CHILD = 12_500
MAX_FAULTS = 20  # of a seed: the rest is left out
MIN_PARSED = 0.9
REPORT_S = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """An artefact to mutate. folder: that has its repository."""

    folder: Path
    seed: str


@dataclass
class Result:
    """What became of mutations.

    kinds: how many artefacts ended how: "served" or the kind of the refusal, and whether the backend's parser was reached.
    faults: one line each.
    """

    kinds: Counter[tuple[str, bool]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.kinds.total() + len(self.faults)

    def count(self, *kinds: str) -> int:
        return sum(count for (kind, _), count in self.kinds.items() if kind in kinds)

    @property
    def reached(self) -> int:
        """How many artefacts reached the parser of their backend."""
        return sum(count for (_, reached), count in self.kinds.items() if reached) + len(self.faults)

    @property
    def golden(self) -> int:
        """How many were built and refused for their answers to the golden rows."""
        return self.kinds["golden", True]

    @property
    def refused_by_backend(self) -> int:
        return self.reached - self.count("served", "not finite") - self.golden - len(self.faults)

    def add(self, other: Result) -> None:
        self.kinds.update(other.kinds)
        self.faults += other.faults


def fuzz(folder: Path, seed: str, first: int, last: int) -> Result:
    """Try the mutations from `first` to before `last`, in child processes: a crash is a fault, and another child continues."""
    result = Result()
    add_cases(Source(folder, seed), result, range(first, last), Event())
    return result


def add_cases(source: Source, result: Result, cases: range, stop: Event) -> None:
    """Add what becomes of the cases to the result while they are tried, until all are or `stop` is set."""
    while cases and len(result.faults) < MAX_FAULTS and not stop.is_set():
        cases = range(_run_child(source, result, cases[:CASES_OF_A_CHILD], stop), cases.stop)


def _run_child(source: Source, result: Result, cases: range, stop: Event) -> int:
    """Run a child; return the first case that it has not tried."""
    command = [*child_command(source), str(cases.start), str(cases.stop)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    number, end = -1, True
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:  # what ends a process may write any bytes
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, errors="replace", env=environ
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if stop.is_set():
                    process.kill()
                    return cases.start
                if not line.startswith(("begin ", "done ", "fault ")):  # ONNX Runtime writes something there
                    continue
                word, text, *rest = line.rstrip("\n").split(" ", 2)
                number, end = int(text), word != "begin"
                if word == "done":
                    reached, _, kind = rest[0].partition(" ")
                    result.kinds[kind, reached == "1"] += 1
                elif word == "fault":
                    result.faults.append(f"{source.seed}: case {number}: {rest[0]}")
        stderr.seek(0)
        tail = " ".join("".join(stderr.readlines()[-3:]).split())[-500:]
    if process.returncode and (number < 0 or not end):
        how = "took too long" if process.returncode == -signal.SIGALRM else f"ended with {process.returncode}"
        result.faults.append(f"{source.seed}: case {number}: the process {how}: {tail}")
    return cases.stop if number < 0 else number + 1


def child_command(source: Source) -> list[str]:
    """Return the command of a child without the range of cases."""
    traits = json.dumps(asdict(SEEDS[source.seed].traits))
    return [sys.executable, "-m", "tests.fuzz.child", str(source.folder / source.seed), traits]


def check(seed: Seed, name: str, result: Result) -> list[str]:
    """Return what is not as it should be, besides the faults."""
    problems = []
    if not_finite := result.count("not finite"):
        problems.append(f"{name}: {not_finite} artefacts gave predictions that are not finite")
    if seed.traits.is_refused and (result.count("served") or result.reached):
        problems.append(f"{name}: {result.reached} artefacts that are not trusted reached the backend")
    if not seed.traits.is_refused and result.cases >= 1000 and result.reached < MIN_PARSED * result.cases:
        problems.append(
            f"{name}: only {result.reached / result.cases:.1%} reached the backend; wanted are {MIN_PARSED:.0%}"
        )
    return problems


def make_table(results: Sequence[tuple[str, Result]]) -> Table:
    """Return a table with a row for each name, and the sum."""
    total = Result()
    table = Table(
        "backend", "mutated", "reached the parser", "refused before", "refused by the backend",
        "refused at the golden rows", "served, finite", "not finite", "faults",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for _, result in results:
        total.add(result)
    for name, result in (*results, ("all", total)):
        counts = [
            result.cases - result.reached, result.refused_by_backend, result.golden, result.count("served"),
            result.count("not finite"), len(result.faults),
        ]  # fmt: skip
        share = f"{result.reached / max(1, result.cases):.1%}"
        table.add_row(name, f"{result.cases:,}", share, *(f"{count:,}" for count in counts))
    return table


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="number of mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", choices=sorted(SEEDS), action="append", help="artefacts to mutate; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    options = parser.parse_args(arguments)
    names = options.seed or sorted(SEEDS, key=lambda name: -SEEDS[name].share)
    shares = sum(SEEDS[name].share for name in names)
    started = time.monotonic()
    console = Console(width=140)
    stop = Event()
    with tempfile.TemporaryDirectory(dir=in_memory()) as scratch, ThreadPoolExecutor(options.jobs) as pool:
        found: list[tuple[str, Result]] = []
        running: list[Future[None]] = []
        for name in names:
            SEEDS[name].publish(Path(scratch, name))
            cases = range(options.first, options.first - (-options.cases * SEEDS[name].share // shares))
            for first in range(0, len(cases), CASES_OF_A_CHILD):
                result = Result()
                found.append((name, result))
                part = cases[first : first + CASES_OF_A_CHILD]
                running.append(pool.submit(add_cases, Source(Path(scratch), name), result, part, stop))
        _follow(running, found, console, stop)
    return 0 if show(found, console, started) and not stop.is_set() else 1


def _follow(
    running: Sequence[Future[None]], found: Sequence[tuple[str, Result]], console: Console, stop: Event
) -> None:
    """Show the progress until all is done. An interrupt sets `stop`, so that the table shows what was tried."""
    try:
        while wait(running, timeout=REPORT_S).not_done:
            faults = sum(len(result.faults) for _, result in found)
            console.print(f"{sum(result.cases for _, result in found):,} mutations, {faults} faults", highlight=False)
    except KeyboardInterrupt:
        stop.set()
    for future in running:
        future.result()


def show(found: Sequence[tuple[str, Result]], console: Console, started: float) -> bool:
    """Print a table; return whether all is as it should be."""
    seeds: dict[str, Result] = {}
    backends: dict[str, Result] = {}
    for name, result in found:
        seeds.setdefault(name, Result()).add(result)
        backends.setdefault(SEEDS[name].backend, Result()).add(result)
    console.print(make_table(list(backends.items())))
    problems = [problem for name, result in seeds.items() for problem in check(SEEDS[name], name, result)]
    for line in (*problems, *(fault for result in seeds.values() for fault in result.faults)):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"{time.monotonic() - started:,.0f} s")
    return not problems and not any(result.faults for result in seeds.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
