"""The compiled reader of encrypted fields reads only what the exact path reads too, and with the same result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream import native
from forebay.stream.core.record_columns import ByteColumn
from forebay.stream.encryption.documents import DocumentOpener, DocumentSealer
from forebay.stream.encryption.jwe import CannotDecrypt
from tests.core.build import FakeRecord, columns_of
from tests.encryption.build import CIPHERS, foreign_token, sealer

pytestmark = pytest.mark.skipif(native.encrypted_fields is None, reason="the compiled part is not built")

FIELDS = ("features.age", "features.iban", "note", "customer.name")
INSERTED = (
    *(b" ", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b"0", b"9", b"-", b".", b"..", b"e", b"null", b"1e5", b"true"),
    *(b"\xff", b"\xc3\xa4", b"\x00", b"\n", b'"id":"x",', b'"age":4,', b'"eyJ', b"\\u0061", b"\\ud800", b"A", b"_"),
    *(b'"x":' + b"[" * depth + b"]" * depth + b"," for depth in (60, 300, 1000)),
)


def opener(**options: Any) -> DocumentOpener:
    return DocumentOpener("events", FIELDS, CIPHERS, id_field="id", **{"accepts_plain": False} | options)


def exact_sealer(patch: pytest.MonkeyPatch) -> DocumentSealer:
    with patch.context() as without:
        without.setattr(native, "encrypted_fields", None)
        return DocumentSealer("events", FIELDS, id_field="id")


SEALER = DocumentSealer("events", FIELDS, id_field="id")
PLAIN: list[dict[str, Any]] = [
    {"id": "e-1", "timestamp": 7, "features": {"age": 41.5, "wind": -3e-2, "iban": "DE02"}, "note": None},
    {
        "note": {"a": [1, {"b": []}, "x\n\u2028"]},
        "id": 17,
        "features": {"iban": "", "age": True},
        "customer": {"name": "Ä"},
    },
    {
        "id": "ä/b",
        "features": {"wind": 1.5},
        "x": [[], {}, "\t", 1e9, None],
        "customer": {"name": [1, 2, 3], "town": "B"},
    },
    {"id": "x" * 200, "input": {"age": 12345678901234567890, "iban": "\U0001f600" * 9}, "customer": {}},
]


def foreign(document: dict[str, Any]) -> bytes:
    """Return the first document with tokens of another implementation, whose header has other members and another order."""
    scope = {"topic": "events", "field": "features.age", "id": document["id"]}
    features = document["features"] | {"age": foreign_token(b"41.5", scope, typ="JWE"), "iban": None}
    return orjson.dumps(document | {"features": features, "customer": None})


def test_documents_are_opened_and_sealed_without_the_exact_path(monkeypatch: pytest.MonkeyPatch) -> None:
    own = opener()
    texts = [*map(orjson.dumps, PLAIN), json.dumps(PLAIN[1], indent=2).encode(), orjson.dumps({"id": "no field"})]
    monkeypatch.setattr(DocumentSealer, "_seal_exactly", None)
    for kid in "ab":
        sealed = SEALER.seal(texts, sealer(kid))
        assert all(b'"eyJ' in value for value in sealed[:-1]) and sealed[-1] == texts[-1]
        values: Any = [*sealed, None]
        columns = columns_of([FakeRecord(offset, value) for offset, value in enumerate(values)]).values
        for polled in (values, columns):
            opened, others = own.open_all(polled)
            assert others == [6] and opened[6] is None
            assert opened[:6] == texts
    assert isinstance(columns, ByteColumn)


def test_documents_that_are_sealed_by_the_twin_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = exact_sealer(monkeypatch)
    sealed = twin.seal([orjson.dumps(document) for document in PLAIN], sealer())
    opened, others = opener().open_all(sealed)
    assert not others and [orjson.loads(value or b"") for value in opened] == PLAIN


def test_headers_of_other_producers_are_read_after_the_first() -> None:
    own = opener()
    value = foreign(PLAIN[0])
    assert own.open_all([value])[1] == [0]
    expected = own.open(value).value
    assert own.open_all([value]) == ([expected], [])
    other = foreign(PLAIN[0] | {"id": "e-2222"})
    moved = value.replace(b'"e-1"', b'"e-2222"')
    damaged = other[:-160] + bytes([other[-160] ^ 1]) + other[-159:]
    opened, others = own.open_all([other, moved, value, damaged])
    assert others == [1, 3] and orjson.loads(opened[0] or b"")["features"]["age"] == 41.5
    with pytest.raises(CannotDecrypt, match=r"^moved"):
        own.open(moved)


REFUSED = [
    b'{"id":"e","features":{"age":41}}',
    b'{"id":"e","features":{"age":"eyJ"}}',
    b'{"id":"e","features":{"age":"eyJ....."}}',
    b'{"id":"e","features":[1,2]}',
    b'{"id":"e","features":nul}',
    b'{"id":"e","note":null,"note":null}',
    b'{"id":"e","n\\u006fte":null}',
    b'{"id":"e\\n"}',
    b'{"id":1.5}',
    b'{"id":-1}',
    b'{"id":1234567890123456789}',
    b'{"id":null}',
    b'{"id":"' + b"x" * 513 + b'"}',
    b"{}",
    b"[]",
    b"",
    b'{"id":"e","x":01}',
    b'{"id":"e","x":1.}',
    b'{"id":"e","x":1e}',
    b'{"id":"e","x":1e999}',
    b'{"id":"e","x":"\\x"}',
    b'{"id":"e","x":"\\ud800"}',
    b'{"id":"e","x":"\xff"}',
    b'{"id":"e","x":nul}',
    b'{"id":"e",}',
    b'{"id":"e"} x',
    b'{"id":"e","x":' + b"[" * 70 + b"]" * 70 + b"}",
]


@pytest.mark.parametrize("value", REFUSED)
def test_what_is_not_plain_is_left_to_the_exact_path(value: bytes) -> None:
    assert opener().open_all([value, b'{"id":"e"}']) == ([None, b'{"id":"e"}'], [0])


def test_no_beginning_of_a_document_is_one() -> None:
    (whole,) = SEALER.seal([orjson.dumps(PLAIN[1])], sealer())
    beginnings = [whole[:end] for end in range(len(whole))]
    assert opener().open_all(beginnings)[1] == list(range(len(whole)))


def test_a_plain_text_that_is_not_one_json_value_is_not_put_into_a_document() -> None:
    own = opener()
    scope = {"topic": "events", "field": "note", "id": "e"}
    texts = [b'1,"x":2', b'1}, {"y":1', b"1 ", b"", b"nul", b'"\x00"', b"1", b'{"a":[1,"\\u00e4"]}']
    values = [orjson.dumps({"id": "e", "note": foreign_token(text, scope)}) for text in texts]
    own.open(values[-1])
    opened, others = own.open_all(values)
    assert others == [0, 1, 2, 3, 4, 5] and opened[6:] == [
        b'{"id":"e","note":1}',
        b'{"id":"e","note":{"a":[1,"\\u00e4"]}}',
    ]


@given(st.text(max_size=40), st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
       lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(), some, max_size=4), max_leaves=12))  # fmt: skip
def test_any_value_survives(event_id: str, value: Any) -> None:
    event_id = event_id.encode("utf-8", "replace").decode()
    text = json.dumps({"id": event_id, "note": value, "other": value}).encode()
    try:
        expected = orjson.loads(text)
    except ValueError:  # an escaped surrogate
        return
    (sealed,) = SEALER.seal([text], sealer())
    assert orjson.loads(opener().open(sealed).value) == expected
    opened, others = opener().open_all([sealed])
    assert others or orjson.loads(opened[0] or b"") == expected


def mutated(rng: Random, value: bytes) -> Iterator[bytes]:
    for _ in range(rng.randint(1, 2)):
        begin = rng.randrange(len(value))
        end = min(len(value), begin + rng.choice((0, 0, 1, 1, 2, 20)))
        value = value[:begin] + rng.choice((b"", *INSERTED)) + value[end:]
    yield value


def check_encrypted_mutations(seed: int, count: int) -> None:
    """Check on mutated documents that the compiled part gives what the exact path gives, if it gives anything."""
    rng = Random(seed)
    own = opener()
    sealed = SEALER.seal([orjson.dumps(document) for document in PLAIN], sealer())
    sealed += [json.dumps(orjson.loads(value), indent=1).encode() for value in sealed[:2]]
    sealed += [foreign(PLAIN[0]), foreign(PLAIN[0] | {"id": "b-7"})]
    own.open(sealed[-1])
    values = [next(mutated(rng, rng.choice(sealed))) for _ in range(count)]
    opened, others = own.open_all(values)
    assert others == [index for index, value in enumerate(opened) if value is None]
    assert 0 < len(others) < count
    for index in others:
        with suppress(CannotDecrypt):
            own.open(values[index])
    for value, found in zip(values, opened, strict=True):
        if found is not None:
            exact = own._open_exactly(value)
            assert orjson.loads(found) == orjson.loads(exact.value) and not exact.has_plain
    # Plain documents: what is sealed says the same as before.
    plain = [next(mutated(rng, rng.choice(list(map(orjson.dumps, PLAIN))))) for _ in range(count)]
    for text in plain:
        try:
            (value,) = SEALER.seal([text], sealer())
        except (CannotDecrypt, ValueError):
            continue
        assert orjson.loads(opener(accepts_plain=True)._open_exactly(value).value) == orjson.loads(text)


def test_mutated_documents() -> None:
    check_encrypted_mutations(1, 400)
