"""An aggregator beside the worker, in a process of its own: for small set-ups and the demo."""

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
    """`forebay aggregate` with these arguments, as long as the block lasts; started again where it ends by itself.

    The worker goes on without it: its counts are in outcome-deltas, and are merged when it is back.
    """
    beside = _Sidecar(arguments, environ)
    beside.start()
    try:
        yield
    finally:
        beside.stop()


class _Sidecar:
    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        # -P: the folder in which somebody calls this may have a `models` or a `stream` of its own.
        # A port of its own: the configured one is the worker's.
        command = [sys.executable, "-P", "-m", "forebay", "aggregate", *arguments, "--set", "admin.port=0"]
        self._command = tied_to_parent(command, os.getpid())
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_up, name="aggregator", daemon=True)

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
            log.warning(
                "the aggregator did not end within %g s and is killed; it counts exactly all the same", STOP_TIMEOUT_S
            )
            process.kill()
            process.wait()

    def _keep_up(self) -> None:
        while True:
            with self._lock:
                if self._stopping.is_set():
                    return
                # A session of its own: Ctrl-C is for the worker, which then ends this.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, env=self._environ, start_new_session=True
                )
            status = self._process.wait()
            if self._stopping.is_set():
                return
            log.error("the aggregator ended with status %d; it is started again in %g s", status, RESTART_AFTER_S)
            if self._stopping.wait(RESTART_AFTER_S):
                return
