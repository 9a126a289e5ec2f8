"""What a child process must know about the artefact that it mutates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NAME = "delays"
"""The name of the model in each seed's repository."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How the mutations of an artefact are loaded.

    trusted: whether the worker's trust policy allows its code.
    files: the backend's files that are mutated; all if empty. Trusted code is not mutated: it may do anything.
    is_refused: whether the artefact is refused before its backend sees it, mutated or not.
    """

    trusted: bool = False
    files: tuple[str, ...] = ()
    is_refused: bool = False


def in_memory() -> Path | None:
    """Return a folder in memory, where small files are rewritten many times faster than on a disk; None for the default."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() else None
