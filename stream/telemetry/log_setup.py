"""Set-up of logging: readable text in a terminal, JSON for machines. One line for each thing that an operator should know.

A line may repeat for as long as its cause lasts. After a few repetitions it is logged less often, with the number of lines
that were suppressed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import orjson

from forebay.stream.config.log_levels import ALL_LOGGERS, parse_levels

CLIENT_LINES_EVERY_S: Final = 10.0
REPEATS_EVERY_S: Final = 10.0
MAX_REPEATS: Final = 10
_MAX_REMEMBERED: Final = 1000

_NOISY_LOGGERS: Final = ("aiokafka", "opentelemetry", "urllib3")
"""Loggers that report every lost connection; the worker itself logs what matters."""

_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object in one line: time (RFC 3339), level, logger, message, and the exception if any.

    Figures in the message are also a field of their own: `log.info(..., extra={"figures": {...}})`. So are `trace_id` and
    `span_id` if the record belongs to a trace.

    process: the number of the process, if there are several workers (see `supervisor`).
    """

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            line["process"] = self._process
        for name in ("trace_id", "span_id", "figures"):
            if value := getattr(record, name, None):
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    """Formats a record as text: time, level, logger, message, and its trace if any.

    colour: use colours of the terminal.
    process: the number of the process, if there are several workers.
    """

    def __init__(self, *, colour: bool = False, process: int | None = None) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._colour = colour
        self._process = "" if process is None else f" process={process}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        level, name = f"{record.levelname:<7}", record.name
        trace_id = getattr(record, "trace_id", None)
        trace = f" (trace {trace_id})" if trace_id else ""
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
            name, trace = f"\x1b[2m{name}\x1b[0m", f"\x1b[2m{trace}\x1b[0m" if trace else ""
        return f"{record.asctime} {level} {name}{self._process}: {record.message}{trace}"


class RateLimitFilter(logging.Filter):
    """Passes `burst` similar records per `every_s` seconds, and adds the number of suppressed ones to the next.

    key: returns a key that is equal for similar records; the default is the logger.
    """

    def __init__(
        self,
        every_s: float,
        *,
        burst: int = 1,
        key: Callable[[logging.LogRecord], Hashable] = lambda record: record.name,
    ) -> None:
        super().__init__()
        self._every_s = every_s
        self._burst = burst
        self._key = key
        self._began: dict[Hashable, float] = {}
        self._passed: Counter[Hashable] = Counter()
        self._suppressed: Counter[Hashable] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        key = self._key(record)
        if record.created - self._began.get(key, -self._every_s) >= self._every_s:
            if len(self._began) >= _MAX_REMEMBERED:
                for counts in (self._began, self._passed, self._suppressed):
                    counts.clear()
            self._began[key] = record.created
            self._passed[key] = 0
        if self._passed[key] >= self._burst:
            self._suppressed[key] += 1
            return False
        self._passed[key] += 1
        if suppressed := self._suppressed.pop(key, 0):
            record.msg, record.args = f"{record.getMessage()} (and {suppressed} more lines before)", ()
        return True


def set_up_logging(
    levels: str,
    form: Literal["auto", "text", "json"],
    *,
    stream: TextIO = sys.stderr,
    process: int | None = None,
) -> None:
    """Send all log records of the process to `stream`.

    levels: see `parse_levels`.
    form: `auto` is text for a terminal, else JSON.
    process: the number of this process, which each line gets, if there are several workers.
    """
    level_of = parse_levels(levels)
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and terminal)
    handler.setFormatter(
        TextFormatter(colour=terminal and not os.environ.get("NO_COLOR"), process=process)
        if as_text
        else JsonFormatter(process)
    )
    logging.basicConfig(level=level_of[ALL_LOGGERS].upper(), handlers=[handler], force=True)
    limits: list[logging.Filter] = []
    for name in _NOISY_LOGGERS:
        if level_of.get(name, level_of[ALL_LOGGERS]) == "debug":
            continue
        logging.getLogger(name).setLevel(logging.ERROR)
        limits.append(_LoggerFilter(name, RateLimitFilter(CLIENT_LINES_EVERY_S)))
    for name, level in level_of.items():
        if name != ALL_LOGGERS:
            logging.getLogger(name).setLevel(level.upper())
    # For all loggers: lines of asyncio or aiohttp that a client can cause must not fill the disk either.
    limits.append(RateLimitFilter(REPEATS_EVERY_S, burst=MAX_REPEATS, key=_logger_and_first_line))
    handler.addFilter(_OncePerRecord(limits))


def share_rate_limits(handler: logging.Handler) -> None:
    """Apply the rate limits of `set_up_logging` to one more handler of the root logger."""
    for other in logging.getLogger().handlers:
        for limit in other.filters:
            if isinstance(limit, _OncePerRecord):
                handler.addFilter(limit)


def _logger_and_first_line(record: logging.LogRecord) -> Hashable:
    """Return a key for repeated lines. asyncio puts details that vary, such as addresses, on further lines."""
    return record.name, str(record.msg).partition("\n")[0]


class _LoggerFilter(logging.Filter):
    """Applies a filter to the records of one logger and its children only."""

    def __init__(self, name: str, inner: logging.Filter) -> None:
        super().__init__(name)
        self._inner = inner

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(not super().filter(record) or self._inner.filter(record))


class _OncePerRecord(logging.Filter):
    """Passes records that all of `filters` pass. Calls them once per record, even if it goes to several handlers."""

    def __init__(self, filters: list[logging.Filter]) -> None:
        super().__init__()
        self._filters = filters

    def filter(self, record: logging.LogRecord) -> bool:
        passed: bool | None = getattr(record, "within_limits", None)
        if passed is None:
            passed = record.within_limits = all(log_filter.filter(record) for log_filter in self._filters)
        return passed
