"""The parameters of a run, and the stopwatch that measures it. They are the same for all contestants."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

POLL_RECORDS = 512
POLL_TIMEOUT_S = 0.5
PIPELINED_COMMIT_S = 0.1
"""The time between commits of the pipelined workers."""
PIPELINED_COMMIT_RECORDS = 10_000
"""With this many uncommitted records, a pipelined worker commits at once."""
MAX_BATCH_BYTES = 1 << 20
FETCH_MAX_WAIT_MS = 500
FETCH_MIN_BYTES = 1
FETCH_MAX_BYTES = 52_428_800
MAX_PARTITION_FETCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """The parameters of one run.

    repository, model: the model artefact that all contestants load.
    config: the configuration file of the Forebay worker.
    idempotent: whether the producers of the hand-written workers are idempotent. Forebay's always is.
    processing_guarantee: the guarantee of the worker. Those that are not pipelined are always at least once.
    warm_up: the topic for the predictions of a first drain that is not measured; empty if there is none.
    model_version: the version of the model, in predictions.
    onnx, weights: the model's files for workers that cannot load the artefact.
    folder: an empty folder for files of the worker.
    threads: the number of threads or processes that compute.
    """

    bootstrap_servers: str
    features: str
    predictions: str
    group_id: str
    events: int
    repository: str
    model: str
    config: str
    idempotent: bool
    processing_guarantee: str
    warm_up: str = ""
    model_version: int = 1
    onnx: str = ""
    weights: str = ""
    folder: str = ""
    threads: int = 1

    def to_argument(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_command_line(cls) -> Self:
        return cls(**json.loads(sys.argv[1]))


class Stopwatch:
    """Measure from the first record until the last output is acknowledged and its offset is committed.

    Imports, loading the model and joining the group are excluded for all contestants.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._done = 0
        self._began: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None

    def first(self) -> None:
        """Start the watch when records have been received. Later calls have no effect."""
        if self._began is None:
            self._began = (time.perf_counter(), time.process_time())

    def committed(self, count: int) -> bool:
        """Record that `count` more events are committed. Return whether all events are committed."""
        self._done += count
        if self._done >= self._events and self._ended is None:
            self._ended = (time.perf_counter(), time.process_time())
        return self._ended is not None

    @property
    def running(self) -> bool:
        return self._ended is None

    def print_result(self) -> None:
        """Print the measurements as one line of JSON on standard output."""
        assert self._began is not None and self._ended is not None
        figures = {
            "events": self._done,
            "seconds": self._ended[0] - self._began[0],
            "cpu_s": self._ended[1] - self._began[1],
            "peak_rss_mib": peak_rss_mib(),
        }
        print(json.dumps(figures), flush=True)


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    try:
        # On Linux, getrusage is not usable: the process inherits the maximum of its parent.
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / (1 << 10)
