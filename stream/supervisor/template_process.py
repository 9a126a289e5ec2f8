"""The template process: it has imported everything, has one thread and no event loop, and forks the children.

A fork after the imports shares their memory. Only a process with one thread can be forked safely at any time, and the
supervisor has an event loop and threads; so this process forks on its request, and reports the ends of children. It loads no
model.

Requests and replies are pickled, over a pair of connected sockets that no other process has. If the supervisor ends, the
children stop by themselves (see `lifeline`); the template then waits for them and kills those that take too long.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

LENGTH: Final = struct.Struct(">I")
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Ignored by the template, which ends with the supervisor, and handled by children."""
_REAP_EVERY_S: Final = 0.05


class StartRequest(NamedTuple):
    """Start a child.

    job: its argument, which can be pickled.
    kill_after_s: it is killed if it still runs this long after the end of the supervisor.
    """

    number: int
    job: Any
    kill_after_s: float


class SignalRequest(NamedTuple):
    """Send a signal to a child, unless it has ended: only the template knows this for certain."""

    pid: int
    signal: int


class Started(NamedTuple):
    """A child was forked."""

    number: int
    pid: int


class NotStarted(NamedTuple):
    """A child could not be forked. reason: that of the system."""

    number: int
    reason: str


class Ended(NamedTuple):
    """A child ended. status: its exit status, or the negative number of the signal that ended it."""

    number: int
    pid: int
    status: int


@dataclass(frozen=True, slots=True)
class Template:
    """A running template process, as its supervisor sees it.

    control: the supervisor's end of the connection.
    lifeline: a descriptor that the supervisor keeps open for as long as the children are to run.
    """

    pid: int
    control: socket.socket
    lifeline: int


def fork_template(run: Callable[[Any, int], int], *, on_end: Callable[[], None]) -> Template:
    """Fork the template from this process, which must have one thread and no event loop.

    run: what a child runs, with the job of its request and a descriptor that is at its end once the supervisor has ended;
        returns the exit status.
    on_end: called by the template when it ends after the supervisor.
    """
    own, others = socket.socketpair()
    lifeline_read, lifeline_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # Objects of the imports are not collected from now on, because a collection would write to their shared pages.
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid:
        others.close()
        os.close(lifeline_read)
        return Template(pid, own, lifeline_write)
    own.close()
    os.close(lifeline_write)
    status = 1
    try:
        _Server(others, lifeline_read, run).serve()
        on_end()
        status = 0
    finally:
        os._exit(status)


class _Server:
    """The loop of the template process."""

    def __init__(self, control: socket.socket, lifeline: int, run: Callable[[Any, int], int]) -> None:
        self._control = control
        self._lifeline = lifeline
        self._run = run
        self._numbers: dict[int, int] = {}
        self._kill_after_s = 0.0
        self._wakeup, self._wake = os.pipe()

    def serve(self) -> None:
        """Serve until the supervisor has ended and no child is left."""
        # A session of its own: Ctrl-C reaches the supervisor only, which then stops the children.
        with contextlib.suppress(OSError):
            os.setsid()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for end in (self._wakeup, self._wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            while True:
                readable, _, _ = select.select([self._control.fileno(), self._wakeup], [], [])
                if self._wakeup in readable:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wakeup, 1024)
                    self._report_ended()
                if self._control.fileno() in readable:
                    self._answer(receive(self._control))
        except (EOFError, ConnectionError):
            self._end_children()

    def _answer(self, request: StartRequest | SignalRequest) -> None:
        if isinstance(request, StartRequest):
            self._start(request)
        elif request.pid in self._numbers:
            os.kill(request.pid, request.signal)

    def _start(self, request: StartRequest) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Otherwise a signal that arrives before the child has its own handlers would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_child(request)
        except OSError as error:  # the system has no memory for it, or allows no more processes
            send(self._control, NotStarted(request.number, error.strerror or str(error)))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._numbers[pid] = request.number
        self._kill_after_s = max(self._kill_after_s, request.kill_after_s)
        send(self._control, Started(request.number, pid))

    def _become_child(self, request: StartRequest) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in SIGNALS:
                signal.signal(number, lambda number, _frame: os._exit(128 + number))
            self._control.close()
            for end in (self._wakeup, self._wake):
                os.close(end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            status = self._run(request.job, self._lifeline)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _report_ended(self) -> None:
        for pid, number, status in self._reap():
            send(self._control, Ended(number, pid, status))

    def _reap(self) -> list[tuple[int, int, int]]:
        """Return pid, number and status of the children that have ended."""
        ended = []
        while self._numbers:
            pid, waited = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if (number := self._numbers.pop(pid, None)) is not None:
                ended.append((pid, number, os.waitstatus_to_exitcode(waited)))
        return ended

    def _end_children(self) -> None:
        """Wait until the children have ended after the supervisor, and kill those that take too long."""
        deadline_s = time.monotonic() + self._kill_after_s
        while self._numbers:
            self._reap()
            if time.monotonic() > deadline_s:
                for pid in self._numbers:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_REAP_EVERY_S)


def send(connection: socket.socket, message: object) -> None:
    """Send a message."""
    data = pickle.dumps(message)
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> Any:
    """Receive a message, from a process of this program. Raises EOFError if the other end is closed."""
    (length,) = LENGTH.unpack(_read(connection, LENGTH.size))
    return pickle.loads(_read(connection, length))  # noqa: S301 - our own process


def _read(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
