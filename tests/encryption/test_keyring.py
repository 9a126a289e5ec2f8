"""JWK sets."""

from __future__ import annotations

import json

import pytest

from forebay.stream.encryption.keyring import Keyring, KeyringInvalid, format_keyring, parse_keyring
from tests.encryption.build import KEY, KEYRING, OTHER_KEY

A = {"kty": "oct", "kid": "a", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}
B = {"kty": "oct", "kid": "b", "k": "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"}


def test_a_set_is_read_as_it_was_written() -> None:
    assert parse_keyring(format_keyring(KEYRING)) == KEYRING
    assert parse_keyring(json.dumps({"keys": [A]}).encode()) == Keyring({"a": KEY}, "a")
    assert parse_keyring(json.dumps({"keys": [A, B], "current": "b"}).encode()).current == "b"
    assert repr(OTHER_KEY) not in repr(KEYRING)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JWK set"),
        ({"keys": []}, "not a JWK set"),
        ({"keys": [1]}, r"keys\[0\] is not an object"),
        ({"keys": [{**A, "kty": "RSA"}]}, "not a symmetric key"),
        ({"keys": [{**A, "use": "sig"}]}, "another use"),
        ({"keys": [{**A, "key_ops": ["sign"]}]}, "another use"),
        ({"keys": [{**A, "kid": ""}]}, 'no "kid"'),
        ({"keys": [{**A, "k": "??"}]}, 'no "k"'),
        ({"keys": [{**A, "k": 5}]}, 'no "k"'),
        ({"keys": [{**A, "k": "AAAA"}]}, "24 bits"),
        ({"keys": [A, {**B, "kid": "a"}]}, "kid of an earlier"),
        ({"keys": [A, {**A, "kid": "c"}]}, "an earlier key"),
        ({"keys": [A, B]}, 'no member "current"'),
        ({"keys": [A, B], "current": "c"}, "not the kid"),
    ],
)
def test_the_message_names_the_place_and_no_key(document: object, words: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(KeyringInvalid, match=words) as caught:
        parse_keyring(text.encode())
    assert A["k"] not in str(caught.value)
