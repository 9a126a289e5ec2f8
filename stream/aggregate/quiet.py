"""Faust's own log lines: what matters of them is said by the aggregator."""

from __future__ import annotations

import logging
from typing import Final

from forebay.stream.config.log_levels import ALL_MODULES, parse_levels

# mode logs this as an error when a process goes on after it was frozen (SIGSTOP, a suspended machine). Whether the aggregator
# keeps up is judged by its health, by its own clock.
_HARMLESS: Final = ("Thread keepalive is not responding...",)


def quieten(levels: str) -> None:
    """Let through only errors that matter, unless everything is asked for. levels: see `parse_levels`."""
    debugging = parse_levels(levels)[ALL_MODULES] == "debug"
    # A service logs under the module of its class.
    for name in ("faust", "mode", "forebay.stream.aggregate.transport", "forebay.stream.aggregate.table"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if debugging else logging.ERROR)
        if not debugging:
            logger.addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    # The message has the name of the service before it.
    return not str(record.msg).endswith(_HARMLESS)
