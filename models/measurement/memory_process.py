"""The process in which the memory of a model is measured. Prints one line of JSON: `model` and `process`, in bytes.

Usage: python -m forebay.models.measurement.memory_process REPOSITORY NAME VERSION ROWS
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Final

from forebay.models.artefacts.artefact import read_version
from forebay.models.backends.catalogue import find_backend
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_version

_STATUS: Final = Path("/proc/self/status")
_RESET_PEAK: Final = "5"  # for clear_refs: sets the peak of resident memory to what is resident now


def main(arguments: list[str]) -> None:
    """Load the version, run it, and print what the peak of memory was."""
    repository, name, version, rows = arguments
    stored = read_version(Path(repository), name, int(version))
    find_backend(stored.manifest.backend)  # its libraries are not memory of the model
    before = _resident_bytes()
    with contextlib.suppress(OSError):  # elsewhere than on Linux: the peak of the whole process
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    model = load_version(stored, options=RunOptions())
    model.warm_up([1, int(rows)])
    peak = _peak_bytes()
    print(json.dumps({"model": max(0, peak - before), "process": peak}))


def _resident_bytes() -> int:
    return _status("VmRSS")


def _peak_bytes() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main(sys.argv[1:])
