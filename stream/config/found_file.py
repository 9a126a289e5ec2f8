"""Whether a configuration that was found in the current folder, and chosen by nobody, may be used.

Its token command is run and the secrets of the environment go to its brokers, so it must not be somebody else's. As with
`safe.directory` of git the owner decides: the user, root, or the user who called sudo. A file that is named, by -c or
FOREBAY_CONFIG, is not asked about.
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
    """Raise ConfigError if somebody else may have put the file there, or may have written it."""
    if not hasattr(os, "geteuid"):  # Windows
        return
    trusted = trusted_users(os.geteuid(), environ)
    looked_at = {"the folder": path.absolute().parent.stat(), "it": path.stat(), "the link": path.lstat()}
    for name, status in looked_at.items():
        if reason := distrust(status, trusted):
            raise ConfigError(
                f"{path} was found in the current folder and is not used: {name} {reason}",
                kind="config_untrusted",
                remedy=f"see what it says; `-c {path}` uses it all the same",
            )


def trusted_users(user: int, environ: Mapping[str, str]) -> frozenset[int]:
    """Return the ids of the users whose files are used without being named."""
    caller = environ.get("SUDO_UID", "")
    return frozenset({ROOT, user} | ({int(caller)} if user == ROOT and caller.isdecimal() else set()))


def distrust(status: os.stat_result, trusted: frozenset[int]) -> str | None:
    """Return why a file or folder may be somebody else's work; None if it is not."""
    if status.st_uid not in trusted:
        return f"belongs to another user (id {status.st_uid})"
    # In a folder with the sticky bit, such as /tmp, others cannot replace what is not theirs.
    shared_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & stat.S_IWOTH and not shared_folder and not stat.S_ISLNK(status.st_mode):
        return "can be written by every user"
    return None
