"""Log lines: JSON for machines, and a limit of repetitions."""

from __future__ import annotations

import ast
import io
import logging
from collections.abc import Iterator

import orjson
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.log_levels import parse_levels
from forebay.stream.config.loggers import LOGGERS, OLD_PACKAGE, OWN_PACKAGES, RENAMED
from forebay.stream.telemetry.log_setup import (
    MAX_REPEATS,
    RateLimitFilter,
    TextFormatter,
    set_up_logging,
    share_rate_limits,
)
from forebay.stream.telemetry.otlp_logs import TraceIds
from tests.source_files import ROOT, python_files


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [
        logging.getLogger(name)
        for name in ("", "aiokafka", "opentelemetry", "urllib3", "forebay.commit", "forebay.kafka")
    ]
    handlers, levels = root.handlers[:], [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_json_lines_have_time_logger_message_and_exception() -> None:
    stream = io.StringIO()
    set_up_logging("info", "auto", stream=stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("forebay.x").exception("it %s", "failed")
    logging.getLogger("forebay.x").debug("not this")
    (line,) = stream.getvalue().splitlines()
    record = orjson.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("error", "forebay.x", "it failed")
    assert record["time"].endswith("+00:00") and "ValueError: bad" in record["exception"]


def test_repeated_lines_of_the_client_are_suppressed_and_ours_are_not() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream=stream)
    for _ in range(5):
        logging.getLogger("aiokafka.conn").error("away")
        logging.getLogger("aiokafka.conn").info("chatter")
        logging.getLogger("forebay.y").info("ours")
    lines = stream.getvalue().splitlines()
    assert sum("away" in line for line in lines) == 1
    assert sum("ours" in line for line in lines) == 5
    assert not any("chatter" in line for line in lines)


def test_suppressed_lines_are_counted() -> None:
    limit = RateLimitFilter(10)

    def at(seconds: float, name: str = "a") -> logging.LogRecord:
        record = logging.LogRecord(name, logging.ERROR, "", 0, "away %d", (1,), None)
        record.created = seconds
        return record

    assert limit.filter(at(0)) and not limit.filter(at(1)) and not limit.filter(at(9)) and limit.filter(at(2, "b"))
    later = at(10)
    assert limit.filter(later) and later.getMessage() == "away 1 (and 2 more lines before)"
    last = at(20)
    assert limit.filter(last) and last.getMessage() == "away 1"


def test_repeated_lines_are_limited_for_every_logger() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream=stream)
    for number in range(MAX_REPEATS + 5):
        logging.getLogger("forebay.y").warning("commit %d failed", number)
        logging.getLogger("asyncio").error(f"socket.accept() out of system resource\nsocket: <{number}>")
        logging.getLogger("aiohttp.server").error("Error handling request from %s", number)
    logging.getLogger("forebay.y").warning("something else")
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
    share_rate_limits(handler)
    logging.getLogger().addHandler(handler)
    for _ in range(3 * MAX_REPEATS):
        logging.getLogger("asyncio").error("again")
        logging.getLogger("aiokafka.conn").error("away")
    assert stream.getvalue().count("again") == MAX_REPEATS
    assert stream.getvalue().count("away") == 1
    assert further.getvalue() == stream.getvalue()


def test_loggers_have_levels_of_their_own() -> None:
    stream = io.StringIO()
    set_up_logging("warning,forebay.kafka=debug,forebay.commit=error", "text", stream=stream)
    for name in ("forebay.kafka.topics", "forebay.commit", "forebay.other"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s %s", name, logging.getLevelName(level))
    logged = [line.split(": ")[1] for line in stream.getvalue().splitlines()]
    assert logged == [
        *(f"forebay.kafka.topics {level}" for level in ("DEBUG", "INFO", "WARNING", "ERROR")),
        "forebay.commit ERROR",
        "forebay.other WARNING",
        "forebay.other ERROR",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the value is empty; leave the setting out to use the default, info"),
        ("info,", "there is an empty entry; write one level or logger=level between two commas"),
        ("loud", "'loud' is not a level"),
        ("info;debug", "'info;debug' is not a level"),
        ("INFO", "'INFO' must be in lower case: info"),
        ("warn", "'warn' is not a level; did you mean warning?"),
        ("trace", "'trace' is not a level; did you mean debug?"),
        ("debg", "'debg' is not a level; did you mean debug?"),
        ("forebay.commit=WARNING", "in 'forebay.commit=WARNING', 'WARNING' must be in lower case: warning"),
        ("forebay.commit=loud", "in 'forebay.commit=loud', 'loud' is not a level"),
        ("=debug", "'=debug' has no logger before the equals sign"),
        ("forebay.commit=", "'forebay.commit=' has no level after the equals sign"),
        ("forebay.commit", "'forebay.commit' is a logger without a level; write forebay.commit=debug"),
        ("info,debug", "there are two levels for all loggers, info and debug; write one"),
        ("asyncio=info,asyncio=error", "there are two levels for asyncio, info and error; write one"),
    ],
)
def test_an_invalid_level_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_levels(text)
    assert str(caught.value) == reason


def test_the_environment_chooses_levels() -> None:
    loaded = load_settings(None, {"FOREBAY_LOG": "info,forebay.commit=debug"}, {})
    assert loaded.settings.log.level == "info,forebay.commit=debug"
    assert loaded.origins["log.level"] == "environment FOREBAY_LOG"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_coloured_text_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    set_up_logging("info", "auto", stream=coloured)
    logging.getLogger("forebay.x").error("bad")
    monkeypatch.setenv("NO_COLOR", "1")
    set_up_logging("info", "auto", stream=plain)
    logging.getLogger("forebay.x").error("bad")
    assert "\x1b[31mERROR  \x1b[0m" in coloured.getvalue()
    assert plain.getvalue()[8:] == " ERROR   forebay.x: bad\n"


def test_a_line_within_a_trace_has_its_ids() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream=stream)
    logging.getLogger().handlers[0].addFilter(TraceIds())
    context = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(context)):
        logging.getLogger("forebay.x").info("within")
    logging.getLogger("forebay.x").info("without")
    within, without = map(orjson.loads, stream.getvalue().splitlines())
    assert (within["trace_id"], within["span_id"]) == (f"{0xA1:032x}", f"{0xB2:016x}")
    assert "trace_id" not in without


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("info,forebay.comit=debug", "there is no logger forebay.comit; did you mean forebay.commit?"),
        ("Forebay.Kafka=debug", "there is no logger Forebay.Kafka; did you mean forebay.kafka?"),
        (
            "forebay.nothing.like.it=debug",
            "there is no logger forebay.nothing.like.it; the loggers are forebay.worker,",
        ),
        ("commit=debug", "there is no logger commit; did you mean forebay.commit?"),
        (f"{OLD_PACKAGE}.comit=debug", "comit; did you mean forebay.commit?"),
        ("models.nets=debug", "there is no logger models.nets; the loggers are forebay.worker,"),
        ("no such=debug", "there is no logger no such, and no package no such is installed"),
        ("asynco=debug", "there is no logger asynco, and no package asynco is installed"),
        ("forebay.stream=debug", "forebay.stream is a module, not a logger; it logs to forebay)"),
        ("forebay.stream.config=debug", "forebay.stream.config is a module, not a logger; it logs nothing"),
        (
            "forebay.models=debug",
            "forebay.models is a module, not a logger; it logs to forebay.model, forebay.repository",
        ),
    ],
)
def test_a_level_of_an_unknown_logger_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_LOG": text})
    assert reason in caught.value.problems[0]


@pytest.mark.parametrize(
    "module", ["forebay", "forebay.kafka", "forebay.commit", "aiokafka", "aiokafka.conn", "asyncio"]
)
def test_a_level_of_a_known_logger_is_accepted(module: str) -> None:
    assert parse_levels(f"info,{module}=debug")[module] == "debug"


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_name_is_refused_with_its_successor(former: str) -> None:
    name = f"{OLD_PACKAGE}.{former}".rstrip(".")
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_LOG": f"info,{name}=debug"})
    successor = RENAMED[former]
    assert f"the logger {name} is now called {successor}" in caught.value.problems[0]
    for name in successor.split(" and "):
        assert parse_levels(f"{name}=debug")[name] == "debug"


def test_the_name_of_a_module_is_refused_with_the_loggers_of_the_module() -> None:
    checked = 0
    for path in python_files():
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        used = [name for name in logger_names(path.read_text()) if name in LOGGERS]
        if used and module.partition(".")[0] == OLD_PACKAGE:
            checked += 1
            for name in (f"forebay.{module}", module):
                if module.removeprefix(f"{OLD_PACKAGE}.") in RENAMED and name == module:
                    continue  # a former name too
                with pytest.raises(ValueError) as caught:
                    parse_levels(f"{name}=debug")
                assert str(caught.value).startswith(f"{name} is a module, not a logger; it logs to {used[0]}")
    assert checked > 20


def test_the_former_names_are_those_of_modules_in_one_package() -> None:
    assert OLD_PACKAGE.isidentifier()  # and not a package within `forebay`, because no logger is named after one
    assert (RENAMED["refusals"], RENAMED["kafka.layout"]) == ("forebay.commit", "forebay.kafka.topics")
    assert all(part.isidentifier() for name in RENAMED if name for part in name.split("."))


def logger_names(source: str) -> list[str]:
    """Return the arguments of `getLogger` calls: names of loggers, or the source of other expressions."""
    if "getLogger" not in source:
        return []
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    arguments = [call.args[0] for call in calls if ast.unparse(call.func).split(".")[-1] == "getLogger"]
    return [
        str(argument.value) if isinstance(argument, ast.Constant) else f"<{ast.unparse(argument)}>"
        for argument in arguments
    ]


def test_the_table_lists_exactly_the_loggers_of_the_code() -> None:
    names = {name for path in python_files() for name in logger_names(path.read_text())}
    assert {name for name in names if name.partition(".")[0] == "forebay"} - {"forebay"} == set(LOGGERS)
    assert names.isdisjoint({"<__name__>", "<__package__>", "<__file__>"})
    assert not {name for name in names if name.partition(".")[0] in OWN_PACKAGES}


def test_the_scan_for_loggers_finds_them() -> None:
    source = "a = logging.getLogger('forebay.x')\nclass B:\n    log = getLogger(__name__)\nlogging.getLogger()"
    assert logger_names(source) == ["forebay.x", "<__name__>"]


def test_the_documentation_lists_the_loggers() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    for name, logged in LOGGERS.items():
        assert f"| `{name}` | {logged} |" in text
