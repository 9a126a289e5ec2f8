"""A child process: the ordinary worker of `forebay run`, except for its names and where its admin API listens."""

from __future__ import annotations

import logging
import mmap
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError, ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.core.stop_request import StoppedEarly, StopRequest
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.supervisor.child_errors import write_error
from forebay.stream.supervisor.lifeline import follow_lifeline
from forebay.stream.telemetry.log_setup import set_up_logging
from forebay.stream.worker.supervision import Supervision

log = logging.getLogger("forebay.worker")

RunWorker = Callable[[Settings, Supervision], Pipeline]
"""Runs a worker until it is stopped (see `worker.start`)."""

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 2
"""The exit status of the command line for a wrong configuration."""
STOP_MARGIN_S: Final = 12.0
"""How long a worker takes at most to leave its group and to close its connections, after it has drained."""


def kill_after_s(settings: Settings) -> float:
    """Return how many seconds after the request to stop a child is killed."""
    return settings.delivery.drain_timeout_ms / 1000 + STOP_MARGIN_S


def socket_of(folder: Path, number: int) -> Path:
    """Return the Unix socket at which the admin API of a child listens."""
    return folder / f"{number}.sock"


def error_of(folder: Path, number: int) -> Path:
    """Return the file for the error that ended a child."""
    return folder / f"{number}.error"


@dataclass(frozen=True, slots=True)
class ChildJob:
    """What a child runs. settings: its own (see `child_settings`). folder: the private folder of the supervisor."""

    number: int
    settings: Settings
    folder: Path


class Ending:
    """Whether everything ends, rather than one child that starts again: one byte that all processes share.

    With `leaves_at_end`, static members leave their group then.
    """

    def __init__(self, *, leaves_at_end: bool) -> None:
        self._leaves_at_end = leaves_at_end
        self._shared = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """Record that everything ends."""
        self._shared[0] = 1

    def leaves_group(self) -> bool:
        """Return whether a member that stops now is to leave its group."""
        return self._leaves_at_end and self._shared[0] == 1


def child_runner(ending: Ending, run_worker: RunWorker) -> Callable[[ChildJob, int], int]:
    """Return what a child runs (see `template_process`). Its exit status is that of the command line."""

    def run(job: ChildJob, lifeline: int) -> int:
        stop = StopRequest()
        follow_lifeline(
            lifeline,
            is_stopping=lambda: stop.is_requested,
            on_end=ending.begin,
            kill_after_s=kill_after_s(job.settings),
        )
        # The supervisor restarts children on SIGHUP; one that arrives here has no meaning.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        set_up_logging(job.settings.log.level, job.settings.log.format, process=job.number)
        supervision = Supervision(socket_of(job.folder, job.number), stop, ending.leaves_group)
        try:
            pipeline = run_worker(job.settings, supervision)
        except StoppedEarly:
            return 0
        except ForebayError as error:
            write_error(error_of(job.folder, job.number), error)
            return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
        except Exception:
            log.exception("unexpected error; this is a bug")
            return EXIT_FAILED
        log.info("%s", pipeline.totals)
        return 0

    return run


def make_folder(parent: Path) -> Path:
    """Create the private folder of a supervisor in `parent`. Raises ConfigError if Unix sockets in it have too long names."""
    folder = parent / f"forebay-{os.getpid()}-{os.urandom(4).hex()}"
    if len(os.fsencode(socket_of(folder, 9999))) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"the folder for temporary files, {parent}, has too long a name for Unix sockets",
            kind="temporary_folder",
            remedy="set TMPDIR to a folder with a shorter name",
        )
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot create a folder in {parent}: {error.strerror}",
            kind="temporary_folder",
            remedy="set TMPDIR to a folder in which files can be created",
        ) from None
    return folder


MAX_SOCKET_PATH: Final = 100
"""Less than the limit of every system, which is 104 or 108 bytes."""
