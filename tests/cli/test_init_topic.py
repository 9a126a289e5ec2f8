"""`forebay init --from-topic` on the embedded broker: what is shown, written, refused."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forebay import Feature, Signature, register
from forebay.models.registration.signature_file import read_signature_file
from forebay.schemas.errors import ModelError
from forebay.stream.cli import main
from forebay.stream.core.clock import SystemClock
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.registry.stub import StubRegistry
from tests.registry.threaded import threaded_registry

NOW_MS = SystemClock().wall_ms()

Fill = Callable[[str, Sequence[bytes | None]], str]
Run = Callable[..., tuple[str, str]]


def order(number: int) -> bytes:
    return json.dumps(
        {
            "order": {"id": 4711 + number, "at": NOW_MS - number, "total": number / 4},
            "customer": {"age": None if number % 10 == 0 else 20 + number, "country": ("DE", "CH")[number % 2]},
        }
    ).encode()


@pytest.fixture
def fill(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Work in an empty folder; return what fills a topic of two partitions and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_KAFKA__BOOTSTRAP_SERVERS", embedded_broker.bootstrap)

    def fill(name: str, values: Sequence[bytes | None]) -> str:
        async def send() -> None:
            partitions = await create_topic(embedded_broker.bootstrap, names(name), 2)
            async with producer(embedded_broker.bootstrap) as writer:
                for partition, part in zip(partitions, (values[::2], values[1::2]), strict=True):
                    if part:
                        await send_batch(
                            writer, partition, part, keys=[b"k"] * len(part), timestamps=[NOW_MS] * len(part)
                        )

        asyncio.run(send())
        return names(name)

    return fill


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        """Run `forebay init --from-topic` and return its output and errors."""
        assert main(["init", "--from-topic", *arguments]) == status
        done = capsys.readouterr()
        assert "Traceback" not in done.err
        return done.out, done.err

    return run


def test_a_configuration_and_a_signature_are_written_and_read_the_sample(fill: Fill, run: Run, tmp_path: Path) -> None:
    topic = fill("orders", [order(number) for number in range(60)])
    out, _ = run(topic)
    assert "60 events of at most 60, json" in out
    assert "✓ a worker with this configuration reads all 60 events of the sample" in out
    assert "forebay models register MODEL --name NAME --signature signature.json" in out
    settings = tomllib.loads((tmp_path / "forebay.toml").read_text())
    assert settings["input"]["topics"] == [topic]
    assert settings["input"]["mapping"] == {
        "id": "field:order.id",
        "timestamp": "field:order.at",
        "features": "",
        "fields": {"total": "order.total", "age": "customer.age", "country": "customer.country"},
    }
    features = read_signature_file(tmp_path / "signature.json")
    assert features == (
        Feature("total"),
        Feature("age", nullable=True),
        Feature("country", "category", ("CH", "DE")),
    )
    before = (tmp_path / "forebay.toml").read_text()
    _, err = run(topic, status=2)
    assert "forebay.toml already exists" in err and (tmp_path / "forebay.toml").read_text() == before
    assert main(["config"]) == 0


def test_the_features_of_a_registered_model_are_looked_for(fill: Fill, run: Run, tmp_path: Path) -> None:
    topic = fill("orders", [order(number) for number in range(60)])
    (tmp_path / "score.py").write_text("def predict(x):\n    return x[:, 0] > 3\n")
    features = (Feature("total"), Feature("customer_age"), Feature("weight"))
    register(tmp_path / "score.py", name="score", signature=Signature(features, (3,), "binary", 1))
    out, _ = run(topic, "--json")
    document = json.loads(out)
    assert document["model"] == "score" and document["missing_features"] == ["weight"]
    assert document["check"] == {"accepted": 0, "rejected": {"missing_field": 60}}
    text = (tmp_path / "forebay.toml").read_text()
    assert document["files"] == ["forebay.toml"] and document["configuration"] == text
    settings = tomllib.loads(text)
    assert settings["model"]["name"] == "score" and settings["input"]["mapping"]["fields"] == {"total": "order.total"}
    assert '# ? customer_age = "customer.age"' in text and "# weight = ...  # no field has a similar name" in text


def test_a_format_is_found_by_the_bytes_and_mixed_topics_are_counted(fill: Fill, run: Run, tmp_path: Path) -> None:
    packed = [msgspec.msgpack.encode({"id": f"e{number}", "x": number / 2}) for number in range(30)]
    out, _ = run(fill("packed", packed), "-o", "packed.toml", "--signature", "packed.json")
    assert "30 events of at most 30, msgpack" in out and "reads all 30 events" in out
    assert tomllib.loads((tmp_path / "packed.toml").read_text())["input"]["format"] == "msgpack"
    values = [[b"bad", None, order(number)][number % 3] for number in range(60)]
    out, _ = run(fill("mixed", values), "--json")
    document = json.loads(out)
    assert document["events"] == {"read": 60, "in_topic": 60, "unread": 20, "without_value": 20, "too_large": 0}
    assert document["check"] == {"accepted": 20, "rejected": {"not_json": 20, "empty_value": 20}}


def test_what_cannot_be_looked_at_is_refused_with_a_remedy(fill: Fill, run: Run, tmp_path: Path) -> None:
    _, err = run(fill("csv", [b"1,2,3"] * 4), status=1)
    assert "none of 4 events can be read: they are CSV lines" in err and "forebay publish FILE" in err
    _, err = run(fill("empty", []), status=1)
    assert "the topic is empty" in err
    _, err = run(fill("tombstones", [None, None]), status=1)
    assert "all 2 events are tombstones" in err
    _, err = run(fill("huge", [b'{"x": "' + b"x" * 2000 + b'"}'] * 2), "--set", "input.max_event_bytes=1000", status=1)
    assert "larger than input.max_event_bytes" in err
    _, err = run(fill("framed", [b"\0\0\0\0\x01abc"] * 2), status=1)
    assert "prefix of a schema registry" in err and "schema_registry.urls" in err
    assert not list(tmp_path.iterdir())


def test_avro_with_a_registry(fill: Fill, run: Run, tmp_path: Path) -> None:
    import io

    import fastavro

    fields = [
        {"name": "order_id", "type": "string"},
        {"name": "x", "type": "double"},
        {"name": "y", "type": ["null", "int"]},
    ]
    schema = {"type": "record", "name": "Order", "fields": fields}

    def encoded(number: int) -> bytes:
        buffer = io.BytesIO()
        row = {"order_id": f"o{number}", "x": number / 2, "y": None if number % 5 == 0 else number}
        fastavro.schemaless_writer(buffer, schema, row)
        return b"\0" + (1).to_bytes(4, "big") + buffer.getvalue()

    stub: StubRegistry
    with threaded_registry() as stub:
        stub.add("orders-value", json.dumps(schema))
        topic = fill("avro", [encoded(number) for number in range(20)])
        out, _ = run(topic, "--set", f"schema_registry.urls={stub.url}")
    assert "avro" in out and "reads all 20 events" in out
    settings: Any = tomllib.loads((tmp_path / "forebay.toml").read_text())
    assert settings["schema_registry"]["urls"] == [stub.url]
    assert settings["input"]["mapping"]["id"] == "field:order_id"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no key features"),
        ('{"features": []}', "not a list of features"),
        ('{"features": [1]}', "features"),
        ('{"features": [{"name": "a", "dtype": "double"}]}', "dtype"),
        ('{"features": [{"name": "a", "kind": 1}]}', "kind"),
        ('{"features": [{"name": "a"}], "task": "binary"}', "a.json"),
    ],
)
def test_a_signature_file_that_is_wrong_is_refused_by_its_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        read_signature_file(tmp_path / "a.json")
    assert message in caught.value.message and "a.json" in caught.value.message
