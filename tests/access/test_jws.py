"""Tokens of another implementation are verified, and attacks on them are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.access.jws import MAX_CACHED_REFUSALS, is_principal
from forebay.stream.access.key_set import KeyProblem, read_key_set
from forebay.stream.access.tokens import Denial, Token
from tests.access.issuer import JULY_S, key_set, keys, sign, verifier

SHARED = verifier()


def part(value: object) -> bytes:
    text = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(text).rstrip(b"=")


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_token_of_each_algorithm_is_verified(algorithm: str) -> None:
    token = verifier(skew_ms=1000).verify(sign(algorithm, nbf=JULY_S))
    assert token == Token("team-a/ann", JULY_S * 1000 - 1000, (JULY_S + 600) * 1000 + 1000, frozenset({"features"}))


def test_the_newer_name_of_eddsa_is_understood() -> None:
    assert isinstance(SHARED.verify(sign("EdDSA", {"alg": "Ed25519"})), Token)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_changed_token_is_refused(algorithm: str) -> None:
    head, claims, signature = sign(algorithm).split(b".")
    other = sign(algorithm, sub="team-b").split(b".")[1]
    assert verifier().verify(b".".join((head, other, signature))) is Denial.SIGNATURE
    assert verifier().verify(b".".join((head, claims, signature[:-8]))) is Denial.SIGNATURE
    flipped = signature[:10] + (b"A" if signature[10:11] != b"A" else b"B") + signature[11:]
    assert verifier().verify(b".".join((head, claims, flipped))) is Denial.SIGNATURE


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "HS256", "HS512", "RS512", "ES384", "PS256", "", None, 1, ["ES256"]]
)
def test_algorithms_that_are_not_listed_are_refused(name: object) -> None:
    claims = sign().split(b".")[1]
    for signature in (b"", part(b"x" * 64)):
        token = b".".join((part({"alg": name, "kid": "ES256"}), claims, signature))
        assert verifier().verify(token) in (Denial.ALGORITHM, Denial.MALFORMED)


def test_a_public_key_is_not_accepted_as_a_secret() -> None:
    claims = sign().split(b".")[1]
    for secret in (keys()["RS256"].as_pem(private=False), key_set()):
        for name in ("HS256", "RS256"):
            message = part({"alg": name, "kid": "RS256"}) + b"." + claims
            forged = message + b"." + part(hmac.new(secret, message, hashlib.sha256).digest())
            assert verifier().verify(forged) in (Denial.ALGORITHM, Denial.SIGNATURE)


def test_the_algorithm_is_that_of_the_key() -> None:
    assert verifier().verify(sign("ES256", {"kid": "RS256"})) is Denial.ALGORITHM
    assert verifier(algorithms=("RS256",)).verify(sign("ES256")) is Denial.ALGORITHM


@pytest.mark.parametrize(
    "kid", ["../../../etc/passwd", "/dev/null", "ES256\x00", "es256", "", "' OR 1=1", None, 5, ["ES256"], {}]
)
def test_a_kid_is_only_looked_up(kid: object) -> None:
    assert (
        verifier().verify(sign(header={"kid": kid}) if isinstance(kid, str) else _with_kid(kid)) is Denial.UNKNOWN_KEY
    )


def _with_kid(kid: object) -> bytes:
    _, claims, signature = sign().split(b".")
    return b".".join((part({"alg": "ES256", "kid": kid}), claims, signature))


def test_keys_that_a_token_brings_are_ignored() -> None:
    from joserfc.jwk import ECKey

    own = ECKey.generate_key("P-256", {"kid": "ES256"})
    brought: dict[str, Any] = {
        "jwk": own.as_dict(private=False),
        "jku": "https://evil.example/keys",
        "x5u": "file:///tmp/cert.pem",
        "x5c": ["AAAA"],
    }
    head = part({"alg": "ES256", "kid": "ES256", **brought})
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    for key, expected in ((own, Denial.SIGNATURE), (keys()["ES256"], Token)):
        message = head + b"." + sign().split(b".")[1]
        r, s = decode_dss_signature(key.private_key.sign(message, ec.ECDSA(SHA256())))
        result = verifier().verify(message + b"." + part(r.to_bytes(32) + s.to_bytes(32)))
        assert result is expected or isinstance(result, Token) is (expected is Token)


def test_critical_extensions_are_refused() -> None:
    _, claims, signature = sign().split(b".")
    head = part({"alg": "ES256", "kid": "ES256", "crit": ["b64"], "b64": False})
    assert verifier().verify(b".".join((head, claims, signature))) is Denial.MALFORMED


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["a", "b"]},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": -1},
        {"nbf": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 257},
        {"sub": "team-a\u200b"},
        {"sub": "team\na"},
        {"sub": "e\u0301"},
        {"sub": "\u202eteam"},
        {"topics": None},
        {"topics": "features"},
        {"topics": [1]},
        {"topics": ["t"] * 257},
    ],
    ids=str,
)
def test_wrong_claims_are_refused(claims: dict[str, Any]) -> None:
    assert verifier().verify(sign(**claims)) is Denial.CLAIMS


def test_a_list_of_audiences_and_a_token_for_all_topics_can_be_accepted() -> None:
    token = verifier(needs_topics=False).verify(sign(aud=["a", "fb"], topics=None))
    assert isinstance(token, Token) and token.topics is None


def test_names_in_other_scripts_are_principals() -> None:
    assert all(map(is_principal, ("Åsa", "команда", "团队", "*", "a b", "é")))


@pytest.mark.parametrize(
    "token", [b"", b".", b"..", b"a.b", b"a.b.c.d", b"a.b.c\n", b"a.b.c=", b"{}", b"\xff.\xff.\xff", b"A" * 5000]
)
def test_what_is_not_a_token_is_malformed(token: bytes) -> None:
    assert verifier().verify(token) is Denial.MALFORMED


@given(st.binary(max_size=200))
def test_verifying_never_raises(token: bytes) -> None:
    assert isinstance(SHARED.verify(token), Denial)


def test_what_is_remembered_is_bounded_and_refusals_do_not_put_out_tokens() -> None:
    tokens = verifier(max_cached=2)
    good = sign("EdDSA")
    first = tokens.verify(good)
    for number in range(MAX_CACHED_REFUSALS + 10):
        tokens.verify(b"a.b.%d" % number)
    assert tokens.verify(good) is first and len(tokens._refused) == MAX_CACHED_REFUSALS
    for number in range(3):
        tokens.verify(sign("EdDSA", sub=f"p{number}"))
    assert len(tokens._verified) == 2 and tokens.verify(good) == first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"no", "not JSON"),
        (b"[]", "not a JWK set"),
        (b'{"keys":[]}', "not a JWK set"),
        (b'{"keys":[1]}', r"keys\[0\] is not an object"),
        (b'{"keys":[{"kty":"OKP"}]}', "has no kid"),
        (b'{"keys":[{"kid":"a","kty":"oct","k":"c2VjcmV0"}]}', "secret or private key"),
        (b'{"keys":[{"kid":"a","kty":"oct"}]}', "is not an EC key on P-256"),
        (b'{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"AA"}]}', "not a valid key"),
        (b'{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}', "not a valid key"),
        (b'{"keys":[{"kid":"a","kty":"RSA","n":"-_-_","e":"AQAB"}]}', r"keys\[0\]"),
        (b'{"keys":[{"kid":"a","kty":"EC","crv":"P-256","use":"enc"}]}', "not for verifying"),
        (b'{"keys":[{"kid":"a","kty":"EC","crv":"P-256","key_ops":5}]}', "not for verifying"),
    ],
)
def test_a_key_set_that_cannot_be_used_says_why(text: bytes, reason: str) -> None:
    with pytest.raises(KeyProblem, match=reason):
        read_key_set(text)


def test_private_keys_and_repeated_kids_are_refused() -> None:
    key = keys()["ES256"]
    with pytest.raises(KeyProblem, match="private key"):
        read_key_set(orjson.dumps({"keys": [key.as_dict(private=True)]}))
    public = key.as_dict(private=False)
    with pytest.raises(KeyProblem, match="same kid"):
        read_key_set(orjson.dumps({"keys": [public, public]}))
    with pytest.raises(KeyProblem, match="another alg"):
        read_key_set(orjson.dumps({"keys": [public | {"alg": "RS256"}]}))
