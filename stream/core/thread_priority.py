"""The priority of threads that work beside the stream."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Final

NICENESS: Final = 10
"""How much lower than the worker's other threads their priority is: on busy cores they get about a tenth of the time.

With 19, a thread that holds the interpreter lock would hardly get a core while others are busy, and the event loop would
wait for it.
"""


def lower_priority() -> None:
    """Lower the priority of the calling thread, and of threads that it starts, where the platform has priorities of threads."""
    if sys.platform != "linux":  # elsewhere the identifier would be taken for that of a process
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
