"""The command `forebay`. This module imports nothing else, so that signals are handled before anything is loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run a command (by default from `sys.argv`) and return the exit status. An exception that it raises is a bug."""
    if args is None:
        _exit_on_signal()
        from forebay.stream.cli.group import run_command

        return _end_beside_a_model(run_command(None))
    from forebay.stream.cli.group import run_command
    from forebay.stream.cli.interrupts import exit_on_signal

    with exit_on_signal():
        return run_command(args)


def _exit_on_signal() -> None:
    """End the process at once on a signal, like `interrupts.exit_on_signal` but without the time that its imports take.

    The handlers stay installed, so that the end of the interpreter is covered too.
    """
    import os
    import signal

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: os._exit(128 + number))
    except ValueError:  # not in the main thread
        pass


def _end_beside_a_model(status: int) -> int:
    """Return the exit status, or end the process with it at once if a model is still running in a thread.

    The interpreter would end such a thread within torch, which aborts the process: its exit status would be that of a crash.
    """
    import os
    import sys

    devices = sys.modules.get("forebay.stream.inference.device_thread")
    if devices is None or not devices.any_running():
        return status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
