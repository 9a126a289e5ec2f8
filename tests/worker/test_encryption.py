"""A whole worker with encrypted events: planted values are in nothing that leaves it, also if the model quotes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.keyring import format_keyring
from tests.brokers.resolve import Broker
from tests.encryption.build import KEYRING, read_by_other, sealer
from tests.worker.echo import POISON, feature_hash
from tests.worker.harness import WorkerGroup, kinds, total

JULY = 1_372_636_800_000
PLANTED = "48151.625"
FEATURES = [{"name": name} for name in ("first", "secret", "other")]
TOPICS = ("predictions", "dead-letters", "outcome-deltas")


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: events are decrypted behind the consumer."""
    return embedded_broker


def event(number: int, first: float) -> dict[str, Any]:
    return {
        "id": f"e-{number}",
        "timestamp": JULY,
        "features": {"first": first, "secret": float(PLANTED), "other": number},
    }


async def test_planted_values_are_in_nothing_that_leaves_the_worker(worker_group: WorkerGroup, tmp_path: Path) -> None:
    await worker_group.create(partitions=1)
    (tmp_path / "keys.json").write_bytes(format_keyring(KEYRING))
    topic = worker_group.topic("features")
    documents = DocumentSealer(topic, ["features.secret"], id_field="id")
    good = [orjson.dumps(event(number, 1.0)) for number in range(40)]
    failing = [orjson.dumps(event(number, POISON)) for number in range(40, 50)]
    encrypted = documents.seal(good[:20], sealer("a")) + documents.seal([*good[20:], *failing], sealer("b"))
    wrong_type = orjson.loads(encrypted[0]) | {"id": "e-0"}
    wrong_type["features"]["other"] = PLANTED  # what is beside an encrypted field is not quoted, either
    moved = orjson.loads(encrypted[1]) | {"id": "e-2"}
    plain, broken = orjson.dumps(event(99, 1.0)), orjson.dumps(event(98, 1.0))[:-20]
    values = [*encrypted, orjson.dumps(moved), plain, broken]
    settings: dict[str, Any] = {
        "encryption": {
            "input_fields": ["features.secret"],
            "prediction_fields": ["prediction"],
            "keys_file": str(tmp_path / "keys.json"),
        }
    }
    worker = worker_group.start(models=[{"name": "echo", "mode": "quote", "features": FEATURES}], **settings)
    await worker.ready()
    await worker_group.send([values])
    await worker_group.settled_by(worker)

    outputs = {name: await worker_group.outputs(name) for name in TOPICS}
    for name, records in outputs.items():
        for record in records:
            text = repr((record.key, record.value, record.headers))
            assert PLANTED not in text and "48151" not in text, (name, text)
    assert "48151" not in worker.log
    assert kinds(outputs["dead-letters"]) == {"model_error": 10, "undecryptable": 3}
    assert total(outputs["outcome-deltas"], outcome="predicted") == 40
    by_id = {orjson.loads(record.value)["id"]: orjson.loads(record.value) for record in outputs["predictions"]}
    assert len(by_id) == 40
    for number in range(40):
        header, text = read_by_other(by_id[f"e-{number}"]["prediction"])
        assert header["scope"] == {
            "topic": worker_group.topic("predictions"),
            "field": "prediction",
            "id": f"e-{number}",
        }
        row = np.array([1.0, float(PLANTED), number], dtype=np.float32)
        assert json.loads(text) == [feature_hash(row)]

    # The dead letters hold what was encrypted; a plain event is encrypted as a whole, so that it can be replayed.
    letters = [record.value for record in outputs["dead-letters"]]
    assert letters[:11] == values[40:51]
    for value, original in zip(letters[11:], (plain, broken), strict=True):
        header, text = read_by_other(value.decode())
        assert header["scope"]["topic"] == topic and header["scope"]["field"] == "*" and text == original
    messages = [dict(record.headers)["forebay.error.message"].decode() for record in outputs["dead-letters"]]
    assert messages[10] == "moved: the field features.secret: the token belongs to another event"
    assert messages[11].startswith("not encrypted: the field features.secret")
    assert "withheld" in messages[0]
