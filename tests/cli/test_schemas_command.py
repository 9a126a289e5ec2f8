"""The command `forebay schemas`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from forebay.schemas.definitions import definitions
from forebay.schemas.examples import bad_examples, good_examples
from forebay.stream.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder without a forebay.toml."""
    monkeypatch.chdir(tmp_path)


def out_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["schemas", *args]) == 0
    return capsys.readouterr().out


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out_of(capsys).splitlines()
    assert [line.split()[0] for line in lines[: len(definitions())]] == list(definitions())
    assert "(topic dead-letters)" in lines[3]


@pytest.mark.parametrize("name", definitions())
def test_a_name_prints_its_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(out_of(capsys, name)) == definitions()[name]


def test_examples_are_json_lines_and_bad_ones_say_how_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [json.loads(line) for line in out_of(capsys, "--examples").splitlines()]
    assert [one["example"] for one in shown] == [each.name for each in (*good_examples(), *bad_examples())]
    by_name = {one["example"]: one for one in shown}
    assert by_name["not-json-python"]["rejected_as"] == "not_json"
    assert "rejected_as" not in by_name["event-list"]
    assert by_name["tombstone"]["value"] is None and by_name["empty-value"]["value"] == ""
    originals = {each.name: each for each in (*good_examples(), *bad_examples())}
    for name, one in by_name.items():
        value = base64.b64decode(one["value_base64"]) if "value_base64" in one else one["value"]
        assert (value.encode() if isinstance(value, str) else value) == originals[name].value


def test_examples_of_one_schema(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [json.loads(line) for line in out_of(capsys, "prediction", "--examples").splitlines()]
    assert shown and {one["schema"] for one in shown} == {"prediction"}


def test_asyncapi_has_the_topics_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    report = out_of(
        capsys, "--asyncapi", "--set", "topics.prefix=a.", "--set", "kafka.bootstrap_servers=k1:1,k2:2",
        "--set", "kafka.group_id=g", "--set", "topics.partitions=9", "--set", "topics.replication_factor=3",
        "--set", "kafka.security_protocol=SASL_SSL", "--set", "kafka.sasl_mechanism=PLAIN",
        "--set", "kafka.sasl_username=u", "--set", "kafka.sasl_password=secret-p",
    )  # fmt: skip
    assert "secret-p" not in report
    document = json.loads(report)
    assert document["asyncapi"] == "3.0.0"
    channel = document["channels"]["features"]
    assert channel["address"] == "a.features"
    assert (channel["bindings"]["kafka"]["partitions"], channel["bindings"]["kafka"]["replicas"]) == (9, 3)
    security = [{"type": "plain"}]
    assert document["servers"]["broker-2"] == {"host": "k2:2", "protocol": "kafka-secure", "security": security}
    assert document["operations"]["receive-features"]["bindings"]["kafka"]["groupId"]["enum"] == ["g"]


@pytest.mark.parametrize("args", [["event", "--asyncapi"], ["--asyncapi", "--examples"], ["evnt"]])
def test_incompatible_options_are_a_usage_error(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schemas", *args]) == 2
    assert "Error: " in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schemas", "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out
