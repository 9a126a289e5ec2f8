"""What a process that the launcher started as a rank does besides training."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from forebay.models.distributed.parameter_server import exit_at_end_of
from forebay.models.distributed.ranks import ATTEMPT_VARIABLE


def end_with_launcher(environ: Mapping[str, str]) -> None:
    """End this process as soon as the launcher is gone, if a launcher of ours started it.

    The launcher holds the other end of the standard input for as long as it runs.
    """
    if ATTEMPT_VARIABLE in environ:
        exit_at_end_of(sys.stdin.fileno(), lambda: os._exit(1))
