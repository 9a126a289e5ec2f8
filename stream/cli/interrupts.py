"""Signal handling while a command loads, runs and cleans up. SIGINT and SIGTERM end it with exit status 128 + signal.

Python raises KeyboardInterrupt between any two instructions of the main thread. Inside an import, a destructor or a
callback from C, it is printed and dropped, or leaves a package half imported, and the command continues as if there had
been no signal. Therefore it is raised only where something must be cleaned up, and the process then has a limited time to
do so. Everywhere else a signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
UNWIND_S: Final = 10.0
"""Time limit for cleaning up, in seconds."""

_Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """The command was interrupted by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that ended with this KeyboardInterrupt, or with an error caused by one."""
    for interruption in (error, error.__cause__):
        if isinstance(interruption, Interrupted):
            return 128 + interruption.number
    return 128 + signal.SIGINT


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """End the process at once on a signal, while there is nothing to clean up."""
    previous = _install(lambda number, frame: os._exit(128 + number))
    try:
        yield
    finally:
        _restore(previous)


@contextmanager
def unwind_on_signal(unwind_s: float = UNWIND_S) -> Iterator[None]:
    """Raise Interrupted on a signal, for synchronous code that must clean up.

    The process ends at once on a second signal, and `unwind_s` seconds after the first.
    """
    deadline = _Deadline(unwind_s)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        deadline.start(number)
        raise Interrupted(number)

    previous = _install(on_signal)
    try:
        yield
    finally:
        _restore(previous)
        if deadline.number is None:
            deadline.cancel()


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal has arrived, for long work that can end early with a result.

    The process ends at once on a second signal.
    """
    arrived: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if arrived:
            os._exit(128 + number)
        arrived.append(number)

    previous = _install(on_signal)
    try:
        yield lambda: bool(arrived)
    finally:
        _restore(previous)


def run_async(main: Coroutine[Any, Any, T], *, unwind_s: float = UNWIND_S) -> T:
    """Run a coroutine as `asyncio.run` does, and cancel it on a signal; Interrupted is raised when it has ended.

    If it returns a result instead, that is returned. The process ends at once on a second signal, and `unwind_s` seconds
    after the first: a cancellation can be swallowed, and a thread cannot be stopped.
    """
    import asyncio

    deadline = _Deadline(unwind_s)

    async def supervise() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            deadline.start(number)
            loop.call_soon_threadsafe(task.cancel)

        # Not the loop's own handlers: those run only when the loop does.
        previous = _install(on_signal)
        try:
            await asyncio.wait({task})
        finally:
            _restore(previous)
        return task.result()

    try:
        result = asyncio.run(supervise())
    except asyncio.CancelledError:
        if deadline.number is not None:
            raise Interrupted(deadline.number) from None
        raise
    except BaseException:
        if deadline.number is None:
            deadline.cancel()
        raise
    deadline.cancel()
    return result


class _Deadline:
    """Ends the process `seconds` after the first signal, and at once on the second.

    The waiting thread is started before any signal: a handler can interrupt code that holds the locks needed to start a
    thread.
    """

    def __init__(self, seconds: float) -> None:
        self.number: int | None = None
        self._seconds = seconds
        self._signalled = threading.Lock()
        self._signalled.acquire()
        self._cancelled = threading.Event()
        threading.Thread(target=self._watch, name="interrupt", daemon=True).start()

    def start(self, number: int) -> None:
        """Record a signal. Called by a handler."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        self._signalled.release()

    def cancel(self) -> None:
        """Stop the deadline and its thread; the process continues, even if a signal arrived."""
        self._cancelled.set()
        if self.number is None:
            self._signalled.release()

    def _watch(self) -> None:
        self._signalled.acquire()
        if self.number is not None and not self._cancelled.wait(self._seconds):
            os._exit(128 + self.number)


def _install(handler: _Handler) -> dict[int, Any]:
    """Install a handler for all signals and return the previous ones. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in SIGNALS}


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
