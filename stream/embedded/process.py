"""Child processes that do not outlive the program that started them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

# Runs between fork and exec of the child, in a new interpreter: a preexec_fn would run Python code in a forked copy of a
# program with torch's threads, which can deadlock. 1 is PR_SET_PDEATHSIG, 9 is SIGKILL. If the parent ends before the signal is
# requested, the signal never comes; hence the check of getppid.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent process has ended')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def tied_to_parent(argv: Sequence[str], parent_pid: int) -> list[str]:
    """Return a command line that runs `argv` so that on Linux the kernel kills it when `parent_pid` ends.

    argv: its first item must be a path.
    parent_pid: the process that starts the command. The *thread* that starts it must live as long as the child is needed, since
    the kernel watches the thread.

    On other systems, `argv` is returned unchanged.
    """
    if not sys.platform.startswith("linux"):
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(parent_pid), *argv]
