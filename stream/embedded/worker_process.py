"""A real worker, `forebay run`, in a process of its own, for the demo and the bench."""

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
from typing import Final

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.embedded.process import tied_to_parent

READY_LINE: Final = "worker ready"
"""What a worker logs when it is ready, and its parent process waits for."""
_PAGE: Final = re.compile(rb"admin page at (https?://[^\s\"]+)")
READY_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_LOG_TAIL_BYTES: Final = 3000


class WorkerProcess:
    """Starts the worker of a configuration file; its log goes into `log`.

    environ: its environment, whole. with_aggregator: it starts an aggregator beside itself. With `die_with_parent`, on Linux,
    it is killed when this program dies. remedy: what to advise when it fails.
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
    ) -> None:
        self._config = config
        self._log = log
        self._environ = dict(environ)
        self._remedy = remedy
        self._clock = clock
        self._die_with_parent = die_with_parent
        self._options = ["--with-aggregator"] if with_aggregator else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; only between `start` and `stop`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; does not wait until it is ready."""
        # -P: the folder in which somebody calls this may have a `models` or a `stream` of its own.
        command = [sys.executable, "-P", "-m", "forebay", "run", "-c", str(self._config), *self._options]
        if self._die_with_parent:
            command = tied_to_parent(command, os.getpid())
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the caller, which then lets the worker drain.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ, start_new_session=True
            )

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Until it has joined its group and reads. Raises BrokerError with the end of its log otherwise."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while READY_LINE.encode() not in self._log.read_bytes():
            self.check()
            if self._clock.monotonic_s() > deadline_s:
                raise self._error(f"was not ready within {timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    @property
    def page(self) -> str | None:
        """Where its live page is, as its log says; None before it is ready, and without one."""
        found = _PAGE.search(self._log.read_bytes())
        return found[1].decode() if found else None

    def check(self) -> None:
        """Raise BrokerError with the end of its log when it has ended."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise self._error(f"ended by itself with status {status}")

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, and wait until it has drained. Raises BrokerError when it does not end in time, or not with 0."""
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
        if ended != 0:
            raise self._error(f"ended with status {ended} when it was to drain")

    def log_tail(self) -> str:
        """The end of the worker's log."""
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "(nothing)"

    def _error(self, what: str) -> ForebayError:
        return BrokerError(
            f"the worker {what}; the end of its log:\n{self.log_tail()}", kind="worker_ended", remedy=self._remedy
        )


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without Forebay's own settings, for a worker that is to run by its file alone."""
    return {name: value for name, value in environ.items() if not name.upper().startswith("FOREBAY_")}
