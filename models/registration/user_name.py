"""The name of the user that runs this process, for the history of a model."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """Return the name of the user that runs this process, or the number if it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"
