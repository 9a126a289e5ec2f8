"""Start the ranks of one host, end all of them when one fails, and start them again from the last checkpoint.

No torch is imported here. The environment is torchrun's: RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Final

from forebay.models.distributed.errors import LOST_STATUS
from forebay.models.distributed.ranks import (
    ATTEMPT_VARIABLE,
    LISTENER_VARIABLE,
    SERVER_VARIABLE,
    TOKEN_VARIABLE,
)
from forebay.schemas.errors import ModelError

_HOST: Final = "127.0.0.1"
_LAST_LINES: Final = 20
_MAX_LINE_CHARS: Final = 2_000
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Options of the launcher.

    settle_s: after one rank has failed, how long to wait for others, to find the one that failed first.
    grace_s: between SIGTERM and SIGKILL. stop_s: how long the ranks may take to finish after Ctrl-C.
    start_s: how long the parameter server may take to start.
    server: arguments of the parameter server; None if there is none.
    may_continue: whether the others continue without a lost rank, unless it is rank 0.
    """

    nproc: int
    max_restarts: int = 0
    settle_s: float = 1.0
    grace_s: float = 5.0
    stop_s: float = 50.0
    start_s: float = 30.0
    server: Sequence[str] | None = None
    may_continue: bool = False


@dataclass(frozen=True, slots=True)
class RankFailure:
    """Why a rank ended. status: the exit status, or minus the signal. lines: the last ones of its standard error.

    silent: the ranks that were still running, if this one ended because it waited for another one in vain.
    """

    rank: int
    status: int
    seconds: float
    lines: tuple[str, ...]
    silent: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Return the reason in one sentence."""
        if self.status >= 0:
            how = f"ended with exit status {self.status}"
        else:
            how = f"was killed by {_signal_name(-self.status)}"
            if self.status == -signal.SIGKILL:
                how += " (often because the machine has no memory left)"
        if self.silent:
            names = ", ".join(map(str, self.silent))
            how += f" because it lost another rank; rank {names} was running and did not answer"
        return f"rank {self.rank} {how} after {self.seconds:.1f} s"


@dataclass(slots=True, eq=False)
class _Process:
    rank: int
    process: subprocess.Popen[bytes]
    lines: deque[str]
    reader: threading.Thread
    status: int | None = None


class Launcher:
    """Runs a command in `nproc` processes, the ranks.

    Rank 0 has this process's standard output. The standard error of all ranks is passed on, line by line with the rank's
    number. If this process is killed, the ranks end too: their standard input ends.

    command: the same for each rank. environ: of the ranks; the launcher adds the variables of each.
    report: receives a line for the user: what failed, and what is done about it.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: LaunchOptions,
        *,
        environ: Mapping[str, str],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = tuple(command)
        self._options = options
        self._environ = dict(environ)
        self._report = report
        self._clock = clock
        self._token = secrets.token_hex(16)
        self._ended: queue.Queue[tuple[_Process, int]] = queue.Queue()

    def run(self) -> None:
        """Run the ranks until all are done. Raises ModelError if a rank failed once more than it may be restarted.

        KeyboardInterrupt is passed on to the ranks as SIGINT, and raised again when they have ended without a result.
        """
        restarts = self._options.max_restarts
        with self._server() as address:
            for attempt in range(restarts + 1):
                failure = self._attempt(attempt, address)
                if failure is None:
                    return
                if attempt == restarts:
                    raise _failed(failure, restarts)
                self._report(
                    f"{failure}; restarting all ranks from the last checkpoint (restart {attempt + 1} of {restarts})"
                )

    @contextlib.contextmanager
    def _server(self) -> Iterator[str | None]:
        """Run the parameter server, if there is one, for all attempts."""
        if self._options.server is None:
            yield None
            return
        command = [sys.executable, "-m", "forebay.models.distributed.parameter_server"]
        server = subprocess.Popen(
            [*command, "--ranks", str(self._options.nproc), *self._options.server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environ | {TOKEN_VARIABLE: self._token},
            start_new_session=True,
        )
        with server:
            timer = threading.Timer(self._options.start_s, server.kill)
            timer.start()
            assert server.stdout is not None
            port = server.stdout.readline().decode().strip()
            timer.cancel()
            try:
                if not port:
                    raise ModelError(
                        f"the parameter server did not start within {self._options.start_s:g} s",
                        kind="launch",
                        remedy="look at its messages above",
                    )
                yield f"{_HOST}:{port}"
            finally:
                server.kill()

    def _attempt(self, attempt: int, server: str | None) -> RankFailure | None:
        """Start all ranks and wait until they have ended. Returns the failure that came first, if any."""
        start = self._clock()
        # The socket exists before any rank does, so that no other process can take the port.
        processes: list[_Process] = []
        try:
            with socket.create_server((_HOST, 0)) as listener:
                for rank in range(self._options.nproc):
                    processes.append(self._start(rank, attempt, listener, server))
            return self._wait(processes, start)
        except KeyboardInterrupt:
            self._stop(processes, signal.SIGINT, self._options.stop_s)
            if len(processes) < self._options.nproc or any(process.process.poll() != 0 for process in processes):
                raise
            return None  # they ended early, with a result
        finally:
            self._end(processes)

    def _start(self, rank: int, attempt: int, listener: socket.socket, server: str | None) -> _Process:
        count = self._options.nproc
        variables = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": _HOST,
            "MASTER_PORT": str(listener.getsockname()[1]),
            ATTEMPT_VARIABLE: str(attempt),
            TOKEN_VARIABLE: self._token,
            # The ranks share the cores.
            "OMP_NUM_THREADS": self._environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
        }
        if rank == 0:
            variables[LISTENER_VARIABLE] = str(listener.fileno())
        if server is not None:
            variables[SERVER_VARIABLE] = server
        process = subprocess.Popen(
            self._command,
            env=self._environ | variables,
            stdin=subprocess.PIPE,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(listener.fileno(),) if rank == 0 else (),
            start_new_session=True,  # Ctrl-C reaches only the launcher, which passes it on
        )
        lines: deque[str] = deque(maxlen=_LAST_LINES)
        assert process.stderr is not None
        reader = threading.Thread(target=self._read, args=(rank, process.stderr, lines), daemon=True)
        started = _Process(rank, process, lines, reader)
        reader.start()
        threading.Thread(target=lambda: self._ended.put((started, process.wait())), daemon=True).start()
        return started

    def _read(self, rank: int, stream: IO[bytes], lines: deque[str]) -> None:
        with stream:
            for data in stream:
                line = data.decode(errors="replace").rstrip("\n")[:_MAX_LINE_CHARS]
                lines.append(line)
                self._report(f"[rank {rank}] {line}")

    def _wait(self, processes: Sequence[_Process], start: float) -> RankFailure | None:
        failures: list[RankFailure] = []
        deadline: float | None = None
        while any(process.status is None for process in processes):
            if deadline is not None and self._clock() >= deadline:
                break
            try:
                process, status = self._ended.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            process.status = status
            if process not in processes or status == 0:
                continue
            process.reader.join(timeout=self._options.settle_s)
            failure = RankFailure(process.rank, status, self._clock() - start, tuple(process.lines))
            if self._options.may_continue and process.rank != 0:
                self._report(f"{failure}; the others continue without it")
                continue
            failures.append(failure)
            deadline = self._clock() + self._options.settle_s if deadline is None else deadline
        cause = first_cause(failures)
        if cause is not None and cause.status == LOST_STATUS:
            return replace(cause, silent=tuple(process.rank for process in processes if process.status is None))
        return cause

    def _stop(self, processes: Sequence[_Process], number: signal.Signals, seconds: float) -> None:
        """Send a signal to all ranks and wait until they have ended, at most some seconds."""
        for process in processes:
            if process.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.process.send_signal(number)
        deadline = self._clock() + seconds
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.process.wait(timeout=max(0.0, deadline - self._clock()))

    def _end(self, processes: Sequence[_Process]) -> None:
        try:
            self._stop(processes, signal.SIGTERM, self._options.grace_s)
        finally:
            for process in processes:
                process.process.kill()
                process.process.wait()
                if process.process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.process.stdin.close()
                process.reader.join(timeout=self._options.settle_s)


def first_cause(failures: Sequence[RankFailure]) -> RankFailure | None:
    """Return the failure that explains the others: a rank that only lost another one does not."""
    return min(failures, key=lambda failure: failure.status == LOST_STATUS, default=None)


def _failed(failure: RankFailure, max_restarts: int) -> ModelError:
    lines = "".join(f"\n  {line}" for line in failure.lines)
    after = f", after {max_restarts} restarts" if max_restarts else ""
    return ModelError(
        f"{failure}{after}" + (f"; its last messages:{lines}" if lines else "; it left no message"),
        kind="rank_failed",
        remedy="correct the cause and start again: the training resumes from the last checkpoint; "
        "--max-restarts N does so by itself",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
