"""A bash process that runs one command after the other, as a reader types them into a terminal."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import psutil

_END = "__end_of_command__"
JOBS_END_WITHIN_S = 30.0


class Result(NamedTuple):
    """A command's exit status and what it wrote on standard output and standard error, in lines."""

    status: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Shell:
    """A shell that keeps its working folder, variables and background jobs from one command to the next.

    Background jobs write to the same output; `seen` contains every line so far. On exit all jobs are ended.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.seen: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_jobs()
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def run(self, command: str, *, timeout_s: float) -> Result:
        """Run a command in the foreground. Raises TimeoutError with the output so far."""
        assert self._process.stdin is not None
        # The command's standard input is empty, because the shell reads the next command from its own.
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null\necho {_END} $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{command!r} did not end within {timeout_s:g} s:\n" + "\n".join(lines)) from None
            before, marker, status = line.partition(_END)
            if marker:
                if before:
                    lines.append(before)
                return Result(int(status), lines)
            lines.append(line)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(line.rstrip("\n"))
            self._lines.put(line.rstrip("\n"))

    def _end_jobs(self) -> None:
        jobs = psutil.Process(self._process.pid).children(recursive=True)
        for job in jobs:
            with contextlib.suppress(psutil.NoSuchProcess):
                job.terminate()
        _, alive = psutil.wait_procs(jobs, timeout=JOBS_END_WITHIN_S)
        for job in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                job.kill()
