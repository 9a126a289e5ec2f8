"""Log lines: readable in a terminal, JSON for machines. One line for each thing that an operator should know."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

CLIENT_LINES_EVERY_S = 10.0


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, and the exception where there is one.

    What a line says in figures stands beside it: `log.info(..., extra={"figures": {...}})`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if figures := getattr(record, "figures", None):
            line["figures"] = figures
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    """Time, level, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")


class OneOfMany(logging.Filter):
    """Lets one record a logger through in `every_s` seconds, with how many were kept back since.

    For loggers that repeat themselves as long as something lasts, such as the Kafka client's when a broker is away.
    """

    def __init__(self, every_s: float) -> None:
        super().__init__()
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._kept_back: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._last.get(record.name, -self._every_s) < self._every_s:
            self._kept_back[record.name] += 1
            return False
        self._last[record.name] = record.created
        if kept_back := self._kept_back.pop(record.name, 0):
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} lines more before)", ()
        return True


def set_up_logging(level: str, form: Literal["auto", "text", "json"], *, stream: TextIO = sys.stderr) -> None:
    """Send all log lines of the process to `stream`; `auto` is text for a terminal, else JSON."""
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The Kafka client narrates every join and every lost connection; what matters of it is said by the worker.
    client_level = logging.DEBUG if level == "debug" else logging.ERROR
    logging.getLogger("aiokafka").setLevel(client_level)
    if client_level > logging.DEBUG:
        handler.addFilter(_OnlyOf("aiokafka", OneOfMany(CLIENT_LINES_EVERY_S)))


class _OnlyOf(logging.Filter):
    """Puts a filter before the records of one logger and those below it."""

    def __init__(self, name: str, inner: logging.Filter) -> None:
        super().__init__(name)
        self._inner = inner

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(not super().filter(record) or self._inner.filter(record))
