"""What a process of `test_fork_server` runs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main() -> int:
    """Print where and with what it runs, and return the status that its argument names; wait first if it is negative."""
    status = int(sys.argv[1])
    print(Path.cwd(), os.environ.get("FORKED"), sys.argv[1:], flush=True)
    if status < 0:
        time.sleep(60)
    return status
