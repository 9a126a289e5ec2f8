"""promtool, Prometheus' checker of rules: from the PATH, or downloaded once as Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.brokers.jars import Unavailable, cache_folder

_FETCH_TIMEOUT_S = 120


def find_promtool(environ: Mapping[str, str]) -> Path:
    """Return the path of promtool. Raise Unavailable if it cannot be found or downloaded."""
    if program := shutil.which("promtool"):
        return Path(program)
    folder = cache_folder(environ) / "promtool"
    if not folder.is_dir():
        _fetch(folder)
    return folder / "promtool"


def _fetch(folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unavailable("promtool is not on the PATH, and there is no apt-get to fetch Debian's package prometheus")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as name:
        fetching = Path(name)
        fetching.chmod(0o755)
        download = subprocess.run(
            ["apt-get", "download", "prometheus"],
            cwd=fetching,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_TIMEOUT_S,
        )
        packages = list(fetching.glob("*.deb"))
        if download.returncode != 0 or not packages:
            raise Unavailable(f"apt-get does not have the package prometheus: {download.stderr.strip()[-200:]}")
        subprocess.run(["dpkg", "-x", str(packages[0]), str(fetching / "all")], check=True)
        (fetching / "only").mkdir()
        shutil.copy2(fetching / "all" / "usr" / "bin" / "promtool", fetching / "only")
        try:
            os.rename(fetching / "only", folder)
        except OSError:
            if not folder.is_dir():  # unless another session was first
                raise
