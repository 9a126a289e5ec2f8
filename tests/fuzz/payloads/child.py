"""Check a range of polls in a process with limited memory.

    python -m tests.fuzz.payloads.child TARGET SEED FIRST LAST FOLDER

Prints a line of JSON before each poll ("begin"), from time to time what became of them ("done"), and each failure.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.core.build import FakeRecord
from tests.fuzz.payloads.corpus import TARGETS
from tests.fuzz.payloads.failure import Failure
from tests.fuzz.payloads.outcomes import Tally
from tests.fuzz.payloads.polls import EXACT_SHARE, check_poll, make_poll
from tests.fuzz.payloads.target import Target

MAX_POLL_S = 60  # of real time, until the process is ended
MORE_MEMORY = 1 << 30
"""Address space that the process may take in addition to what it has after the first poll."""
MAX_GROWTH = 384 << 20
"""Resident memory by which polls may raise the maximum."""
MAX_FAILURES = 5
REPORT_S = 1.0


def main(arguments: Sequence[str]) -> int:
    name, seed, first, last, folder = arguments
    target = TARGETS[name]()
    of = target.make()
    samples = [
        FakeRecord(offset, sample.value, headers=sample.headers, key=sample.key)
        for offset, sample in enumerate(target.samples)
    ]
    check_poll(target, of, samples, Tally(), exact=True)
    _limit_memory()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally, failures, reported = Tally(), 0, time.monotonic()
    for number in range(int(first), int(last)):
        print(json.dumps({"begin": number}), flush=True)
        signal.alarm(MAX_POLL_S)
        records = make_poll(target, int(seed), number)
        problem = check_poll(target, of, records, tally, exact=number % EXACT_SHARE == 0)
        signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) << 10
        if problem is None and grown > MAX_GROWTH:
            problem = f"the memory of the process grew by {grown >> 20} MiB"
            memory += grown >> 10
        if problem is not None:
            failures += 1
            failure = _smallest(target, Failure(name, int(seed), number=number, problem=problem, records=records))
            path = failure.save(Path(folder))
            print(json.dumps({"failure": f"{name}: poll {number}: {failure.problem}", "file": str(path)}), flush=True)
            of = target.make()
            if failures == MAX_FAILURES:
                _report(tally, number)
                return 1
        if time.monotonic() - reported > REPORT_S:
            _report(tally, number)
            tally, reported = Tally(), time.monotonic()
    _report(tally, int(last) - 1)
    return 0


def _report(tally: Tally, number: int) -> None:
    done = {
        "done": number,
        "kinds": dict(tally.kinds),
        "rows": tally.rows,
        "decode_s": tally.decode_s,
        "slowest_poll_s": tally.slowest_poll_s,
    }
    print(json.dumps(done), flush=True)


def _smallest(target: Target, failure: Failure) -> Failure:
    """Return the failure with the first record that fails alone; the whole poll if none does."""
    of = target.make()
    for record in failure.records:
        problem = check_poll(target, of, [record], Tally(), exact=True)
        if problem is not None:
            return replace(failure, problem=problem, records=[record])
    return failure


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * resource.getpagesize() + MORE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
