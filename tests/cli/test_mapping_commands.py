"""The mapping in `forebay check` and `forebay init`: by the schema of a subject, or by a sample."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.binary_outputs import proto_text
from forebay.stream.cli import main
from tests.models.build import make_net
from tests.models.build import publish as publish_model
from tests.registry.stub import StubRegistry
from tests.registry.threaded import threaded_registry

SIGNATURE = Signature((Feature("age"), Feature("distance")), (2,), "binary", 1)
SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "age", "type": "int"},
        {"name": "distance_km", "type": "double"},
    ],
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubRegistry]:
    monkeypatch.chdir(tmp_path)
    publish_model(
        tmp_path / "models", "m", net=make_net(2, 1), signature=SIGNATURE, preprocessing=Preprocessing.identity()
    )
    for name, value in (("MODEL__NAME", "m"), ("MODEL__REPOSITORY", str(tmp_path / "models"))):
        monkeypatch.setenv(f"FOREBAY_{name}", value)
    # Nothing listens there: the checks of the cluster fail, and are not looked at.
    monkeypatch.setenv("FOREBAY_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
    with threaded_registry() as stub:
        monkeypatch.setenv("FOREBAY_SCHEMA_REGISTRY__URLS", stub.url)
        yield stub


def check(capsys: pytest.CaptureFixture[str], *arguments: str, name: str = "mapping") -> list[dict[str, Any]]:
    """Return the checks of mappings, or of another name."""
    assert main(["check", "--json", "--timeout", "0.2", *arguments]) == 1
    return [one for one in json.loads(capsys.readouterr().out)["checks"] if one["name"] == name]


def test_what_a_format_needs_and_does_not_have_is_named(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "forebay.toml"
    settings.write_text('[input]\nformat = "avro"\navro_schemas = ["absent.avsc"]\n')
    (found,) = check(capsys, name="formats")
    assert found["status"] == "failed" and "absent.avsc" in found["detail"]
    registry.add("features-value", json.dumps(SCHEMA))
    monkeypatch.setitem(sys.modules, "fastavro", None)
    settings.write_text('[input]\nformat = "avro"\n')
    (found,) = check(capsys, name="formats")
    assert "fastavro" in found["detail"] and "[avro]" in found["remedy"]
    settings.write_text("")  # its registry may bring events in Avro
    (found,) = check(capsys, name="formats")
    assert "fastavro" in found["detail"] and "[avro]" in found["remedy"]
    assert main(["init", "--from-subject", "features-value", "-o", "-"]) != 0
    assert "[avro]" in capsys.readouterr().err


def test_check_shows_the_mapping_by_the_schema_of_the_topic(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    registry.add("features-value", json.dumps(SCHEMA))
    (found,) = check(capsys)
    assert found["status"] == "failed"
    assert found["detail"] == "features: 1 of 2 features have no field in subject features-value, version 1 (AVRO)"
    assert 'distance_km (double, similar name)? [input.mapping.fields] distance = "distance_km"' in found["problems"][0]
    (tmp_path / "forebay.toml").write_text('[input.mapping.fields]\ndistance = "distance_km"\n')
    (found,) = check(capsys)
    assert found["status"] == "ok" and "distance <- distance_km (double)" in found["problems"]


@pytest.mark.parametrize(("format_name", "status"), [("auto", "skipped"), ("avro", "warning"), ("msgpack", None)])
def test_check_says_what_to_do_if_the_registry_lacks_the_schema_of_a_topic(
    format_name: str, status: str | None, registry: StubRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "forebay.toml").write_text(f'[input]\nformat = "{format_name}"\n')
    found = check(capsys)
    assert [one["status"] for one in found] == ([] if status is None else [status])
    for one in found:
        assert "features: the schema registry has no subject features-value" in one["detail"]
        assert "forebay schemas register --subject features-value" in one["remedy"]
        assert ("records wait" in one["detail"]) == (status == "warning")


def test_check_names_the_extras_that_a_registry_may_need(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    (found,) = check(capsys, name="formats")
    assert found["status"] == "failed" and "[json-schema]" in found["remedy"]


def test_the_subject_and_the_reader_schema_of_a_topic_can_be_named(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "forebay.toml").write_text('[input.subjects]\nfeatures = "flights"\n')
    (found,) = check(capsys)
    assert found["status"] == "failed" and "no subject flights, which input.subjects names" in found["detail"]
    registry.add("flights", json.dumps(SCHEMA))
    (found,) = check(capsys)
    assert "in subject flights, version 1" in found["detail"]
    (tmp_path / "reader.avsc").write_text(json.dumps(SCHEMA).replace("distance_km", "distance"))
    (tmp_path / "forebay.toml").write_text(
        '[input.subjects]\nfeatures = "flights"\n[input.reader_schemas]\nfeatures = "reader.avsc"\n'
    )
    (found,) = check(capsys)
    assert (found["status"], found["detail"]) == ("ok", "features: by the reader schema reader.avsc")


def test_check_shows_the_mapping_by_a_sample(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "event.json").write_text('{"id": "e", "features": {"age": 3, "distance": 1.5}}\n{"id": "f"}\n')
    (found,) = check(capsys, "--sample", "event.json")
    assert found["status"] == "ok" and "age <- features.age (number)" in found["problems"]
    (tmp_path / "event.json").write_bytes(b"\xff")
    (found,) = check(capsys, "--sample", "event.json")
    assert found["status"] == "failed" and "event.json is not a record of features" in found["detail"]


def test_init_writes_a_proposed_mapping_and_marks_guesses(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.add("features-value", json.dumps(SCHEMA))
    assert main(["init", "-o", "new.toml", "--from-subject", "features-value"]) == 0
    text = Path("new.toml").read_text()
    assert '# ? distance = "distance_km"  # double, similar name' in text
    assert "mapping" not in tomllib.loads(text)["input"], "what is found by its name needs no setting"
    capsys.readouterr()
    (found,) = check(capsys, "-c", "new.toml")
    assert found["status"] == "failed", "a guess is not applied"
    Path("new.toml").write_text(text.replace("# ? ", ""))
    (found,) = check(capsys, "-c", "new.toml")
    assert found["status"] == "ok"
    assert main(["init", "-o", "-", "--from-subject", "nowhere"]) == 2
    assert "no subject nowhere" in capsys.readouterr().err


def proposed(registry: StubRegistry, fields: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the proposed mapping for a schema with these fields."""
    registry.subjects.clear()
    registry.add("features-value", json.dumps({"type": "record", "name": "Event", "fields": fields}))
    assert main(["init", "-o", "-", "--from-subject", "features-value"]) == 0
    text = capsys.readouterr().out
    return text[text.index("# Where the parts of an event are, proposed") :]


def field(name: str, kind: Any = "double", **properties: str) -> dict[str, Any]:
    return {"name": name, "type": kind, **properties}


def test_init_writes_only_settings_that_have_an_effect(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    text = proposed(registry, [field("id", "string"), field("age"), field("distance")], capsys)
    assert "No setting is needed" in text and tomllib.loads(text) == {}
    # The schema itself says what the fields are for.
    text = proposed(registry, [field("years", **{"forebay.feature": "age"}), field("distance")], capsys)
    assert "No setting is needed" in text and tomllib.loads(text) == {}
    text = proposed(registry, [field("Age"), field("km")], capsys)
    assert tomllib.loads(text) == {"input": {"mapping": {"fields": {"age": "Age"}}}}
    assert "# distance = ...  # no field has a similar name" in text


def test_init_writes_the_roles_that_it_finds(registry: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    user = {"type": "record", "name": "User", "fields": [field("key", "string"), field("age")]}
    time = field("created", {"type": "long", "logicalType": "timestamp-millis"}, **{"forebay.role": "timestamp"})
    order = field("order_id", "string", **{"forebay.role": "id"})
    text = proposed(registry, [field("user", user), order, time, field("distance"), field("id", "string")], capsys)
    assert tomllib.loads(text)["input"]["mapping"] == {
        "id": "field:order_id",
        "timestamp": "field:created",
        "key": "field:user.key",
        "fields": {"age": "user.age"},
    }
    assert 'id = "field:order_id"  # as the schema says' in text


def test_check_says_whether_the_registry_has_the_schema_of_predictions(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(capsys, name="outputs") == []
    monkeypatch.setenv("FOREBAY_OUTPUT__FORMAT", "protobuf")
    (found,) = check(capsys, name="outputs")
    assert found["status"] == "failed" and "schemas register --outputs" in found["remedy"]
    registry.add("predictions-value", proto_text("prediction"), "PROTOBUF")
    (found,) = check(capsys, name="outputs")
    assert (found["status"], found["detail"]) == ("ok", "predictions in protobuf: predictions-value has id 1")
