"""Run the small training of `rank_program` with the launcher, and in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forebay.models.distributed.launcher import Launcher, LaunchOptions
from tests.source_files import ROOT

_COMMAND = (sys.executable, "-m", "tests.models.distributed.rank_program")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run_alone(folder: Path, **options: Any) -> dict[str, Any]:
    """Return the result of a training in one process."""
    out = folder / "alone.json"
    command = [*_COMMAND, json.dumps({"out": str(out), "distributed": {}} | options)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | _ONE_THREAD)
    return dict(json.loads(out.read_text()))


def run_ranks(
    folder: Path,
    nproc: int,
    *,
    report: Callable[[str], None] = lambda line: None,
    max_restarts: int = 0,
    server: Sequence[str] | None = None,
    may_continue: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Return the result of a training with several ranks."""
    out = folder / "ranks.json"
    out.unlink(missing_ok=True)
    launcher = Launcher(
        [*_COMMAND, json.dumps({"out": str(out)} | options)],
        LaunchOptions(nproc, max_restarts=max_restarts, server=server, may_continue=may_continue, settle_s=0.5),
        environ=os.environ | _ONE_THREAD,
        report=report,
    )
    launcher.run()
    return dict(json.loads(out.read_text()))
