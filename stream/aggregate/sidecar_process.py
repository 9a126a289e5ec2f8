"""An aggregator in a child process of the worker, for small deployments and the demo."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from forebay.stream.embedded.process import tied_to_parent

log = logging.getLogger("forebay.aggregate")

RESTART_AFTER_S: Final = 5.0
STOP_TIMEOUT_S: Final = 30.0


@contextmanager
def sidecar_aggregator(arguments: Sequence[str], environ: Mapping[str, str]) -> Iterator[None]:
    """Run `forebay aggregate` with these arguments while the block lasts, and restart it if it ends by itself.

    The worker continues without it: its counts are in outcome-deltas, and are merged after the restart.
    """
    sidecar = _Sidecar(arguments, environ)
    sidecar.start()
    try:
        yield
    finally:
        sidecar.stop()


class _Sidecar:
    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        # -P: the user's current folder may contain a `models` or a `stream`.
        # Port 0: the configured port belongs to the worker.
        command = [sys.executable, "-P", "-m", "forebay", "aggregate", *arguments, "--set", "admin.port=0"]
        self._command = tied_to_parent(command, os.getpid())
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="aggregator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)
        self._thread.join(STOP_TIMEOUT_S)
        process = self._process
        if process is not None and process.poll() is None:
            log.warning("the aggregator did not stop within %g s and is killed; no counts are lost", STOP_TIMEOUT_S)
            process.kill()
            process.wait()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._stopping.is_set():
                    return
                # Its own session: Ctrl-C reaches only the worker, which then stops the aggregator.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, env=self._environ, start_new_session=True
                )
            status = self._process.wait()
            if self._stopping.is_set():
                return
            log.error("the aggregator ended with exit status %d; it restarts in %g s", status, RESTART_AFTER_S)
            if self._stopping.wait(RESTART_AFTER_S):
                return
