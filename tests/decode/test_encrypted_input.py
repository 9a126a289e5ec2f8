"""Encrypted events and the decoder: what it reads, what stays encrypted, and what its messages lose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream import native
from forebay.stream.cli.shown_decryption import ShownDecryption
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import PlainRecord, RecordColumns
from forebay.stream.core.records import Chunk, Epoch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.jwe import Cipher, TokenSealer, is_token
from tests.core.build import columns_of
from tests.decode.test_extra_fields import FRAGMENTS
from tests.encryption.build import CIPHERS, foreign_token, read_by_other, sealer

SIGNATURE = Signature((Feature("age"), Feature("carrier", "hashed", buckets=16), Feature("wind")), (3,), "binary", 1)
FIELDS = ("features.age", "features.carrier")
PLACE = TopicPartition("events", 0)


class FixedKeys:
    """Keys that are replaced by `later` when they are read again."""

    def __init__(self, ciphers: Mapping[str, Cipher] = CIPHERS, later: Mapping[str, Cipher] | None = None) -> None:
        self.ciphers = ciphers
        self.sealer: TokenSealer = sealer()
        self._later = later

    def refresh(self) -> None:
        """Do nothing."""

    def refresh_for_unknown_key(self) -> bool:
        if self._later is None:
            return False
        self.ciphers, self._later = self._later, None
        return True


@pytest.fixture(autouse=True, params=["compiled", "twin"])
def each_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with the compiled reader of encrypted fields and with its twin in Python."""
    if request.param == "compiled" and native.encrypted_fields is None:
        pytest.skip("the compiled part is not built")
    if request.param == "twin":
        monkeypatch.setattr(native, "encrypted_fields", None)


def stable_facts(chunk: Chunk) -> object:
    """Return what must be equal for records as objects and as columns. Values that are encrypted here differ each time."""
    records = [*chunk.records, *(rejection.record for rejection in chunk.rejections)]
    return (
        list(chunk.ids),
        list(chunk.timestamps),
        chunk.x_BF.tobytes(),
        [(rejection.index, rejection.kind, rejection.message) for rejection in chunk.rejections],
        [(record.offset, record.timestamp, record.key, len(record.value or b"")) for record in records],
        (chunk.num_bytes, chunk.num_records, chunk.next_offset),
    )


def decode(
    *values: bytes, fields: tuple[str, ...] = FIELDS, keys: FixedKeys | None = None, accepts: bool = False
) -> Chunk:
    encrypted = EncryptedInput(["events"], fields, keys or FixedKeys(), id_field="id", accepts_plain=accepts)
    model = DecodedModel(ModelRef("m", 1), SIGNATURE, frozenset({"events"}))
    decoder = Decoder([model], max_event_bytes=100_000, encrypted=encrypted)
    records = [PlainRecord(7 + index, 1_000, b"k", value, ()) for index, value in enumerate(values)]
    (chunk,) = decoder.decode({PLACE: records}, Epoch(1, "m", None, 0))
    (columns,) = decoder.decode({PLACE: columns_of(records)}, Epoch(1, "m", None, 0))
    assert stable_facts(columns) == stable_facts(chunk)
    assert chunk.num_records == len(values) and chunk.next_offset == 7 + len(values)
    return chunk


def event(number: int = 0, **features: Any) -> dict[str, Any]:
    values = {"age": 40.5, "carrier": "AA", "wind": 3.0, **features}
    return {"id": f"e-{number}", "timestamp": 1_372_636_800_000, "features": values}


def sealed(document: dict[str, Any], fields: tuple[str, ...] = FIELDS, topic: str = "events", kid: str = "a") -> bytes:
    return DocumentSealer(topic, fields, id_field="id").seal([json.dumps(document).encode()], sealer(kid))[0]


def reasons(chunk: Chunk) -> list[str]:
    assert {one.kind for one in chunk.rejections} <= {FailureKind.UNDECRYPTABLE}
    return [one.message for one in chunk.rejections]


@pytest.mark.parametrize("fields", [FIELDS, ("features",), ("features.age",)])
def test_rows_are_those_of_the_plain_events_and_records_stay_encrypted(fields: tuple[str, ...]) -> None:
    values = [sealed(event(number, age=number + 0.5), fields, kid="ab"[number % 2]) for number in range(6)]
    chunk = decode(*values, fields=fields)
    plain = decode(*(json.dumps(event(number, age=number + 0.5)).encode() for number in range(6)), accepts=True)
    assert (chunk.x_BF == plain.x_BF).all() and list(chunk.ids) == list(plain.ids)
    assert [record.value for record in chunk.records] == values


def test_an_integer_id_and_the_field_input() -> None:
    document = event()
    document |= {"id": 17, "input": document.pop("features")}
    chunk = decode(sealed(document))
    assert chunk.ids == ["17"] and chunk.x_BF[0, 0] == 40.5


def test_tokens_of_another_implementation() -> None:
    tokens = {name: foreign_token(json.dumps(value).encode(), {"topic": "events", "field": f"features.{name}", "id": "e-0"})
              for name, value in (("age", 1.25), ("carrier", "UA"))}  # fmt: skip
    chunk = decode(json.dumps(event(**tokens), indent=1).encode())
    assert chunk.x_BF[0, 0] == 1.25


def test_what_cannot_be_decrypted_is_rejected_with_the_reason() -> None:
    good = json.loads(sealed(event()))
    swapped = json.loads(sealed(event()))
    features = swapped["features"]
    features["age"], features["carrier"] = features["carrier"], features["age"]
    damaged = json.loads(sealed(event()))
    damaged["features"]["age"] = damaged["features"]["age"][:-5] + "AAAAA"
    values = [
        json.dumps(good | {"id": "e-1"}).encode(),
        json.dumps(swapped).encode(),
        sealed(event(), topic="clicks"),
        json.dumps(damaged).encode(),
        json.dumps(event(age=foreign_token(b"1", {}, kid="gone"))).encode(),
        sealed(event()),
    ]
    chunk = decode(*values)
    assert reasons(chunk)[:4] == [
        "moved: the field features.age: the token belongs to another event",
        "moved: the field features.age: the token belongs to another field",
        "moved: the field features.age: the token belongs to another topic",
        "damaged: the field features.age: its tag does not match: the token was changed, or has another key",
    ]
    assert [rejection.record.value for rejection in chunk.rejections[:4]] == values[:4]
    assert chunk.num_rows == 1


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(event()).encode(),
        json.dumps(event() | {"features": [40.5, "AA", 3.0]}).encode(),
        json.dumps(event() | {"features": "AACAPwAAgD8AAIA/"}).encode(),
        json.dumps(event()).encode()[:-30],
        b"\x00\x01not json",
        b"[1]",
    ],
)
def test_a_plain_value_is_rejected_and_leaves_the_worker_encrypted(value: bytes) -> None:
    chunk = decode(value)
    assert reasons(chunk)[0].startswith("not encrypted: ")
    (rejection,) = chunk.rejections
    assert rejection.record.value is not None and is_token(rejection.record.value)
    assert read_by_other(rejection.record.value.decode())[1] == value
    # A replay of this dead letter is rejected for the same reason, and not encrypted twice.
    again = decode(rejection.record.value)
    assert reasons(again) == reasons(chunk) and again.rejections[0].record.value == rejection.record.value


def test_plain_values_may_be_accepted_for_a_time() -> None:
    mixed = json.loads(sealed(event()))
    mixed["features"]["age"] = 41.5
    chunk = decode(json.dumps(event()).encode(), sealed(event()), json.dumps(mixed).encode(), accepts=True)
    assert chunk.x_BF[:, 0].tolist() == [40.5, 40.5, 41.5]
    assert is_token(chunk.records[0].value or b"") and not is_token(chunk.records[1].value or b"")
    assert is_token(chunk.records[2].value or b"")
    assert chunk.num_bytes == sum(len(record.value or b"") + 1 for record in chunk.records)


def test_messages_about_decrypted_events_quote_nothing() -> None:
    chunk = decode(sealed(event(age="secret words", wind="other words")))
    (rejection,) = chunk.rejections
    assert rejection.kind is FailureKind.WRONG_TYPE
    assert "words" not in rejection.message and "withheld" in rejection.message


def test_the_same_token_elsewhere_in_the_event_is_not_decrypted_there() -> None:
    document = json.loads(sealed(event()))
    document["note"] = document["features"]["age"]
    assert decode(json.dumps(document).encode()).x_BF[0, 0] == 40.5


def test_an_unknown_key_is_looked_for_once_in_the_file() -> None:
    keys = FixedKeys({"a": CIPHERS["a"]}, later=CIPHERS)
    assert decode(sealed(event(), kid="b"), keys=keys).num_rows == 1
    rejected = decode(sealed(event(), kid="b"), keys=FixedKeys({"a": CIPHERS["a"]}))
    assert reasons(rejected)[0].startswith("unknown key: ")


def test_whole_values_are_bound_to_the_record_key() -> None:
    text = json.dumps(event()).encode()
    scope = {"topic": "events", "field": "*", "id": "k"}
    values = [foreign_token(text, scope).encode(), foreign_token(text, scope | {"id": "other"}).encode(), text]
    chunk = decode(*values, fields=("*",))
    assert chunk.ids == ["e-0"] and chunk.records[0].value == values[0]
    assert [message.split(":")[0] for message in reasons(chunk)] == ["moved", "not encrypted"]


def test_a_poll_of_columns_stays_one() -> None:
    values = [sealed(event(number, wind=[0.5, "no number"][number == 3])) for number in range(5)]
    chunk = decode(*values)
    encrypted = EncryptedInput(["events"], FIELDS, FixedKeys(), id_field="id", accepts_plain=False)
    decoder = Decoder(
        [DecodedModel(ModelRef("m", 1), SIGNATURE, frozenset({"events"}))], max_event_bytes=100_000, encrypted=encrypted
    )
    records = columns_of([PlainRecord(7 + index, 1_000, None, value, ()) for index, value in enumerate(values)])
    (chunk,) = decoder.decode({PLACE: records}, Epoch(1, "m", None, 0))
    assert (
        isinstance(chunk.records, RecordColumns)
        and [record.value for record in chunk.records] == values[:3] + values[4:]
    )
    assert chunk.rejections[0].record == records[3] and chunk.records.offsets().tolist() == [7, 8, 9, 11]


def test_other_topics_are_not_touched() -> None:
    encrypted = EncryptedInput(["others"], FIELDS, FixedKeys(), id_field="id", accepts_plain=False)
    model = DecodedModel(ModelRef("m", 1), SIGNATURE, frozenset({"events"}))
    decoder = Decoder([model], max_event_bytes=100_000, encrypted=encrypted)
    records = [PlainRecord(7, 1_000, None, json.dumps(event()).encode(), ())]
    assert decoder.decode({PLACE: records}, Epoch(1, "m", None, 0))[0].records is records


def nested(depth: int, event_id: str = "e-0", around: str = "[]", **features: Any) -> bytes:
    """Return an event with a field whose value has this many levels."""
    opened, closed = (around[0], around[1]) if around == "[]" else ('{"b":', "}")
    text = json.dumps(event(**features) | {"id": event_id, "x": 0})
    return text.replace('"x": 0', f'"x": {opened * depth}{"1" if around == "{}" else ""}{closed * depth}').encode()


DEPTHS = (64, 253, 254, 255, 900, 1000, 1024, 5000)
IDS = ("e-0", "e\n")


@pytest.mark.parametrize("around", ["[]", "{}"])
@pytest.mark.parametrize("event_id", IDS)
@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_events_are_decrypted_or_rejected(depth: int, accepts: bool, event_id: str, around: str) -> None:
    tokens = json.loads(sealed(event() | {"id": event_id}))["features"]
    values = [
        nested(depth, event_id, around, **tokens),
        nested(depth, event_id, around, age="48151", carrier="secret"),
        nested(depth, event_id, around, age="48151", carrier=tokens["carrier"]),
        nested(depth, event_id, around, age=tokens["age"], carrier="secret"),
    ]
    chunk = decode(*values, accepts=accepts)
    left = [*chunk.records, *(rejection.record for rejection in chunk.rejections)]
    assert not any(plain in (record.value or b"") for record in left for plain in (b"48151", b"secret"))
    first = [one.message for one in chunk.rejections if one.index == 0]
    if depth < 254:  # the event itself is one level
        assert not first
    else:
        assert first == ["malformed: the value is nested too deeply: more than 254 levels"]
        assert {one.kind for one in chunk.rejections} == {FailureKind.UNDECRYPTABLE}
    assert chunk.num_rows == 0 or depth < 254


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("event_id", IDS)
def test_deep_plain_texts_are_decrypted_or_rejected(depth: int, event_id: str) -> None:
    text = b"[" * depth + b"]" * depth
    scope = {"topic": "events", "field": "features.note", "id": event_id}
    value = json.dumps(event(note=foreign_token(text, scope)) | {"id": event_id}).encode()
    chunk = decode(value, value, fields=("features.note",))
    if depth + 2 > 254:
        assert all("is nested too deeply" in message for message in reasons(chunk))
        assert [one.record.value for one in chunk.rejections] == [value] * 2
    else:
        assert [one.kind for one in chunk.rejections] == [FailureKind.WRONG_TYPE] * 2 or chunk.num_rows == 2


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("event_id", IDS)
def test_deep_records_are_shown_decrypted_or_with_the_reason(depth: int, event_id: str) -> None:
    tokens = json.loads(sealed(event() | {"id": event_id}))["features"]
    shown = ShownDecryption(EncryptedInput(["events"], FIELDS, FixedKeys(), id_field="id", accepts_plain=True))
    for value in (nested(depth, event_id, **tokens), nested(depth, event_id), nested(depth, event_id, "{}", **tokens)):
        record = PlainRecord(7, 1_000, b"k", value, ())
        decrypted, fault = shown.decrypt("events", record)
        if depth < 254:
            assert fault is None and json.loads(decrypted.value or b"")["features"] == event()["features"]
        else:
            assert decrypted is record and fault is not None and "nested too deeply" in fault


@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("fields", [FIELDS, ("features",), ("features.x.y", "x.x"), ("*",)])
def test_adversarial_events_are_decoded_or_rejected_and_leave_nothing_plain(
    fields: tuple[str, ...], accepts: bool
) -> None:
    document = json.dumps(event(carrier="secret")).encode()
    starts = [document, document.replace(b"e-0", b"e\\n")]
    if fields != ("*",):
        starts += [DocumentSealer("events", fields, id_field="id").seal([start], sealer())[0] for start in starts[:2]]
    values = [start[:-1] + b"," + fragment + b"}" for start in starts for fragment in FRAGMENTS]
    values += [b"{" + fragment + b"," + start[1:] for start in starts for fragment in FRAGMENTS]
    values += [fragment.partition(b":")[2] for fragment in FRAGMENTS] + [b"[" * 5000, b'{"x":' * 5000, b"{", b"\xff"]
    chunk = decode(*values, fields=fields, accepts=accepts)
    assert len(chunk.rejections) + chunk.num_rows == len(values)
    assert not any("secret" in rejection.message for rejection in chunk.rejections)


LIKE_TOKENS = ["eyJ SECRET ....", "eyJ.SECRET...", "eyJhIjoxfQ..SECRETSECRETSECR.U0VDUkVU.SECRETSECRETSECRETSECR"]


@pytest.mark.parametrize("text", LIKE_TOKENS)
def test_a_plain_text_that_is_like_a_token_is_encrypted_and_never_leaves_the_worker(text: str) -> None:
    value = sealed(event(carrier=text))
    assert b"SECRET" not in value and decode(value).num_rows == 1
    for accepts in (False, True):
        for plain, fields in ((json.dumps(event(carrier=text)).encode(), FIELDS), (text.encode(), ("*",))):
            (rejection,) = decode(plain, fields=fields, accepts=accepts).rejections
            assert rejection.kind is FailureKind.UNDECRYPTABLE and "SECRET" not in rejection.message
            assert read_by_other((rejection.record.value or b"").decode())[1] == plain


@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize(
    "plain",
    [
        b'"features":{"carrier":"SECRET"},',
        b'"feat\\u0075res":{"carrier":"SECRET"},',
        b'"features":{"carrier":"SECRET"},"note":"\\n",',
        b'"features":"SECRET",',
        b'"fe\\u0061tures":"SECRET",',
        b'"\\u0066eatures":{"carrier":"SECRET"},"note":"\\u00e4",',
    ],
)
def test_a_plain_value_behind_a_repeated_name_never_leaves_the_worker(plain: bytes, accepts: bool) -> None:
    good = sealed(event())
    inner = good.replace(b'"features": {', b'"features": {"carrier":"SECRET",').replace(
        b'"features":{', b'"features":{"carrier":"SECRET",'
    )
    damaged = good.replace(b"e-0", b"e-1")
    values = [b"{" + plain + good[1:], inner, b"{" + plain + damaged[1:]]
    chunk = decode(*values, accepts=accepts)
    left = [*chunk.records, *(rejection.record for rejection in chunk.rejections)]
    assert len(left) == 3 and all(b"SECRET" in value for value in values)
    for record in left:
        assert read_by_other((record.value or b"").decode())[1] == values[record.offset - 7]
