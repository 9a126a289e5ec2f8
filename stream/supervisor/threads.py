"""The threads of a process before it forks others. This module imports nothing that starts one."""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """Let NumPy's linear algebra use one thread, unless the environment says otherwise. Call it before NumPy is imported.

    Its pool would be a thread before the fork, and with a process for each core it has no core to use.
    """
    environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def num_threads() -> int | None:
    """Return the number of threads of this process; None if the system does not say."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return None
