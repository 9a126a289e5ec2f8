"""Processes that start without importing their modules again: copies of a process that has imported them, for tests on Linux.

A worker that a test starts spends most of its processor time on imports. The server imports a module once and forks for each
process; the process runs the module's `main` as `python -m MODULE` would. Other systems start an interpreter.

    python -m tests.fork_server FD MODULE [MODULE ...]
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from tests.source_files import ROOT

_MAX_BYTES: Final = 1 << 18
_PR_SET_PDEATHSIG: Final = 1


class ForkedProcess:
    """A process that the server has forked, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._poll = select.poll()
        self._poll.register(status, select.POLLIN)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process. Raises subprocess.TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            # Without a status, the server has ended, and its processes with it.
            self.returncode = int(os.read(self._status, 64) or -signal.SIGKILL)
            os.close(self._status)
        return self.returncode


class ForkServer:
    """A server as its client sees it. It ends with the process that has started it.

    modules: what it imports. It runs the first one.
    """

    def __init__(self, *modules: str) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = [sys.executable, "-m", "tests.fork_server", str(other.fileno()), *modules]
            # A test may have changed this process's folder.
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[other.fileno()])

    def close(self) -> None:
        """End the server, and with it its processes."""
        self._socket.close()
        self._process.wait()

    def start(self, arguments: Sequence[str], output: int, errors: int) -> ForkedProcess:
        """Start a process in this process's folder and environment. output, errors: descriptors."""
        status, server_status = os.pipe()
        request = json.dumps({"arguments": list(arguments), "folder": str(Path.cwd()), "environment": dict(os.environ)})
        try:
            socket.send_fds(self._socket, [request.encode()], [output, errors, server_status])
        finally:
            os.close(server_status)
        answer = self._socket.recv(64)
        assert answer, "the fork server has ended: its message is on standard error"
        return ForkedProcess(int(answer), status)


@functools.cache
def _server(*modules: str) -> ForkServer:
    server = ForkServer(*modules)
    atexit.register(server.close)
    return server


def start_module(
    module: str, arguments: Sequence[str], output: int, *, errors: int | None = None, imports: Sequence[str] = ()
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start a process that runs a module's function `main`. On Linux it ends with this process.

    output: the descriptor of its standard output, and of its standard error if `errors` is not given.
    imports: modules that it will import, and that the server has imported.
    """
    if sys.platform != "linux":
        call = f"import sys; from {module} import main; sys.exit(main())"
        return subprocess.Popen([sys.executable, "-c", call, *arguments], stdout=output, stderr=errors or output)
    return _server(module, *imports).start(arguments, output, errors or output)


def serve(server: socket.socket, modules: Sequence[str]) -> Any:
    """Fork for each request until the client has gone. Return only in the new processes, as the first module's `main`."""
    first, *_ = [importlib.import_module(module) for module in modules]
    gc.collect()
    gc.freeze()
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not server:
                    selector.unregister(key.fileobj)
                    _report(key.fd, *running.pop(key.fd))
                    continue
                request, descriptors, *_ = socket.recv_fds(server, _MAX_BYTES, 3)
                if not request:
                    sys.exit(0)  # the processes end too: they have asked the kernel for it
                *outputs, status = descriptors
                parent = os.getpid()
                if (pid := os.fork()) == 0:
                    for descriptor in (server.detach(), status, *running, *(end for _, end in running.values())):
                        os.close(descriptor)
                    selector.close()
                    _become(modules[0], json.loads(request), outputs, parent)
                    return first.main()
                for descriptor in outputs:
                    os.close(descriptor)
                end = os.pidfd_open(pid)
                running[end] = (pid, status)
                selector.register(end, selectors.EVENT_READ)
                server.send(str(pid).encode())


def _report(end: int, pid: int, status: int) -> None:
    """Send the exit status of a process that has ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(end)
    with contextlib.suppress(BrokenPipeError):  # nothing has waited for it
        os.write(status, str(code).encode())
    os.close(status)


def _become(module: str, request: dict[str, Any], outputs: Sequence[int], parent: int) -> None:
    """Take over what a new process has of its own. Ends with the server (see `tied_to_parent`)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    for own, (descriptor, name) in enumerate(zip(outputs, ("stdout", "stderr"), strict=True), 1):
        os.dup2(descriptor, own)
        os.close(descriptor)
        # A stream remembers whether its file was one that can seek.
        before: TextIO = getattr(sys, name)
        buffering = 1 if name == "stderr" or os.isatty(own) else -1
        stream = open(own, "w", buffering, encoding=before.encoding, errors=before.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = [module, *request["arguments"]]


if __name__ == "__main__":
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))
