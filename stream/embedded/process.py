"""Child processes that do not outlive the program that started them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

# Runs between fork and exec of the child, in a fresh interpreter: a preexec_fn would run Python code in a
# forked copy of a program with torch's threads, which can deadlock. 1 is PR_SET_PDEATHSIG, 9 SIGKILL. Where
# the parent is gone before the signal is asked for, it would never come; hence the look at getppid.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def tied_to_parent(argv: Sequence[str], parent_pid: int) -> list[str]:
    """The command line `argv`, made such that on Linux the kernel kills the process when `parent_pid` dies.

    `argv[0]` must be a path. The process that starts it must be `parent_pid`, and the *thread* that starts it
    must live as long as the child is wanted: the kernel watches the thread. Elsewhere than on Linux `argv`
    comes back as it is.
    """
    if not sys.platform.startswith("linux"):
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(parent_pid), *argv]
