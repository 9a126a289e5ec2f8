"""Run several Forebay workers of one consumer group, each in a process of its own, and measure them together.

The watch runs from the first records of any worker until the last commit of all. CPU time and peak memory are the sums of the
workers.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Any, Final

from benchmarks.contestants.forebay_worker import attach, run_worker
from benchmarks.contestants.job import Job, Stopwatch, peak_rss_mib
from forebay.stream.embedded.process import tied_to_parent

MEMBER: Final = "--member"
STOP_TIMEOUT_S: Final = 30.0


class MemberWatch(Stopwatch):
    """Reports the first records and each commit of one worker to the parent process. The parent ends the worker."""

    def first(self) -> None:
        if self._began is None:
            super().first()
            report(0)

    def committed(self, count: int) -> bool:
        report(count)
        return False


def report(count: int) -> None:
    """Write one line for the parent: the committed events, the time, and the process's CPU time."""
    line = json.dumps({"count": count, "at_s": time.perf_counter(), "cpu_s": time.process_time()})
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


@dataclass(slots=True)
class Totals:
    """The measurements of all members so far.

    cpu_s: the CPU time of each member at its first and its last line.
    """

    done: int = 0
    began_s: float = float("inf")
    ended_s: float = 0.0
    cpu_s: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, member: int, line: dict[str, Any]) -> None:
        """Add a line of a member."""
        self.done += line["count"]
        self.began_s = min(self.began_s, line["at_s"])
        self.ended_s = max(self.ended_s, line["at_s"])
        self.cpu_s[member] = (self.cpu_s.get(member, (line["cpu_s"],))[0], line["cpu_s"])

    def figures(self, peaks_mib: list[float]) -> dict[str, float]:
        """Return the result of the run."""
        return {
            "events": self.done,
            "seconds": self.ended_s - self.began_s,
            "cpu_s": sum(last - first for first, last in self.cpu_s.values()),
            "peak_rss_mib": sum(peaks_mib),
        }


def run_member(job: Job) -> int:
    attach(MemberWatch(job.events))
    status = run_worker(job)
    os.write(sys.stdout.fileno(), (json.dumps({"peak_rss_mib": peak_rss_mib()}) + "\n").encode())
    return status


def run_group(job: Job) -> int:
    """Start the workers, stop them when all events are committed, and print the measurements."""
    command = [sys.executable, "-m", "benchmarks.contestants.forebay_group", job.to_argument(), MEMBER]
    command = tied_to_parent(command, os.getpid())
    members = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(job.threads)]
    lines: queue.Queue[tuple[int, str | None]] = queue.Queue()
    for number, member in enumerate(members):
        assert member.stdout is not None
        threading.Thread(target=_forward, args=(number, member.stdout, lines), daemon=True).start()
    totals = Totals()
    try:
        while totals.done < job.events:
            number, text = lines.get()
            if text is None:
                print(f"worker {number} ended before all events were committed", file=sys.stderr)
                return 1
            totals.add(number, json.loads(text))
    finally:
        for member in members:
            member.send_signal(signal.SIGTERM)
    statuses = [member.wait(STOP_TIMEOUT_S) for member in members]
    peaks: list[float] = []
    while len(peaks) < len(members):
        _, text = lines.get(timeout=STOP_TIMEOUT_S)
        if text is not None and "peak_rss_mib" in (line := json.loads(text)):
            peaks.append(line["peak_rss_mib"])
    print(json.dumps(totals.figures(peaks)), flush=True)
    return max(statuses)


def _forward(number: int, stream: IO[str], lines: queue.Queue[tuple[int, str | None]]) -> None:
    for text in stream:
        lines.put((number, text))
    lines.put((number, None))


def main() -> int:
    job = Job.from_command_line()
    return run_member(job) if MEMBER in sys.argv else run_group(job)


if __name__ == "__main__":
    sys.exit(main())
