"""Tokens, beside an independent implementation of JWE."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.encryption.jwe import CannotDecrypt, TokenOpener, is_token
from forebay.stream.encryption.scope import header_ending
from tests.encryption.build import CIPHERS, KEY, OTHER_KEY, foreign_token, read_by_other, sealer

SCOPE = {"topic": "events", "field": "features.age", "id": "e-1"}


def ending(event_id: str = "e-1") -> bytes:
    return header_ending(orjson.dumps(event_id))


def opener(topic: str = "events", field: str = "features.age") -> TokenOpener:
    return TokenOpener(topic, field, CIPHERS)


@given(st.text(), st.text(max_size=30), st.binary(max_size=100))
def test_another_implementation_reads_our_tokens(event_id: str, topic: str, text: bytes) -> None:
    event_id, topic = event_id.encode("utf-8", "replace").decode(), topic.encode("utf-8", "replace").decode()
    (token,) = sealer().seal(topic, "f", [text], [ending(event_id)])
    header, found = read_by_other(token.decode())
    assert found == text and is_token(token)
    assert header["scope"] == {"topic": topic, "field": "f", "id": event_id} and header["kid"] == "a"
    assert TokenOpener(topic, "f", CIPHERS).open(token, ending(event_id)) == text


@given(st.text(), st.binary(max_size=100))
def test_tokens_of_another_implementation_are_read(event_id: str, text: bytes) -> None:
    event_id = event_id.encode("utf-8", "replace").decode()
    token = foreign_token(text, {**SCOPE, "id": event_id}, typ="JWE")
    assert opener().open(token.encode(), ending(event_id)) == text


@pytest.mark.parametrize("own", [True, False])
def test_a_token_is_valid_only_in_its_place(own: bool) -> None:
    token = foreign_token(b"41", SCOPE).encode()
    if own:
        (token,) = sealer().seal("events", "features.age", [b"41"], [ending()])
    assert opener().open(token, ending()) == b"41"
    for other, at, words in (
        (opener("clicks"), ending(), "another topic"),
        (opener(field="features.iban"), ending(), "another field"),
        (opener(), ending("e-2"), "another event"),
    ):
        with pytest.raises(CannotDecrypt, match=f"^moved: the token belongs to {words}$"):
            other.open(token, at)


def test_a_header_that_was_changed_to_fit_is_damaged() -> None:
    (token,) = sealer().seal("events", "features.age", [b"41"], [ending()])
    (other,) = sealer().seal("events", "features.age", [b"99"], [ending("e-2")])
    forged = other.split(b"..")[0] + b".." + token.split(b"..")[1]
    with pytest.raises(CannotDecrypt, match=r"^damaged"):
        opener().open(forged, ending("e-2"))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (foreign_token(b"1", SCOPE, kid="gone"), "unknown key"),
        (foreign_token(b"1", SCOPE, key=OTHER_KEY), "damaged"),
        (foreign_token(b"1", SCOPE, zip="DEF"), "malformed"),
        (foreign_token(b"1", {"topic": "events"}), "malformed"),
        ("eyJ....", "malformed"),
        ("eyJ", "malformed"),
        ("", "malformed"),
        ("eyJhbGciOiJkaXIifQ.." + "A" * 16 + ".AAAA." + "A" * 22, "malformed"),
        (foreign_token(b"1", SCOPE).replace("..", ".AAAA."), "malformed"),
    ],
)
def test_what_cannot_be_decrypted_has_a_reason_and_quotes_nothing(token: str, reason: str) -> None:
    with pytest.raises(CannotDecrypt) as caught:
        opener().open(token.encode(), ending())
    assert str(caught.value).startswith(f"{reason}: ")
    assert not token or token not in str(caught.value)


@given(st.data())
def test_a_changed_or_truncated_token_is_never_read(data: st.DataObject) -> None:
    (token,) = sealer().seal("events", "features.age", [b"12345.25"], [ending()])
    place = data.draw(st.integers(0, len(token) - 1))
    cut = data.draw(st.booleans())
    changed = token[:place] if cut else token[:place] + bytes([token[place] ^ 0x01]) + token[place + 1 :]
    try:
        assert opener().open(changed, ending()) == b"12345.25"
    except CannotDecrypt:
        return
    # Only the unused bits of a last character can change: they are not part of the data.
    assert not cut and changed[place + 1 : place + 2] in (b"", b".")


def test_a_nonce_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sealer()
    tokens = own.seal("t", "f", [b"1"] * 1_000, [ending()] * 1_000) + own.seal("t", "g", [b"1"], [ending()])
    assert len({token.split(b".")[2] for token in tokens}) == 1_001
    assert KEY not in b"".join(tokens)


def test_a_text_that_is_like_a_token_is_none() -> None:
    good = foreign_token(b"41", SCOPE)
    header, _, nonce, text, tag = good.split(".")
    assert is_token(good.encode())
    for other in (
        "eyJ....",
        "eyJ my secret ....",
        f"eyJ{good}",
        f"{header}.secret.{nonce}.{text}.{tag}",
        f"{header}..{nonce}.s.{tag}",
        f"{header}..{nonce}.s cr.{tag}",
        f"{header}..{nonce}secr.{text}.{tag}",
        f"{header}..{nonce}.{text}.{tag}s",
        f"{header}..{nonce}.{text}.{tag[:-1]}=",
        f"eyJ9..{nonce}.{text}.{tag}",
        f"{good}.secret",
        f"{good}\n",
        foreign_token(b"41", {"topic": "events"}),
    ):
        assert not is_token(other.encode()), other
