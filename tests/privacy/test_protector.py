"""What is done with personal data: actions by detector and place, hashes by period, and documents."""

from __future__ import annotations

import orjson
import pytest

from forebay.stream.privacy.detectors import build_detectors
from forebay.stream.privacy.documents import DocumentProtector
from forebay.stream.privacy.policy import Action, Place, Policy, Pseudonyms
from forebay.stream.privacy.protector import Protector

DAY_MS = 86_400_000
MAIL = "a@example.org"


def protector(action: Action = Action.MASK, **overrides: Action) -> Protector:
    by_detector = {(name, None): one for name, one in overrides.items()}
    policy = Policy(dict.fromkeys(Place, action), by_detector)
    return Protector(build_detectors(), policy, Pseudonyms(b"k" * 32, period_ms=DAY_MS))


def test_each_action_does_what_it_says() -> None:
    texts = [f"to {MAIL}, {MAIL}", "nothing"]
    assert protector(Action.MASK).texts(texts, Place.KEYS, now_ms=0) == {0: "to [email], [email]"}
    assert protector(Action.DROP).texts(texts, Place.KEYS, now_ms=0) == {0: None}
    detecting = protector(Action.DETECT)
    assert detecting.texts(texts, Place.KEYS, now_ms=0) == {}
    assert detecting.counts == {("email", Place.KEYS, Action.DETECT): 2}


def test_what_replaces_personal_data_is_not_personal_data() -> None:
    hashed = protector(Action.HASH).texts([MAIL], Place.KEYS, now_ms=0)[0]
    assert hashed is not None
    assert protector().texts([hashed, "[email] [card] [national_id]"], Place.KEYS, now_ms=0) == {}


def test_a_hash_is_the_same_within_a_period_and_another_one_after_it() -> None:
    def token(now_ms: int, key: bytes = b"k" * 32) -> str:
        return Pseudonyms(key, period_ms=DAY_MS).token(MAIL, now_ms=now_ms)

    assert token(0) == token(DAY_MS - 1)
    assert len({token(0), token(DAY_MS), token(0, b"x" * 32)}) == 3
    endless = Pseudonyms(b"k" * 32, period_ms=None)
    assert endless.token(MAIL, now_ms=0) == endless.token(MAIL, now_ms=900 * DAY_MS)


def test_an_override_of_a_place_takes_precedence_over_that_of_a_detector() -> None:
    policy = Policy(
        dict.fromkeys(Place, Action.MASK),
        {("ip", None): Action.DETECT, ("ip", Place.HEADERS): Action.DROP},
    )
    assert policy.action("ip", Place.HEADERS) is Action.DROP
    assert policy.action("ip", Place.KEYS) is Action.DETECT
    assert policy.action("email", Place.KEYS) is Action.MASK


def test_strings_of_a_document_change_and_numbers_stay() -> None:
    event = {"id": 4111111111111111, "features": {"note": f"by {MAIL}", "card_no": "4111111111111111", "x": 1.5}}
    changed = DocumentProtector(protector()).values([orjson.dumps(event), b'{"a":1}'], Place.DEAD_LETTERS, now_ms=0)
    assert changed.keys() == {0}
    assert changed[0] is not None
    assert orjson.loads(changed[0]) == {
        "id": 4111111111111111,
        "features": {"note": "by [email]", "card_no": "[card]", "x": 1.5},
    }


def test_dropping_removes_the_field() -> None:
    event = orjson.dumps({"a": MAIL, "b": ["x", MAIL]})
    changed = DocumentProtector(protector(Action.DROP)).values([event], Place.DEAD_LETTERS, now_ms=0)
    assert changed == {0: b'{"b":["x",null]}'}


def test_text_that_is_not_json_changes_and_binary_values_are_removed() -> None:
    values = [f"broken {{ {MAIL}".encode(), b"\x00\x1a" + MAIL.encode(), orjson.dumps({MAIL: 1})]
    changed = DocumentProtector(protector()).values(values, Place.DEAD_LETTERS, now_ms=0)
    assert changed == {0: b"broken { [email]", 1: None, 2: None}


def test_features_that_no_model_uses_are_removed() -> None:
    documents = DocumentProtector(protector(), used_features=("a",))
    event = orjson.dumps({"id": "x", "features": {"a": 1, "b": 2}})
    assert documents.values([event], Place.DEAD_LETTERS, now_ms=0) == {0: b'{"id":"x","features":{"a":1}}'}


@pytest.mark.parametrize("depth", [64, 254, 255, 1000, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("inside", [b'"anna@example.org"', b"1", b"{}"])
def test_nested_documents_never_raise_and_never_keep_what_was_found(depth: int, inside: bytes) -> None:
    value = b"[" * depth + inside + b"]" * depth
    changed = DocumentProtector(protector()).values([value], Place.DEAD_LETTERS, now_ms=0)
    assert b"anna" not in (changed.get(0, value) or b"")
    fields = b'{"a":' * depth + inside + b"}" * depth
    changed = DocumentProtector(protector(), used_features=["a"]).values([fields], Place.DEAD_LETTERS, now_ms=0)
    assert b"anna" not in (changed.get(0, fields) or b"")


@pytest.mark.parametrize(
    "value",
    [
        b'{"a":"anna@example.org","a":"x"}',
        b'{"a":{"b":"anna@example.org"},"a":{"b":1}}',
        b'{"anna@example.org":1,"anna@example.org":2}',
        rb'"anna\u0040example.org"',
        rb'{"a":"anna\u0040example.org"',
        b'{"a": "' + b"anna@example.org " * 20_000 + b'"}',
    ],
)
def test_what_cannot_be_searched_is_removed(value: bytes) -> None:
    assert DocumentProtector(protector()).values([value], Place.DEAD_LETTERS, now_ms=0) == {0: None}


@pytest.mark.parametrize("value", [rb'{"a\"b":"\\","c":["\"","\\\""]}', b'{"a":1,"b":[{"a":1},{"a":"x"}]}', b"[]"])
def test_documents_without_findings_stay_byte_by_byte(value: bytes) -> None:
    assert DocumentProtector(protector()).values([value], Place.DEAD_LETTERS, now_ms=0) == {}


def test_ids_and_messages_are_masked_where_others_are_dropped() -> None:
    dropping = protector(email=Action.DROP)
    assert dropping.texts(["anna@example.org"], Place.IDS, now_ms=0) == {0: "[email]"}
    assert dropping.texts(["anna@example.org"], Place.ERRORS, now_ms=0) == {0: "[email]"}
    assert dropping.texts(["anna@example.org"], Place.HEADERS, now_ms=0) == {0: None}
