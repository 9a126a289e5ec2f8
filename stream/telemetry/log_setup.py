"""Log lines: readable in a terminal, JSON for machines. One line for each thing that an operator should know.

A line may be repeated as long as what it tells of lasts; after a few times it is told less often, with how many were kept back.
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

_CHATTY: Final = ("aiokafka", "opentelemetry", "urllib3")
"""They narrate every lost connection; what matters of it is said by the worker."""

_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, and the exception where there is one.

    What a line says in figures stands beside it: `log.info(..., extra={"figures": {...}})`. So do `trace_id` and `span_id`
    where the line belongs to a trace.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("trace_id", "span_id", "figures"):
            if value := getattr(record, name, None):
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    """Time, level, logger, message, and the trace that the line belongs to; in colour where that is wanted."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:
        level, name = f"{record.levelname:<7}", record.name
        trace_id = getattr(record, "trace_id", None)
        trace = f" (trace {trace_id})" if trace_id else ""
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
            name, trace = f"\x1b[2m{name}\x1b[0m", f"\x1b[2m{trace}\x1b[0m" if trace else ""
        return f"{record.asctime} {level} {name}: {record.message}{trace}"


class RateLimitFilter(logging.Filter):
    """Lets `burst` alike records through in `every_s` seconds, and says with the next how many were kept back.

    alike: what records have in common that repeat each other; their logger where it is not said.
    """

    def __init__(
        self,
        every_s: float,
        *,
        burst: int = 1,
        alike: Callable[[logging.LogRecord], Hashable] = lambda record: record.name,
    ) -> None:
        super().__init__()
        self._every_s = every_s
        self._burst = burst
        self._alike = alike
        self._began: dict[Hashable, float] = {}
        self._passed: Counter[Hashable] = Counter()
        self._kept_back: Counter[Hashable] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        key = self._alike(record)
        if record.created - self._began.get(key, -self._every_s) >= self._every_s:
            if len(self._began) >= _MAX_REMEMBERED:
                for remembered in (self._began, self._passed, self._kept_back):
                    remembered.clear()
            self._began[key] = record.created
            self._passed[key] = 0
        if self._passed[key] >= self._burst:
            self._kept_back[key] += 1
            return False
        self._passed[key] += 1
        if kept_back := self._kept_back.pop(key, 0):
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} lines more before)", ()
        return True


def set_up_logging(levels: str, form: Literal["auto", "text", "json"], *, stream: TextIO = sys.stderr) -> None:
    """Send all log lines of the process to `stream`; `auto` is text for a terminal, else JSON. levels: see `parse_levels`."""
    wanted = parse_levels(levels)
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and terminal)
    handler.setFormatter(
        TextFormatter(colour=terminal and not os.environ.get("NO_COLOR")) if as_text else JsonFormatter()
    )
    logging.basicConfig(level=wanted[ALL_LOGGERS].upper(), handlers=[handler], force=True)
    limits: list[logging.Filter] = []
    for name in _CHATTY:
        if wanted.get(name, wanted[ALL_LOGGERS]) == "debug":
            continue
        logging.getLogger(name).setLevel(logging.ERROR)
        limits.append(_LoggerFilter(name, RateLimitFilter(CLIENT_LINES_EVERY_S)))
    for module, level in wanted.items():
        if module != ALL_LOGGERS:
            logging.getLogger(module).setLevel(level.upper())
    # Of all loggers: what a client of ours can make asyncio or aiohttp say must not fill the disk either.
    limits.append(RateLimitFilter(REPEATS_EVERY_S, burst=MAX_REPEATS, alike=_logger_and_first_line))
    handler.addFilter(_DecideOnce(limits))


def share_rate_limits(handler: logging.Handler) -> None:
    """Limit the lines of one more handler of the root logger as those that `set_up_logging` sends to the stream."""
    for other in logging.getLogger().handlers:
        for limit in other.filters:
            if isinstance(limit, _DecideOnce):
                handler.addFilter(limit)


def _logger_and_first_line(record: logging.LogRecord) -> Hashable:
    """What lines have in common that repeat each other; asyncio puts what differs, such as addresses, on further lines."""
    return record.name, str(record.msg).partition("\n")[0]


class _LoggerFilter(logging.Filter):
    """Puts a filter before the records of one logger and those below it."""

    def __init__(self, name: str, inner: logging.Filter) -> None:
        super().__init__(name)
        self._inner = inner

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(not super().filter(record) or self._inner.filter(record))


class _DecideOnce(logging.Filter):
    """Passes records that all of `filters` pass; asks them once for each record, however many handlers it goes to."""

    def __init__(self, filters: list[logging.Filter]) -> None:
        super().__init__()
        self._filters = filters

    def filter(self, record: logging.LogRecord) -> bool:
        passed: bool | None = getattr(record, "within_limits", None)
        if passed is None:
            passed = record.within_limits = all(one.filter(record) for one in self._filters)
        return passed
