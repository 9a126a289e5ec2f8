"""Log lines: JSON for machines, and no flood of repetitions."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.log_levels import parse_levels
from forebay.stream.logs import MAX_REPEATS, OneOfMany, TextFormatter, set_up_logging, share_limits
from forebay.stream.telemetry.log_lines import TraceIds


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    named = [
        logging.getLogger(name)
        for name in ("", "aiokafka", "opentelemetry", "urllib3", "forebay.stream.commit", "forebay.stream.kafka")
    ]
    handlers, levels = root.handlers[:], [one.level for one in named]
    yield
    root.handlers[:] = handlers
    for one, level in zip(named, levels, strict=True):
        one.setLevel(level)


def test_json_lines_say_when_who_what_and_why() -> None:
    stream = io.StringIO()
    set_up_logging("info", "auto", stream=stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("forebay.stream.x").exception("it %s", "failed")
    logging.getLogger("forebay.stream.x").debug("not this")
    (line,) = stream.getvalue().splitlines()
    said = orjson.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "forebay.stream.x", "it failed")
    assert said["time"].endswith("+00:00") and "ValueError: bad" in said["exception"]


def test_the_clients_repetitions_are_kept_back_and_ours_are_not() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream=stream)
    for _ in range(5):
        logging.getLogger("aiokafka.conn").error("away")
        logging.getLogger("aiokafka.conn").info("chatter")
        logging.getLogger("forebay.stream.y").info("ours")
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


def test_lines_that_repeat_each_other_are_limited_whatever_their_logger() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream=stream)
    for number in range(MAX_REPEATS + 5):
        logging.getLogger("forebay.stream.y").warning("commit %d failed", number)
        logging.getLogger("asyncio").error(f"socket.accept() out of system resource\nsocket: <{number}>")
        logging.getLogger("aiohttp.server").error("Error handling request from %s", number)
    logging.getLogger("forebay.stream.y").warning("something else")
    lines = stream.getvalue().splitlines()
    assert sum("commit" in line for line in lines) == MAX_REPEATS
    assert sum("socket.accept()" in line for line in lines) == MAX_REPEATS
    assert sum("Error handling" in line for line in lines) == MAX_REPEATS
    assert "something else" in lines[-1]


def test_a_further_handler_gets_the_same_lines() -> None:
    stream, further = io.StringIO(), io.StringIO()
    set_up_logging("info", "text", stream=stream)
    handler = logging.StreamHandler(further)
    handler.setFormatter(TextFormatter())
    share_limits(handler)
    logging.getLogger().addHandler(handler)
    for _ in range(3 * MAX_REPEATS):
        logging.getLogger("asyncio").error("again")
        logging.getLogger("aiokafka.conn").error("away")
    assert stream.getvalue().count("again") == MAX_REPEATS
    assert stream.getvalue().count("away") == 1
    assert further.getvalue() == stream.getvalue()


def test_modules_have_levels_of_their_own() -> None:
    stream = io.StringIO()
    set_up_logging("warning,forebay.stream.kafka=debug,forebay.stream.commit=error", "text", stream=stream)
    for name in ("forebay.stream.kafka.source", "forebay.stream.commit", "forebay.stream.other"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s %s", name, logging.getLevelName(level))
    said = [line.split(": ")[1] for line in stream.getvalue().splitlines()]
    assert said == [
        *(f"forebay.stream.kafka.source {level}" for level in ("DEBUG", "INFO", "WARNING", "ERROR")),
        "forebay.stream.commit ERROR",
        "forebay.stream.other WARNING",
        "forebay.stream.other ERROR",
    ]


@pytest.mark.parametrize(
    "text", ["", "loud", "info,", "=debug", "forebay.stream.commit", "forebay.stream.commit=", "info;debug"]
)
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_levels(text)


def test_the_environment_chooses_levels() -> None:
    loaded = load_settings(None, {"FOREBAY_LOG": "info,forebay.stream.commit=debug"}, {})
    assert loaded.settings.log.level == "info,forebay.stream.commit=debug"
    assert loaded.origins["log.level"] == "environment FOREBAY_LOG"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_text_in_colour_unless_it_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    set_up_logging("info", "auto", stream=coloured)
    logging.getLogger("forebay.stream.x").error("bad")
    monkeypatch.setenv("NO_COLOR", "1")
    set_up_logging("info", "auto", stream=plain)
    logging.getLogger("forebay.stream.x").error("bad")
    assert "\x1b[31mERROR  \x1b[0m" in coloured.getvalue()
    assert plain.getvalue()[8:] == " ERROR   forebay.stream.x: bad\n"


def test_a_line_within_a_trace_tells_its_ids() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream=stream)
    logging.getLogger().handlers[0].addFilter(TraceIds())
    context = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(context)):
        logging.getLogger("forebay.stream.x").info("within")
    logging.getLogger("forebay.stream.x").info("without")
    within, without = map(orjson.loads, stream.getvalue().splitlines())
    assert (within["trace_id"], within["span_id"]) == (f"{0xA1:032x}", f"{0xB2:016x}")
    assert "trace_id" not in without


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "info,forebay.stream.comit=debug",
            "forebay.stream.comit logs nothing; what does is, for example, forebay.stream.commit",
        ),
        ("forebay.stream.window=debug", "forebay.stream.window logs nothing"),
        ("commit=debug", "there is no module commit; did you mean forebay.stream.commit?"),
        ("no such=debug", "there is no module no such"),
    ],
)
def test_a_level_of_what_does_not_log_is_a_mistake(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_LOG": text})
    assert reason in caught.value.problems[0]


@pytest.mark.parametrize(
    "module",
    [
        "forebay",
        "forebay.stream",
        "forebay.stream.kafka",
        "forebay.stream.commit",
        "aiokafka",
        "aiokafka.conn",
        "asyncio",
    ],
)
def test_a_level_of_what_logs_is_taken(module: str) -> None:
    assert parse_levels(f"info,{module}=debug")[module] == "debug"
