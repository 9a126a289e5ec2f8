"""Measure the peak memory of a model in a process of its own, so that nothing else counts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ModelError

MODULE: Final = "forebay.models.measurement.memory_process"
_TIME_LIMIT_S: Final = 600.0
_MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Memory of a process that loads a version and runs it, in bytes.

    model: the growth from before the model was loaded to the peak: the model's own. process: the peak as a whole, with the
    interpreter and the libraries of the backend.
    """

    model: int
    process: int


def measure_peak_memory(repository: Path, name: str, version: int, *, max_rows: int) -> PeakMemory:
    """Return the peak memory while a version is loaded and runs batches of up to `max_rows` rows.

    Raises ModelError if the process cannot load or run it.
    """
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(repository), name, str(version), str(max_rows)],
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:_MAX_REASON]
        raise ModelError(
            f"{name}@{version}: its memory cannot be measured: {reason}",
            kind="measurement",
            remedy="check that the version can be served: `forebay models validate`",
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return PeakMemory(model=int(found["model"]), process=int(found["process"]))
