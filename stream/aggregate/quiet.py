"""Faust's own log lines: what matters of them is said by the aggregator."""

from __future__ import annotations

import logging

from stream.config.log_levels import ALL_MODULES, parse_levels


def quieten(levels: str) -> None:
    """Let through only what is an error, unless everything is asked for. levels: see `parse_levels`."""
    lowest = logging.DEBUG if parse_levels(levels)[ALL_MODULES] == "debug" else logging.ERROR
    # A service logs under the module of its class.
    for name in ("faust", "mode", "stream.aggregate.transport", "stream.aggregate.table"):
        logging.getLogger(name).setLevel(lowest)
