"""Shutdown of exporters, whose collector may be unreachable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

CLOSE_TIMEOUT_S: Final = 3.0


async def close_with_timeout(close: Callable[[], object]) -> None:
    """Call `close` on a daemon thread, which does not keep the process alive, and wait for a few seconds."""
    thread = threading.Thread(target=close, name="telemetry-close", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, CLOSE_TIMEOUT_S)
