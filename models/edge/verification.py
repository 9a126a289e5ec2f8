"""Run the verification of an exported folder in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from forebay.models.edge.device.verify import render
from forebay.models.edge.programs import SUMS_FILE, device_programs
from forebay.schemas.errors import ModelError

_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What the device program found: see `verify` in `models/edge/device/verify.py`."""

    document: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return bool(self.document["ok"])

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return render(dict(self.document))


def verify_folder(folder: Path, python: str | None = None) -> Verification:
    """Verify a folder that `forebay edge export` wrote.

    python: the interpreter that runs it; None for this one.

    Raises ModelError if this is not such a folder, or if its programs are not those of this version of Forebay.
    """
    if not (folder / SUMS_FILE).is_file():
        raise ModelError(
            f"{folder}: there is no {SUMS_FILE}", kind="edge", remedy="give a folder that `forebay edge export` wrote"
        )
    for name, data in device_programs().items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            raise ModelError(
                f"{path}: this is not the program of this version of Forebay",
                kind="edge",
                remedy="export the model again, or run `python verify.py` in the folder if you trust it",
            )
    # Isolated: neither the current folder nor the environment may change what is imported.
    command = [python or sys.executable, "-I", str(folder / "verify.py"), str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(
            f"{folder}: verify.py failed: {reason[:500]}",
            kind="edge",
            remedy="export the model again; under limits of memory, raise them until the process starts",
        ) from None
    return Verification(document)
