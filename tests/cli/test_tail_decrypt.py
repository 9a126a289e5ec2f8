"""`forebay tail --decrypt`: plain values are shown only if the user asks for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from forebay.schemas import headers as names_of_headers
from forebay.stream.cli import main
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.keyring import format_keyring
from forebay.stream.encryption.scope import header_ending
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.encryption.build import KEYRING, sealer

SOURCE = {"topic": "features", "partition": 0, "offset": 4}
PREDICTION = {"id": "e-1", "model": "m", "version": 3, "prediction": [0.25, 0.75], "confidence": 0.75, "source": SOURCE}
EVENT = {"id": "e-1", "timestamp": 1, "features": {"age": 48151.5, "wind": 2}}


def configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_bytes(format_keyring(KEYRING))
    (tmp_path / "forebay.toml").write_text(text)


def test_values_are_decrypted_only_on_request(
    embedded_broker: Broker,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    configuration(
        tmp_path,
        '[encryption]\nkeys_file = "keys.json"\ninput_fields = ["features.age"]\n'
        'prediction_fields = ["prediction", "confidence"]\n',
    )
    prefix = names("")
    kafka = KafkaSection(bootstrap_servers=embedded_broker.bootstrap)
    asyncio.run(create_topics(Settings(kafka=kafka, topics=TopicsSection(prefix=prefix, partitions=1))))
    predictions, features, letters = (names(name) for name in ("predictions", "features", "dead-letters"))
    sealed = DocumentSealer(predictions, ["prediction", "confidence"], id_field="id").seal(
        [json.dumps(PREDICTION).encode()], sealer("b")
    )[0]
    moved = json.dumps(json.loads(sealed) | {"id": "e-2"}).encode()
    event = DocumentSealer(features, ["features.age"], id_field="id").seal([json.dumps(EVENT).encode()], sealer())[0]
    # A dead letter of an event that was plain where a token must be.
    whole = sealer().seal(features, "*", [json.dumps(EVENT).encode()], [header_ending(b'"k"')])[0]
    error = {
        names_of_headers.ERROR_STAGE: b"decode",
        names_of_headers.ERROR_KIND: b"undecryptable",
        names_of_headers.ERROR_MESSAGE: b"not encrypted",
        names_of_headers.ERROR_TOPIC: features.encode(),
        names_of_headers.ERROR_PARTITION: b"0",
        names_of_headers.ERROR_OFFSET: b"1",
        names_of_headers.ERROR_TIMESTAMP: b"1",
    }

    async def send() -> None:
        async with producer(embedded_broker.bootstrap) as client:
            await send_batch(client, TopicPartition(predictions, 0), [sealed, moved])
            await send_batch(client, TopicPartition(features, 0), [event])
            await send_batch(client, TopicPartition(letters, 0), [whole], keys=[b"k"], headers=[list(error.items())])

    asyncio.run(send())
    capsys.readouterr()

    def shown(kind: str, limit: int, *options: str) -> str:
        arguments = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={prefix}"]
        follow = ["--from-beginning", "--limit", str(limit), "--timeout", "20"]
        assert main(["tail", kind, *follow, *arguments, *options]) == 0
        return capsys.readouterr().out

    for kind, limit in (("predictions", 2), ("features", 1), ("dead-letters", 1)):
        assert "eyJ" in shown(kind, limit) and "48151" not in shown(kind, limit, "--json")
    plain, refused = map(json.loads, shown("predictions", 2, "--decrypt", "--json").splitlines())
    assert plain["value"] == PREDICTION and "undecryptable" not in plain
    assert refused["undecryptable"] == "moved: the field prediction: the token belongs to another event"
    assert refused["value"]["prediction"].startswith("eyJ")
    first, second = shown("predictions", 2, "--decrypt").splitlines()
    assert "0.25, 0.75" in first and "not decrypted" not in first
    assert second.endswith("(not decrypted: moved: the field prediction: the token belongs to another event)")
    assert "48151.5" in shown("features", 1, "--decrypt") and "48151.5" in shown("dead-letters", 1, "--decrypt")


@pytest.mark.parametrize(
    ("text", "command", "message"),
    [
        ("", ["tail", "predictions"], "encryption.prediction_fields is empty"),
        (
            '[encryption]\nkeys_file="keys.json"\nprediction_fields=["*"]\n',
            ["tail", "features"],
            "input_fields is empty",
        ),
        ("", ["tail", "alerts"], "--decrypt is for predictions"),
    ],
)
def test_what_is_not_encrypted_by_the_configuration_is_refused(
    text: str,
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    configuration(tmp_path, text)
    assert main([*command, "--decrypt"]) == 2
    assert message in capsys.readouterr().err
