"""A worker, `forebay run`, in a process of its own, for the demo and the bench."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.core.log_lines import EVALUATOR_READY_LINE, READY_LINE
from forebay.stream.embedded.process import tied_to_parent

_PAGE: Final = re.compile(rb"admin page at (https?://[^\s\"]+)")
READY_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_LOG_TAIL_BYTES: Final = 3000
# By the interpreter, and by Forebay's own handler.
_ENDED_BY_SIGTERM: Final = (-signal.SIGTERM, 128 + signal.SIGTERM)


class Role(NamedTuple):
    """What a process is started as. ready_line: the line of its log that says that it is ready."""

    name: str
    command: str
    ready_line: str
    options: tuple[str, ...] = ()


WORKER: Final = Role("worker", "run", READY_LINE)
# Port 0: the configured port belongs to the worker.
EVALUATOR: Final = Role("evaluator", "evaluate", EVALUATOR_READY_LINE, ("--set", "admin.port=0"))


class WorkerProcess:
    """A worker process with a configuration file.

    log: the file for its log.
    environ: its complete environment.
    die_with_parent: on Linux, kill the worker when this program ends.
    with_aggregator: whether the worker starts an aggregator.
    remedy: advice for the error if the worker fails.
    role: another role than a worker.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        die_with_parent: bool,
        with_aggregator: bool = False,
        remedy: str | None = None,
        role: Role = WORKER,
    ) -> None:
        self._role = role
        self._config = config
        self._log = log
        self._environ = dict(environ)
        self._remedy = remedy
        self._clock = clock
        self._die_with_parent = die_with_parent
        self._options = [*role.options, *(["--with-aggregator"] if with_aggregator else [])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Valid between `start` and `stop`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        # -P: the current folder may contain another `forebay`.
        command = [sys.executable, "-P", "-m", "forebay", self._role.command, "-c", str(self._config), *self._options]
        if self._die_with_parent:
            command = tied_to_parent(command, os.getpid())
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C goes to the caller, which then lets the worker drain.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ, start_new_session=True
            )

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the worker has joined its group and reads. Raises BrokerError with the end of its log if it fails."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while not self._was_ready():
            self.check()
            if self._clock.monotonic_s() > deadline_s:
                raise self._error(f"was not ready within {timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    @property
    def page(self) -> str | None:
        """The URL of its live page, from its log; None before it is ready, or if it has none."""
        match = _PAGE.search(self._log.read_bytes())
        return match[1].decode() if match else None

    def check(self) -> None:
        """Raise BrokerError with the end of its log if the worker has ended."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise self._error(f"ended by itself with status {status}")

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Send SIGTERM and wait until the worker has drained. Raises BrokerError if it does not end in time, or not with 0.

        A worker that is not ready yet has nothing to drain, and the signal may end it.
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, timeout_s)
        finally:
            ended = process.poll()
            if ended is None:
                process.kill()
                process.wait()
        if ended is None:
            raise self._error(f"did not drain within {timeout_s:g} s and was killed")
        if ended != 0 and not (ended in _ENDED_BY_SIGTERM and not self._was_ready()):
            raise self._error(f"ended with status {ended} instead of draining")

    def log_tail(self) -> str:
        """Return the end of the worker's log."""
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "(nothing)"

    def _was_ready(self) -> bool:
        return self._role.ready_line.encode() in self._log.read_bytes()

    def _error(self, what: str) -> ForebayError:
        return BrokerError(
            f"the {self._role.name} {what}; the end of its log:\n{self.log_tail()}",
            kind="worker_ended",
            remedy=self._remedy,
        )


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without Forebay's settings, for a worker that uses only its configuration file."""
    return {name: value for name, value in environ.items() if not name.upper().startswith("FOREBAY_")}
