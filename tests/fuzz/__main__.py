"""`make test-fuzz`: mutate payloads of all formats and decode them as a worker does.

    python -m tests.fuzz                                        a million payloads of each format
    python -m tests.fuzz --events 10000000 --seed 7             ten times as many, other ones
    python -m tests.fuzz --formats json f32                     of some formats
    python -m tests.fuzz --replay fuzz-failures/json-1-17.json  decode a poll that failed again

Each payload must become a row or a rejection, whatever its bytes are: no exception, bounded memory and time, and the fast path
decides as the exact one. Polls that fail are saved. `make test-artefacts` does the same for models.
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
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.table import Table

from tests.fuzz.payloads.corpus import FORMATS, TARGETS
from tests.fuzz.payloads.failure import Failure, load_failure
from tests.fuzz.payloads.outcomes import Tally
from tests.fuzz.payloads.polls import RECORDS_OF_A_POLL, check_poll, make_poll

POLLS_OF_A_CHILD = 400
REPORT_S = 20.0
MAX_FAILURES = 20


@dataclass
class Result:
    """What became of the polls of one target."""

    tally: Tally = field(default_factory=Tally)
    failures: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        """The number of records."""
        return self.tally.kinds.total()


@dataclass(frozen=True)
class Part:
    """Some polls of a target, for one process."""

    target: str
    seed: int
    polls: range
    folder: Path
    stop: Event = field(default_factory=Event)


def run_part(part: Part, result: Result) -> None:
    """Check polls in child processes: the crash of one is a failure, and another one continues."""
    polls = part.polls
    while polls and not part.stop.is_set() and len(result.failures) < MAX_FAILURES:
        polls = range(_run_child(part, polls, result), polls.stop)


def _run_child(part: Part, polls: range, result: Result) -> int:
    """Run a child; return the first poll that it has not tried."""
    arguments = [part.target, str(part.seed), str(polls.start), str(polls.stop), str(part.folder)]
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz.payloads.child", *arguments]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    number = -1
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if part.stop.is_set():
                    process.kill()
                    return polls.start
                said = json.loads(line)
                number = said.get("begin", number)
                if "failure" in said:
                    result.failures.append(f"{said['failure']}\n  saved as {said['file']}")
                elif "done" in said:
                    tally = Tally(rows=said["rows"], decode_s=said["decode_s"], slowest_poll_s=said["slowest_poll_s"])
                    tally.kinds.update(said["kinds"])
                    result.tally.add(tally)
        stderr.seek(0)
        tail = " ".join("".join(stderr.readlines()[-5:]).split())[-800:]
    if process.returncode == 1 and not tail:  # it has reported its failures, and has enough of them
        return polls.stop
    if process.returncode:
        how = "took too long" if process.returncode == -signal.SIGALRM else f"ended with {process.returncode}"
        problem = f"the process {how}: {tail}"
        records = make_poll(TARGETS[part.target](), part.seed, number) if number >= 0 else []
        path = Failure(part.target, part.seed, number=number, problem=problem, records=records).save(part.folder)
        result.failures.append(f"{part.target}: poll {number}: {problem}\n  saved as {path}")
        return polls.stop if number < 0 else number + 1
    return polls.stop


def make_table(results: dict[str, Result]) -> Table:
    """Return a table with a row for each target."""
    table = Table(
        "target", "payloads", "rows", "rejected", "kinds of rejections", "µs each", "slowest poll", "failures"
    )
    for column in (*table.columns[1:4], *table.columns[5:]):
        column.justify = "right"
    for name, result in results.items():
        tally = result.tally
        rejected = {kind: count for kind, count in tally.kinds.most_common() if kind not in ("row", "document")}
        kinds = ", ".join(f"{kind} {count / max(1, result.events):.0%}" for kind, count in list(rejected.items())[:4])
        table.add_row(
            name,
            f"{result.events:,}",
            f"{tally.rows:,}",
            f"{sum(rejected.values()):,}",
            kinds,
            f"{1e6 * tally.decode_s / max(1, result.events):.0f}",
            f"{1000 * tally.slowest_poll_s:.0f} ms",
            f"{len(result.failures)}",
        )
    return table


def replay(path: Path, console: Console) -> int:
    """Decode a saved poll again, and print what is wrong."""
    failure = load_failure(path)
    target = TARGETS[failure.target]()
    problem = check_poll(target, target.make(), failure.records, Tally(), exact=True)
    console.print(f"{failure.target}: {len(failure.records)} records; saved: {failure.problem}", markup=False)
    console.print(f"now: {problem or 'as it should be'}", markup=False, soft_wrap=True)
    return 1 if problem else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="number of payloads of each format")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations")
    parser.add_argument("--formats", nargs="+", choices=sorted(FORMATS), help="formats to mutate; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--save-to", type=Path, default=Path("fuzz-failures"), help="folder for polls that fail")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="decode a saved poll again")
    options = parser.parse_args(arguments)
    console = Console(width=160)
    if options.replay is not None:
        return replay(options.replay, console)
    formats = options.formats or list(FORMATS)
    console.print(f"{options.events:,} payloads of each of {', '.join(formats)}; seed {options.seed}", markup=False)
    num_polls = {
        target: -(-options.events // (RECORDS_OF_A_POLL * len(FORMATS[name])))
        for name in formats
        for target in FORMATS[name]
    }
    results = {target: Result() for target in num_polls}
    started, stop = time.monotonic(), Event()
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [
            pool.submit(
                run_part,
                Part(
                    target, options.seed, range(first, min(polls, first + POLLS_OF_A_CHILD)), options.save_to, stop=stop
                ),
                results[target],
            )
            for target, polls in num_polls.items()
            for first in range(0, polls, POLLS_OF_A_CHILD)
        ]
        _follow(running, results, sum(num_polls.values()) * RECORDS_OF_A_POLL, console=console, stop=stop)
    console.print(make_table(results))
    failures = [failure for result in results.values() for failure in result.failures]
    for failure in failures:
        console.print(failure, markup=False, soft_wrap=True)
    console.print(f"{time.monotonic() - started:,.0f} s; seed {options.seed}", highlight=False)
    return 1 if failures or stop.is_set() else 0


def _follow(
    running: Sequence[Future[None]], results: dict[str, Result], total: int, *, console: Console, stop: Event
) -> None:
    """Show the progress until all is done. An interrupt sets `stop`, so that the table shows what was tried."""
    try:
        while wait(running, timeout=REPORT_S).not_done:
            events = sum(result.events for result in results.values())
            failures = sum(len(result.failures) for result in results.values())
            console.print(f"{events:,} of {total:,} payloads, {failures} failures", highlight=False)
    except KeyboardInterrupt:
        stop.set()
    for future in running:
        future.result()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
