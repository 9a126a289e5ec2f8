"""Log lines: JSON for machines, and no flood of repetitions."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest

from stream.logs import OneOfMany, set_up_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, client = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, levels = root.handlers[:], (root.level, client.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    client.setLevel(levels[1])


def test_json_lines_say_when_who_what_and_why() -> None:
    stream = io.StringIO()
    set_up_logging("info", "auto", stream=stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("stream.x").exception("it %s", "failed")
    logging.getLogger("stream.x").debug("not this")
    (line,) = stream.getvalue().splitlines()
    said = orjson.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "stream.x", "it failed")
    assert said["time"].endswith("+00:00") and "ValueError: bad" in said["exception"]


def test_the_clients_repetitions_are_kept_back_and_ours_are_not() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream=stream)
    for _ in range(5):
        logging.getLogger("aiokafka.conn").error("away")
        logging.getLogger("aiokafka.conn").info("chatter")
        logging.getLogger("stream.y").info("ours")
    lines = stream.getvalue().splitlines()
    assert sum("away" in line for line in lines) == 1
    assert sum("ours" in line for line in lines) == 5
    assert not any("chatter" in line for line in lines)


def test_what_was_kept_back_is_counted() -> None:
    one = OneOfMany(10)

    def at(seconds: float, name: str = "a") -> logging.LogRecord:
        record = logging.LogRecord(name, logging.ERROR, "", 0, "away %d", (1,), None)
        record.created = seconds
        return record

    assert one.filter(at(0)) and not one.filter(at(1)) and not one.filter(at(9)) and one.filter(at(2, "b"))
    later = at(10)
    assert one.filter(later) and later.getMessage() == "away 1 (and 2 lines more before)"
    last = at(20)
    assert one.filter(last) and last.getMessage() == "away 1"
