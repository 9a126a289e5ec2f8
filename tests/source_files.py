"""The files of the repository that tests scan."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {"build", "dist", "node_modules", "shared", "tests"}


def code_folders() -> list[Path]:
    """Return the top-level folders with the project's own code or prose, except tests and hidden folders."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in folders if not path.name.startswith(".") and path.name not in NOT_OURS)


def python_files() -> list[Path]:
    """Return every Python file outside the tests."""
    return [path for folder in code_folders() for path in sorted(folder.rglob("*.py"))]
