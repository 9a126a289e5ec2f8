"""The command line in processes that start quickly (see `tests.fork_server`).

With `--windows` as the first argument, back-fills use the model for windows of `tests.worker.echo`, which is in no repository.
"""

from __future__ import annotations

import sys

import forebay.stream.backfill.run
import forebay.stream.cli.backfill
import forebay.stream.worker.start  # imported once, for all processes
from forebay.stream.cli import main as run_command
from forebay.stream.core.model_ref import ModelRef
from tests.worker.echo import build_model


def main() -> int:
    """Run a command of Forebay."""
    if sys.argv[1] == "--windows":
        model = build_model("windows")
        forebay.stream.cli.backfill._resolve = lambda _served: ModelRef(model.name, model.version)
        forebay.stream.worker.start.load_initial_models = lambda _settings: [model]
        return run_command(sys.argv[2:])
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
