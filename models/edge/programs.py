"""The programs that are copied to devices, and the checksums of an exported folder."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Final

SUMS_FILE: Final = "SHA256SUMS"
PROGRAMS: Final = ("report.py", "runner.py", "verify.py")
"""The programs in `models/edge/device`, which are copied as they are."""


def checked_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with their checksums added."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return {**files, SUMS_FILE: sums.encode()}


def device_programs() -> dict[str, bytes]:
    """Return the programs for devices by name."""
    folder = importlib.resources.files("forebay.models.edge.device")
    return {name: folder.joinpath(name).read_bytes() for name in PROGRAMS}
