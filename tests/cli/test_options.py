"""Options of several commands have the same names everywhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import click
import pytest

from forebay.stream.cli import main
from forebay.stream.cli.group import COMMANDS
from forebay.stream.cli.options import ConfigSource


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand with its name."""
    for name, entry in COMMANDS.items():
        command = importlib.import_module(entry.module).command
        yield name, command
        if isinstance(command, click.Group):
            for sub, subcommand in command.commands.items():
                yield f"{name} {sub}", subcommand


ALL = dict(commands())
ON_A_CLUSTER = (
    "run",
    "backfill",
    "aggregate",
    "check",
    "topics create",
    "topics check",
    "publish",
    "tail",
    "dlq list",
    "dlq show",
    "dlq stats",
    "dlq replay",
    "errors",
    "status",
    "bench",
    "demo",
    "demo flights",
)


def options_of(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option)]


@pytest.mark.parametrize("name", ON_A_CLUSTER)
def test_every_command_on_a_cluster_takes_the_broker(name: str) -> None:
    assert any("--bootstrap-server" in each.opts for each in options_of(ALL[name]))


@pytest.mark.parametrize("name", ALL)
def test_a_timeout_has_one_name_in_the_help_and_both_work(name: str) -> None:
    for option in options_of(ALL[name]):
        if "timeout" in "".join(option.opts):
            assert option.opts == ["--timeout", "--timeout-s"]
            record = option.get_help_record(click.Context(ALL[name]))
            assert record is not None and record[0] == "--timeout SECONDS"


@pytest.mark.parametrize("option", ["--timeout", "--timeout-s"])
def test_both_names_of_a_timeout_take_the_value(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "check", option, "soon"]) == 2
    assert "'soon' is not a valid float" in capsys.readouterr().err


def test_the_broker_option_applies_to_the_aggregator_too() -> None:
    source = ConfigSource(None, {}, {"log.level": "debug"}).with_broker("kafka:9092")
    assert source.arguments() == ["--set", "log.level=debug", "--set", "kafka.bootstrap_servers=kafka:9092"]
    assert ConfigSource(None, {}, {}).with_broker(None).arguments() == []


def test_bench_warns_of_too_few_events(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--events", "10", "--memory-events", "20", "--rate", "1", "--seconds", "5"]
    assert main(["bench", *few, "--bootstrap-server", "127.0.0.1:1"]) == 1
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.split()[1] for line in warnings] == ["--events", "--memory-events", "--rate"]
    enough = ["--events", "100000", "--memory-events", "0", "--rate", "0"]
    assert main(["bench", *enough, "--bootstrap-server", "127.0.0.1:1"]) == 1
    assert "warning" not in capsys.readouterr().err
