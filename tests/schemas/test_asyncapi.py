"""The AsyncAPI document is valid by AsyncAPI's own schema, and complete."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from forebay.schemas.asyncapi import Deployment, asyncapi_document
from forebay.schemas.definitions import definitions
from forebay.schemas.errors import ConfigError
from forebay.schemas.examples import good_examples
from forebay.schemas.topics import ALL_TOPICS

OFFICIAL = Path(__file__).parent / "data" / "asyncapi-3.0.0.json.gz"

SHARED = Deployment(
    bootstrap_servers="kafka-1:9093, kafka-2:9093",
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    group_id="scoring",
    prefix="team-a.",
    input_topics=("flights", "delays"),
    partitions=12,
    replication_factor=3,
)


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    return Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


def document(deployment: Deployment | None = None) -> dict[str, Any]:
    return asyncapi_document("1.2.3", deployment)


def resolve(whole: dict[str, Any], reference: dict[str, str]) -> Any:
    found: Any = whole
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


@pytest.mark.parametrize("deployment", [None, SHARED], ids=["default", "shared"])
def test_the_document_is_valid_by_the_official_schema(official: Draft7Validator, deployment: Deployment | None) -> None:
    assert [f"{list(error.path)}: {error.message}" for error in official.iter_errors(document(deployment))] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("info"),
        lambda d: d["channels"]["features"].update(adress="typo"),
        lambda d: d["channels"]["features"]["bindings"]["kafka"].update(partitions=0),
        lambda d: d["operations"]["receive-features"].update(action="publish"),
        lambda d: d["components"]["messages"]["prediction"].update(payload={"type": "strnig"}),
    ],
)
def test_the_official_schema_finds_errors(official: Draft7Validator, spoil: Callable[[Any], object]) -> None:
    spoilt = copy.deepcopy(document())
    spoil(spoilt)
    assert not official.is_valid(spoilt)


def test_every_topic_is_a_channel_with_its_settings() -> None:
    whole = document(SHARED)
    assert list(whole["channels"]) == ["flights", "delays", *(spec.name for spec in ALL_TOPICS[1:])]
    for spec in ALL_TOPICS:
        channel = whole["channels"]["flights" if spec.name == "features" else spec.name]
        kafka = channel["bindings"]["kafka"]
        assert channel["address"] == kafka["topic"] and channel["address"].startswith("team-a.")
        assert kafka["topicConfiguration"] == {
            "cleanup.policy": [spec.cleanup_policy],
            "retention.ms": spec.retention_ms,
        }
        assert kafka["partitions"] == (spec.partitions or 12) and kafka["replicas"] == 3


def test_events_are_received_and_the_rest_is_sent() -> None:
    operations = document()["operations"]
    assert {name: operation["action"] for name, operation in operations.items()} == {
        "receive-features": "receive",
        "send-predictions": "send",
        "send-dead-letters": "send",
        "send-outcome-deltas": "send",
        "send-late-events": "send",
        "send-review": "send",
        "send-rollouts": "send",
        "send-rollout-switches": "send",
        "send-shadow-predictions": "send",
        "receive-labels": "receive",
        "send-quality": "send",
        "send-drift": "send",
        "send-audit": "send",
        "send-error-aggregates": "send",
        "send-alerts": "send",
        "send-aggregator-changelog": "send",
    }
    assert operations["receive-features"]["bindings"]["kafka"]["groupId"]["enum"] == ["forebay"]
    assert operations["receive-labels"]["bindings"]["kafka"]["groupId"]["enum"] == ["forebay-evaluate"]


def test_every_reference_resolves() -> None:
    whole = document(SHARED)
    for operation in whole["operations"].values():
        channel = resolve(whole, operation["channel"])
        for reference in operation["messages"]:
            assert resolve(whole, resolve(whole, reference))["name"] in channel["messages"]


def test_messages_carry_the_definitions_and_all_good_examples() -> None:
    messages = document()["components"]["messages"]
    shown = [example["name"] for message in messages.values() for example in message["examples"]]
    assert sorted(shown) == sorted(example.name for example in good_examples())
    for name in ("event", "prediction", "outcome-delta", "error-aggregate", "alert"):
        expected = {key: value for key, value in definitions()[name].items() if not key.startswith("$")}
        assert messages[name]["payload"] == expected
    of_events = list(messages["event"]["headers"]["properties"])
    assert of_events[:3] == ["forebay-model", "forebay-priority", "traceparent"]
    assert messages["dead-letter"]["headers"]["required"][0] == "forebay.error.stage"


def test_servers_are_the_brokers_with_their_security() -> None:
    server = {"protocol": "kafka-secure", "security": [{"type": "scramSha512"}]}
    assert document(SHARED)["servers"] == {
        "broker-1": {"host": "kafka-1:9093", **server},
        "broker-2": {"host": "kafka-2:9093", **server},
    }
    assert document()["servers"] == {"broker-1": {"host": "localhost:9092", "protocol": "kafka"}}


def test_an_invalid_prefix_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        document(Deployment(prefix="a b"))
