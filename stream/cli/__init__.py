"""The command `forebay`. Importing this imports nothing: signals are handled before anything else is loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run a command (of `sys.argv` by default) and return the exit status. What it raises is a bug of ours."""
    if args is None:
        _exit_on_signal()
        from forebay.stream.cli.group import run_command

        return run_command(None)
    from forebay.stream.cli.group import run_command
    from forebay.stream.cli.interrupts import exit_on_signal

    with exit_on_signal():
        return run_command(args)


def _exit_on_signal() -> None:
    """As `stream.cli.interrupts.exit_on_signal` for the process's own entry point, without the time that its imports take.

    Nothing is restored: the interpreter's own end is guarded too.
    """
    import os
    import signal

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: os._exit(128 + number))
    except ValueError:  # not in the main thread
        pass
