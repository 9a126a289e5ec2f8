"""The command `forebay`. Importing this imports nothing: signals are handled before anything else is loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run a command (of `sys.argv` by default) and return the exit status. What it raises is a bug of ours."""
    from stream.cli.interrupts import exit_on_signal

    # Without arguments this is the process's own entry point: its end is guarded too, so nothing is restored.
    with exit_on_signal(restore=args is not None):
        from stream.cli.group import run_command

        return run_command(args)
