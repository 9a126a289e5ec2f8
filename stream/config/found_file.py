"""Check that a configuration file found in the current folder, rather than named by the user, can be trusted.

Forebay runs its token command and sends secrets of the environment to its brokers, so another user must not be able to
write it. As with git's `safe.directory`, the owner decides: the user, root, or the user who called sudo. A file named by
-c or FOREBAY_CONFIG is not checked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError

ROOT: Final = 0


def check_found_file(path: Path, environ: Mapping[str, str]) -> None:
    """Raise ConfigError if another user can have created or written the file."""
    if not hasattr(os, "geteuid"):  # Windows
        return
    trusted = trusted_users(os.geteuid(), environ)
    statuses = {"the folder": path.absolute().parent.stat(), "it": path.stat(), "the link": path.lstat()}
    for name, status in statuses.items():
        if reason := distrust(status, trusted):
            raise ConfigError(
                f"{path} was found in the current folder and is not used: {name} {reason}",
                kind="config_untrusted",
                remedy=f"read the file; if you trust it, use it with `-c {path}`",
            )


def trusted_users(user: int, environ: Mapping[str, str]) -> frozenset[int]:
    """Return the ids of the users whose files are trusted."""
    caller = environ.get("SUDO_UID", "")
    return frozenset({ROOT, user} | ({int(caller)} if user == ROOT and caller.isdecimal() else set()))


def distrust(status: os.stat_result, trusted: frozenset[int]) -> str | None:
    """Return why another user can have written a file or folder; None if that is impossible."""
    if status.st_uid not in trusted:
        return f"belongs to another user (id {status.st_uid})"
    # In a folder with the sticky bit, such as /tmp, users cannot replace each other's files.
    shared_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & stat.S_IWOTH and not shared_folder and not stat.S_ISLNK(status.st_mode):
        return "can be written by every user"
    return None
