"""The command `forebay topics`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from forebay.stream.cli import main
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder without a forebay.toml."""
    monkeypatch.chdir(tmp_path)


def test_create_check_and_create_again(
    embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
    assert main(["topics", "check", *where]) == 1
    assert f"error: {names('features')}: there is no such topic" in capsys.readouterr().out
    assert main(["topics", "create", *where, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("would create") == 7
    assert main(["topics", "create", *where, "--json"]) == 0
    created = json.loads(capsys.readouterr().out)
    assert [one["status"] for one in created] == ["created"] * 7
    assert created[6]["configs"]["cleanup.policy"] == "compact" and created[6]["partitions"] == 4
    assert created[0]["topic"] == names("features") and created[0]["configs"]["cleanup.policy"] == "delete"
    assert main(["topics", "check", *where]) == 0
    out = capsys.readouterr().out
    assert (
        out.count(" ok ") == 7
        and "forever, compacted" not in out
        and "7 days" in out
        and "30 days" in out
        and "1,114,112 bytes" in out
    )
    assert main(["topics", "create", *where, "--set", "topics.partitions=2"]) == 0
    assert f"differs: {names('features')}: partitions is 4, not 2" in capsys.readouterr().out


def test_check_gives_json(embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
    assert main(["topics", "check", *where, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [topic["status"] for topic in answer["topics"]] == ["missing"] * 7
    assert answer["findings"][0]["remedy"] == "`forebay topics create` creates what is missing"
    assert [finding["severity"] for finding in answer["findings"]] == ["error"] * 4 + ["warning"] * 3


def test_what_would_count_wrong_fails_the_check(
    embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
    asyncio.run(create_topic(embedded_broker.bootstrap, names("aggregator-changelog"), 2))
    assert main(["topics", "create", *where]) == 0
    assert f"differs: {names('aggregator-changelog')}: partitions is 2, not 4" in capsys.readouterr().out
    assert main(["topics", "check", *where]) == 1
    out = capsys.readouterr().out
    assert f"error: {names('aggregator-changelog')}: has 2 partitions, but {names('outcome-deltas')} has 4" in out
    assert f"hint: delete {names('aggregator-changelog')}: `forebay aggregate` creates it again" in out


def test_names_are_not_cut_on_a_narrow_terminal(
    embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    prefix = names("") + "a-team-with-a-long-name.production."
    args = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={prefix}"]
    assert main(["topics", "create", *args, "--dry-run"]) == 0
    assert f"{prefix}outcome-deltas" in capsys.readouterr().out


def test_what_the_cluster_refuses_fails_the_command(
    embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
    assert main(["topics", "create", *where, "--set", "topics.replication_factor=5"]) == 1
    assert f"refused: {names('features')}: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["create", "check"])
def test_an_unreachable_broker_is_one_red_line(
    command: str, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topics", command, "--bootstrap-server", f"127.0.0.1:{unused_tcp_port}"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: cannot reach Kafka") and "Traceback" not in output.err


def test_a_wrong_setting_is_a_configuration_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "check", "--set", "topics.prefix=a b"]) == 2
    assert "topics.prefix" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["create"], ["check"]])
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", *command, "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out
