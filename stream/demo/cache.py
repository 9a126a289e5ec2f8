"""The folder in which the demo keeps its model between runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def cache_folder(platform: str, environ: Mapping[str, str], home: Path) -> Path:
    """Return the demo's folder in the user's cache. platform: `sys.platform`."""
    if platform == "darwin":
        base = home / "Library" / "Caches"
    elif platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        # The XDG specification requires that a relative path is ignored.
        cache_home = Path(environ.get("XDG_CACHE_HOME", ""))
        base = cache_home if cache_home.is_absolute() else home / ".cache"
    return base / "forebay" / "demo"
