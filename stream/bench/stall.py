"""What a bench reports if predictions stop coming."""

from __future__ import annotations

from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.embedded.worker_process import WorkerProcess

STALL_TIMEOUT_S: Final = 60.0


def stalled_error(worker: WorkerProcess, what: str) -> BrokerError:
    """Return the error for a worker whose predictions stopped, with the end of its log. what: what is missing."""
    return BrokerError(f"{what}; the worker's log ends:\n{worker.log_tail()}", kind="bench_stalled")
