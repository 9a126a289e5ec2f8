"""`forebay keys`, the checks of [encryption], and the encryption of what is published."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from forebay.stream.cli import main
from forebay.stream.cli.check_encryption import check_encryption
from forebay.stream.config.encryption_checks import encryption_conflicts
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.config.input_section import InputSection
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.config.sections import (
    EncryptionSection,
    EvaluateSection,
    OutputSection,
    RolloutsSection,
    SchemaRegistrySection,
    Settings,
)
from forebay.stream.publish.encrypted import EventEncryption
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.row_fault import RowFault
from tests.encryption.build import read_by_other, sealer


def test_keys_are_added_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "new", "--kid", "one"]) == main(["keys", "new", "--kid", "two"]) == 0
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and json.loads(path.read_text())["current"] == "one"
    assert main(["keys", "use", "two"]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out == "one  decrypts\ntwo  encrypts and decrypts\n"
    assert main(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"current": "two", "kids": ["one", "two"]}
    assert main(["keys", "new", "--kid", "two"]) == main(["keys", "use", "three"]) == 2
    assert main(["keys", "list", "--file", "other.json"]) == 2
    check = check_encryption(EncryptionSection(input_fields=("features.age",), keys_file=str(path)))
    assert check is not None and check.status == "ok" and "2 keys, two encrypts" in check.detail
    section = EncryptionSection(local_kms_secret_file=str(tmp_path / "secret"), keys_file=str(path))
    unread = check_encryption(section)
    assert unread is not None and unread.status == "failed" and "secret of local-kms" in unread.detail
    (tmp_path / "secret").write_text("words\n")
    check = check_encryption(section)
    assert check is not None and check.status == "ok" and "ENCRYPT" in check.detail and "words" not in check.detail
    missing = check_encryption(EncryptionSection(input_fields=("features.age",), keys_file="other.json"))
    assert missing is not None and missing.status == "failed" and missing.remedy


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (Settings(encryption=EncryptionSection(input_fields=("features",))), "encryption.input_fields"),
        (
            Settings(
                encryption=EncryptionSection(prediction_fields=("prediction",), keys_file="k"),
                output=OutputSection(format="avro"),
            ),
            "encryption.prediction_fields",
        ),
        (
            Settings(
                encryption=EncryptionSection(prediction_fields=("*",), keys_file="k"),
                evaluate=EvaluateSection(enabled=True),
            ),
            "encryption.prediction_fields",
        ),
        (
            Settings(
                encryption=EncryptionSection(prediction_fields=("*",), keys_file="k"),
                rollouts=RolloutsSection(enabled=True),
            ),
            "encryption.prediction_fields",
        ),
        (
            Settings(encryption=EncryptionSection(input_fields=("order.id",), id_field="order.id", keys_file="k")),
            "encryption.id_field",
        ),
        (
            Settings(
                encryption=EncryptionSection(input_fields=("features.age",), keys_file="k"),
                evaluate=EvaluateSection(enabled=True, slices=("age",)),
            ),
            "evaluate.slices",
        ),
        (
            Settings(
                encryption=EncryptionSection(input_fields=("features.age",), keys_file="k"),
                input=InputSection(mapping=MappingTable(id="field:order.id")),
            ),
            "encryption.id_field",
        ),
        (
            Settings(
                encryption=EncryptionSection(prediction_fields=("*",), keys_file="k"),
                privacy=PrivacySection(enabled=True, keys="hash"),
            ),
            "encryption.prediction_fields",
        ),
        (
            Settings(
                encryption=EncryptionSection(prediction_fields=("*",), keys_file="k"),
                privacy=PrivacySection(enabled=True, keys="detect", overrides=("email.keys:drop",)),
            ),
            "encryption.prediction_fields",
        ),
        (
            Settings(encryption=EncryptionSection(local_kms_secret_variable="SECRET", keys_file="k")),
            "encryption.local_kms_secret_file",
        ),
        (
            Settings(
                encryption=EncryptionSection(
                    local_kms_secret_variable="SECRET", local_kms_secret_file="s", keys_file="k"
                ),
                schema_registry=SchemaRegistrySection(urls=("http://localhost:1",)),
            ),
            "encryption.local_kms_secret_file",
        ),
        (
            Settings(
                encryption=EncryptionSection(local_kms_secret_variable="SECRET"),
                schema_registry=SchemaRegistrySection(urls=("http://localhost:1",)),
            ),
            "encryption.local_kms_secret_file",
        ),
    ],
)
def test_contradictions(settings: Settings, key: str) -> None:
    assert [conflict.keys[0] for conflict in encryption_conflicts(settings)] == [key]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(
            encryption=EncryptionSection(input_fields=("features.age",), id_field="order.id", keys_file="k"),
            input=InputSection(mapping=MappingTable(id="field:order.id")),
        ),
        Settings(
            encryption=EncryptionSection(prediction_fields=("*",), keys_file="k"),
            privacy=PrivacySection(enabled=True, keys="detect", overrides=("email.headers:drop",)),
        ),
        Settings(
            encryption=EncryptionSection(prediction_fields=("prediction",), keys_file="k"),
            privacy=PrivacySection(enabled=True),
        ),
    ],
)
def test_settings_that_agree(settings: Settings) -> None:
    assert not list(encryption_conflicts(settings))


@pytest.mark.parametrize(
    ("table", "has_warning"),
    [(None, False), (MappingTable(), False), (MappingTable(id="field:id"), False), (MappingTable(id="key"), True),
     (MappingTable(id="field:order.id"), True), (MappingTable(id="header:x"), True)],
)  # fmt: skip
def test_an_id_from_another_place_gives_a_warning(
    table: MappingTable | None, has_warning: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "new", "--kid", "one"]) == 0
    section = EncryptionSection(input_fields=("features.age",), keys_file="keys.json")
    check = check_encryption(section, [None, table])
    assert check is not None and (check.status == "warning") == has_warning == ("can be moved" in check.detail)
    whole = check_encryption(EncryptionSection(input_fields=("*",), keys_file="keys.json"), [table])
    assert whole is not None and whole.status == "ok"


@pytest.mark.parametrize(
    "fields", ["id", "*,features", "input.age", "features,features.age", "features.age,features.age", "a..b"]
)
def test_fields_that_cannot_be_encrypted(fields: str) -> None:
    with pytest.raises(ValueError, match="input_fields"):
        EncryptionSection.model_validate({"input_fields": fields})


def test_what_is_published_is_encrypted() -> None:
    own = sealer()
    event = {"id": "e-1", "timestamp": 1, "features": {"age": 41, "wind": 2}}
    message = Message(b"k", json.dumps(event).encode())
    fields = EventEncryption("events", ("features.age",), "id", lambda: own).encrypt(message)
    document = json.loads(fields.value)
    assert document["features"]["wind"] == 2 and read_by_other(document["features"]["age"])[1] == b"41"
    whole = EventEncryption("events", ("*",), "id", lambda: own).encrypt(message)
    header, text = read_by_other(whole.value.decode())
    assert text == message.value and header["scope"] == {"topic": "events", "field": "*", "id": "k"}
    with pytest.raises(RowFault, match="not JSON"):
        EventEncryption("events", ("features.age",), "id", lambda: own).encrypt(Message(None, b"\x00"))
    like_a_token = Message(b"k", json.dumps({"id": "e-1", "features": {"age": "eyJ my secret ...."}}).encode())
    sealed = EventEncryption("events", ("features.age",), "id", lambda: own).encrypt(like_a_token)
    assert b"secret" not in sealed.value
    deep = Message(b"k", b'{"id":"e-1","features":{"age":' + b"[" * 300 + b"]" * 300 + b"}}")
    with pytest.raises(RowFault, match="nested too deeply"):
        EventEncryption("events", ("features.age",), "id", lambda: own).encrypt(deep)
