"""Faust's own log lines: what matters of them is said by the aggregator."""

from __future__ import annotations

import logging


def quieten(level: str) -> None:
    """Let through only what is an error, unless everything is asked for."""
    lowest = logging.DEBUG if level == "debug" else logging.ERROR
    # A service logs under the module of its class.
    for name in ("faust", "mode", "stream.aggregate.transport", "stream.aggregate.table"):
        logging.getLogger(name).setLevel(lowest)
