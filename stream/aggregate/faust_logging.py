"""Filter of Faust's own log lines; most of them repeat what the aggregator logs itself."""

from __future__ import annotations

import logging
from typing import Final

from forebay.stream.config.log_levels import ALL_LOGGERS, parse_levels

# mode logs this as an error after a process was frozen (SIGSTOP, a suspended machine). The liveness probe, which has its own
# clock, shows whether the aggregator is stalled.
_HARMLESS: Final = ("Thread keepalive is not responding...",)


def quiet_faust(levels: str) -> None:
    """Let through only errors that matter, except from loggers set to debug. levels: see `parse_levels`."""
    wanted = parse_levels(levels)
    for name in ("faust", "mode", "forebay.aggregate.faust"):
        debugging = wanted.get(name, wanted[ALL_LOGGERS]) == "debug"
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if debugging else logging.ERROR)
        if not debugging:
            logger.addFilter(_is_relevant)


def _is_relevant(record: logging.LogRecord) -> bool:
    # The message begins with the name of the service.
    return not str(record.msg).endswith(_HARMLESS)
