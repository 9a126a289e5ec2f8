"""The command line in processes that start quickly (see `tests.fork_server`)."""

from __future__ import annotations

import sys

import forebay.stream.backfill.run
import forebay.stream.worker.start  # noqa: F401  # imported once, for all processes
from forebay.stream.cli import main as run_command


def main() -> int:
    """Run a command of Forebay."""
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
