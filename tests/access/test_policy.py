"""Decisions about events: by token, topic, record timestamp and model, the same at any time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from forebay.schemas.headers import PRINCIPAL
from forebay.stream.access.policy import AccessPolicy, policy_revision, token_of
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import MESSAGES, Denial, Token
from forebay.stream.core.model_ref import ModelRef
from tests.access.issuer import JULY_S, sign, verifier
from tests.core.build import JULY, MODEL

POLICY = AccessPolicy(verifier(), Rules({"team-a/*": ["m"]}), revision="r1")
HEADER = "forebay-principal"


def decide(*tokens: bytes | None, times: list[int] | None = None, topic: str = "features") -> list[Denial]:
    headers = [[] if token is None else [("other", b"x"), (HEADER, token)] for token in tokens]
    timestamp_B = np.array(times or [JULY] * len(tokens), dtype=np.int64)
    decisions = POLICY.decide(headers, timestamp_B, topic=topic, model=MODEL)
    assert decisions.revision == "r1" and len(decisions.token_B) == len(tokens)
    return [Denial(code) for code in decisions.denial_B.tolist()]


def test_each_event_has_the_decision_of_its_own_token() -> None:
    ann, eve = sign("EdDSA"), sign("EdDSA", sub="eve")
    assert decide(ann, eve, None, ann, b"junk") == [
        Denial.NONE,
        Denial.RULE,
        Denial.NO_TOKEN,
        Denial.NONE,
        Denial.MALFORMED,
    ]
    assert decide() == []


def test_principals_are_reported_by_distinct_token() -> None:
    ann, eve = sign("EdDSA"), sign("EdDSA", sub="eve")
    headers = [[(HEADER, token)] for token in (ann, eve, ann, b"junk")]
    decisions = POLICY.decide(headers, np.full(4, JULY), topic="features", model=MODEL)
    assert decisions.principals == ["team-a/ann", "eve", None] and decisions.token_B.tolist() == [0, 1, 0, 2]


def test_the_timestamp_of_the_record_decides_and_not_the_clock() -> None:
    token = sign("EdDSA", nbf=JULY_S, exp=JULY_S + 10)
    times = [JULY - 1, JULY, JULY + 9_999, JULY + 10_000, -1]
    assert decide(*[token] * 5, times=times) == [Denial.TIME, Denial.NONE, Denial.NONE, Denial.TIME, Denial.TIME]
    assert decide(sign("EdDSA"), times=[-1]) == [Denial.TIME]


def test_a_token_is_for_its_topics() -> None:
    assert decide(sign("EdDSA"), topic="features-2") == [Denial.TOPIC]
    assert decide(sign("EdDSA", topics=["*"])) == [Denial.TOPIC]
    assert decide(sign("EdDSA", topics=[])) == [Denial.TOPIC]


def test_more_than_one_token_is_refused_also_if_they_are_equal_or_spelt_otherwise() -> None:
    token = sign("EdDSA")
    assert token_of([(HEADER, token), ("Forebay-Principal", token)]) is Denial.SEVERAL_TOKENS
    assert token_of([(HEADER, token)] * 3) is Denial.SEVERAL_TOKENS
    assert token_of([(HEADER, None), (HEADER, token)]) is Denial.SEVERAL_TOKENS
    assert token_of([("FOREBAY-PRINCIPAL", token)]) == token and token_of([(HEADER, None)]) is Denial.MALFORMED


def test_every_denial_has_a_message() -> None:
    assert set(MESSAGES) == set(Denial) - {Denial.NONE}


def test_the_revision_is_a_digest_of_the_policy() -> None:
    first = policy_revision({"a": 1, "b": {"x": ["y"]}})
    assert first == policy_revision({"b": {"x": ["y"]}, "a": 1}) and len(first) == 16
    assert first != policy_revision({"a": 1, "b": {"x": ["z"]}})


def test_only_decisions_about_verified_tokens_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.stream.access.policy.MAX_KEPT_DECISIONS", 2)

    class Counting:
        asked: ClassVar[list[bytes]] = []

        def verify(self, token: bytes) -> Token | Denial:
            self.asked.append(token)
            return Token(token.decode(), 0, 10, None) if token.startswith(b"team-a/") else Denial.SIGNATURE

    policy = AccessPolicy(Counting(), Rules({"team-a/*": ["m"]}), revision="r")

    def decide(*tokens: bytes, topic: str = "features") -> list[int]:
        headers = [[(PRINCIPAL, token)] for token in tokens]
        times = np.full(len(tokens), 5, dtype=np.int64)
        return policy.decide(headers, times, topic=topic, model=ModelRef("m", 1)).denial_B.tolist()

    for _ in range(2):
        assert decide(b"team-a/1", b"forged") == [Denial.NONE, Denial.SIGNATURE]
    assert Counting.asked == [b"team-a/1", b"forged", b"forged"]
    assert decide(b"team-a/1", topic="other") == [Denial.NONE]
    assert Counting.asked.count(b"team-a/1") == 2
    for number in range(2, 6):
        assert decide(b"team-a/%d" % number) == [Denial.NONE]
    assert decide(b"team-a/1") == [Denial.NONE]
    assert Counting.asked.count(b"team-a/1") == 3
