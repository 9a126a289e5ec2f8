"""The stub registry in a thread, for tests of commands, which run event loops of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.registry.stub import StubRegistry, stub_registry


@contextmanager
def threaded_registry() -> Iterator[StubRegistry]:
    """Yield a stub that answers from a thread."""
    ready, found = threading.Event(), []
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with stub_registry() as stub:
            found.append(stub)
            ready.set()
            await stopped.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
