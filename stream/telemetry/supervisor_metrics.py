"""The metrics of a supervisor of several workers; a part of the catalogue."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Counter, Gauge

SUPERVISOR_PROCESSES: Final = Gauge(
    "forebay.supervisor.processes",
    "{process}",
    "Processes of a supervisor (worker.processes) by state: starting, running, ready, stopping, waiting or ended. `waiting` "
    "processes have failed and start again",
    ("state",),
)
SUPERVISOR_RESTARTS: Final = Counter(
    "forebay.supervisor.restarts", "{restart}", "Restarts of a process, by its number", ("process",)
)
SUPERVISOR_FAILURES: Final = Gauge(
    "forebay.supervisor.failures",
    "{failure}",
    "How often in a row a process has ended by itself within a minute; it is restarted after a growing wait",
    ("process",),
)

SUPERVISOR_METRICS: Final = (SUPERVISOR_PROCESSES, SUPERVISOR_RESTARTS, SUPERVISOR_FAILURES)
