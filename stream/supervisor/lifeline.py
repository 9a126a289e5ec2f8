"""The end of a child when its supervisor has ended: no worker outlives it.

All children have the reading end of a pipe whose other end only the supervisor has. It is closed when the supervisor ends, also
by SIGKILL, on every system.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable


def follow_lifeline(
    descriptor: int, *, is_stopping: Callable[[], bool], on_end: Callable[[], None], kill_after_s: float
) -> None:
    """Watch the supervisor in a thread: once it has ended, drain this process with SIGTERM, unless it is stopping already.

    descriptor: at its end once the supervisor has ended.
    on_end: called before the signal.
    kill_after_s: if this process still runs this long after that, it ends at once.
    """

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        on_end()
        if not is_stopping():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(kill_after_s)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
