"""Signals while a command loads, runs and cleans up. SIGINT and SIGTERM always end it, exit status 128 + signal.

A KeyboardInterrupt is raised between two instructions, wherever the main thread happens to be. Inside an import, a
destructor or a callback from C it is printed and dropped, or leaves a half-imported package behind, and the command goes
on as if nothing had been asked of it. So it is raised only where something has to be cleaned up, and the process then has
a limited time to do so. Everywhere else a signal ends the process at once.
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
"""How long cleaning up may take, in seconds."""

_Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that ended with this KeyboardInterrupt, or with an error caused by one."""
    for each in (error, error.__cause__):
        if isinstance(each, Interrupted):
            return 128 + each.number
    return 128 + signal.SIGINT


@contextmanager
def exit_on_signal(*, restore: bool = True) -> Iterator[None]:
    """End the process at once on a signal: for the time in which there is nothing to clean up."""
    previous = _install(lambda number, frame: os._exit(128 + number))
    try:
        yield
    finally:
        if restore:
            _restore(previous)


@contextmanager
def unwind_on_signal(unwind_s: float = UNWIND_S) -> Iterator[None]:
    """Raise Interrupted on a signal: for synchronous code that has something to clean up.

    The process ends at once on a second signal, and `unwind_s` seconds after the first.
    """
    received: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        _accept(number, received, unwind_s)
        raise Interrupted(number)

    previous = _install(on_signal)
    try:
        yield
    finally:
        _restore(previous)


def run_async(main: Coroutine[Any, Any, T], *, unwind_s: float = UNWIND_S) -> T:
    """Run a coroutine as `asyncio.run` does, and cancel it on a signal; Interrupted is raised when it has ended.

    If it returns a result instead, that is returned. The process ends at once on a second signal, and `unwind_s` seconds
    after the first: a cancellation can be swallowed, and a thread cannot be stopped.
    """
    import asyncio

    received: list[int] = []

    async def supervise() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            alarm.append(_accept(number, received, unwind_s))
            loop.call_soon_threadsafe(task.cancel)

        # Not the loop's own handlers: those run only when the loop does.
        previous = _install(on_signal)
        try:
            await asyncio.wait({task})
        finally:
            _restore(previous)
        return task.result()

    alarm: list[threading.Timer] = []
    try:
        result = asyncio.run(supervise())
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
    for each in alarm:
        each.cancel()
    return result


def _accept(number: int, received: list[int], unwind_s: float) -> threading.Timer:
    """Note a signal. Ends the process if it is not the first, else starts the timer that does."""
    if received:
        os._exit(128 + number)
    received.append(number)
    alarm = threading.Timer(unwind_s, os._exit, (128 + number,))
    alarm.daemon = True
    alarm.start()
    return alarm


def _install(handler: _Handler) -> dict[int, Any]:
    """Install a handler and return the previous ones; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in SIGNALS}


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
