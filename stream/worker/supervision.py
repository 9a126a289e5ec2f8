"""What a worker in a child process gets from its supervisor (see `supervisor`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forebay.stream.core.stop_request import StopRequest


@dataclass(frozen=True, slots=True)
class Supervision:
    """The ties of a worker to its supervisor, or to the command that runs it.

    admin_socket: the Unix socket at which its admin API listens instead of the configured address; None without a supervisor.
    stop: requested when the supervisor ends.
    leaves_group: returns whether the worker, though a static member, leaves its group when it stops: nothing will continue
        under its name.
    """

    admin_socket: Path | None
    stop: StopRequest
    leaves_group: Callable[[], bool]
