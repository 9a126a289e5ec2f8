"""The JSON log of a worker, and checks that lines do not repeat too often, by logger, key and time."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import orjson

CLIENT: Final = "aiokafka"
AWAY: Final = "no broker answers since"
BACK: Final = ("the cluster answers again", "stopping: draining")
"""Messages after which the client may log again; a worker permits it while it stops."""


class LogLine(NamedTuple):
    """One log line. key: the start of the message up to a colon, with numbers replaced by #."""

    time_s: float
    logger: str
    key: str
    message: str


def read_log(log: str) -> list[LogLine]:
    """Return the JSON lines of `log`, without other output of the process."""
    lines = []
    for text in log.splitlines():
        if text.startswith("{"):
            line = orjson.loads(text)
            key = re.sub(r"\d+", "#", line["message"].partition(":")[0])
            time_s = datetime.fromisoformat(line["time"]).timestamp()
            lines.append(LogLine(time_s, line["logger"], key, line["message"]))
    assert lines, f"no JSON lines: the worker must be started with log={{'format': 'json'}}\n{log}"
    return lines


def starting(lines: Sequence[LogLine], words: str) -> list[LogLine]:
    """Return the lines whose message starts with `words`."""
    return [line for line in lines if line.message.startswith(words)]


def is_client(line: LogLine) -> bool:
    """Return whether the Kafka client logged this line."""
    return line.logger == CLIENT or line.logger.startswith(f"{CLIENT}.")


def check_client_lines(lines: Sequence[LogLine], *, every_s: float) -> None:
    """Check that the client logs nothing while no broker answers, and otherwise one line per logger in `every_s` at most."""
    last_s: dict[str, float] = defaultdict(lambda: float("-inf"))
    away = False
    for line in lines:
        if line.message.startswith(AWAY):
            away = True
        elif line.message.startswith(BACK):
            away = False
        elif is_client(line):
            assert not away, f"logged while no broker answers: {line}"
            # Times are written in milliseconds.
            assert line.time_s - last_s[line.logger] >= every_s - 0.002, (
                f"logged less than {every_s:g} s after the last line: {line}"
            )
            last_s[line.logger] = line.time_s


def repetitions(lines: Iterable[LogLine]) -> Counter[tuple[str, str]]:
    """Return the number of lines per logger and key, without those of the client."""
    return Counter((line.logger, line.key) for line in lines if not is_client(line))
