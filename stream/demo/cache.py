"""Where the demo keeps its model between runs, as the platform has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def cache_folder(platform: str, environ: Mapping[str, str], home: Path) -> Path:
    """The demo's folder in the user's cache. `platform` is `sys.platform`."""
    if platform == "darwin":
        base = home / "Library" / "Caches"
    elif platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        # What is not absolute is to be ignored, says the specification of that variable.
        given = Path(environ.get("XDG_CACHE_HOME", ""))
        base = given if given.is_absolute() else home / ".cache"
    return base / "forebay" / "demo"
