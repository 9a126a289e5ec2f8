"""The error if predictions stop arriving."""

from __future__ import annotations

from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.embedded.worker_process import WorkerProcess

STALL_TIMEOUT_S: Final = 60.0


def stalled_error(worker: WorkerProcess, problem: str) -> BrokerError:
    """Return the error for a worker whose predictions stopped: the problem, and the end of its log."""
    return BrokerError(f"{problem}; the worker's log ends:\n{worker.log_tail()}", kind="bench_stalled")
