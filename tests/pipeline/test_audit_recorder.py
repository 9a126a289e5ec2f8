"""The rows of the audit: one for each outcome, with who asked, also for denied events and for those in windows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forebay.schemas.errors import ForebayError
from forebay.schemas.failures import FailureKind
from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import Denial, Token
from forebay.stream.audit.block import Block, decode_block
from forebay.stream.audit.filter import AuditFilter
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch, RowFailure
from forebay.stream.core.redaction import Redactor
from forebay.stream.decode.access_filter import AccessFilter
from forebay.stream.output.emitter import Emission
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.audit_recorder import AuditRecorder
from forebay.stream.pipeline.audit_rows import AuditContent
from forebay.stream.pipeline.audited_access import DENIALS, AuditedAccess, principal_hash
from tests.audit.build import writer
from tests.core.build import JULY, MODEL, P0, FakeRecord, ManualClock, chunk, columns_of, finish, unreadable
from tests.eventtime.build import plan, poll, stage

HEADER = "forebay-principal"
KEY = b"0123456789abcdef"
NAMES = {"a": b"ann", "e": b"eve", "X": b"XXX"}


class CountingVerifier:
    """A verifier for which a token is the name of its principal, and one in capitals is forged."""

    def __init__(self) -> None:
        self.verified: list[bytes] = []

    def verify(self, token: bytes) -> Token | Denial:
        self.verified.append(token)
        return Token(token.decode(), 0, JULY + 10_000, None) if token.islower() else Denial.SIGNATURE


def policy(verifier: CountingVerifier | None = None) -> AccessPolicy:
    return AccessPolicy(verifier or CountingVerifier(), Rules({"ann": ["m"]}), revision="5eed")


def recorder(
    access: AccessPolicy | PolicyHistory | None, *, max_bytes: int = 1 << 20, digests: bool = False
) -> AuditRecorder:
    history = PolicyHistory(lambda: access) if isinstance(access, AccessPolicy) else access
    return AuditRecorder(
        writer(max_bytes=max_bytes),
        OutputTopic("audit", 4, max_bytes),
        AuditContent(input_digests=digests, output_digests=digests),
        clock=ManualClock(),
        access=None if history is None else AuditedAccess(history, functools.partial(principal_hash, KEY)),
    )


def signed(part: Chunk, tokens: str) -> Chunk:
    """Return the chunk with a token in each record: a for Ann, e for Eve, X for a forged one, a dot for none."""

    def sign(record: Any) -> FakeRecord:
        letter = tokens[record.offset - 10]
        return replace(record, headers=() if letter == "." else [(HEADER, NAMES[letter])])

    rejections = [replace(rejection, record=sign(rejection.record)) for rejection in part.rejections]
    return replace(part, records=columns_of(list(map(sign, part.records))), rejections=rejections)


def blocks(audit: AuditRecorder, results: Sequence[BatchResult], *, passed: int) -> list[Block]:
    """Return the blocks that the audit adds to the emission of these results."""
    emission = Emission({}, {}, Ledger(now_ms=JULY))
    emission.ledger.of(MODEL, Redactor()).passed[P0] = passed
    audit.record(results, emission)
    return [decode_block(value) for outgoing in emission.outgoing.values() for value in outgoing.values]


def rows(found: Iterable[Block]) -> list[dict[str, Any]]:
    return [row for block in found for row in AuditFilter().select(block)]


def result_of(*parts: BatchPart, failures: dict[int, RowFailure] | None = None) -> BatchResult:
    return finish(MicroBatch(0, parts, "size", 0.0), failures)


def test_each_row_has_the_hashed_principal_and_the_reason_of_a_denial() -> None:
    rules = policy()
    (part,) = AccessFilter(lambda: rules).filter([signed(chunk(range(10, 16), rejected=(14, 15)), "aeX.ae")])
    found = blocks(recorder(rules), [result_of(part)], passed=6)
    ann, eve = (principal_hash(KEY, name) for name in ("ann", "eve"))
    assert [(row["offset"], row["outcome"], row["principal"], row["denial"]) for row in rows(found)] == [
        (10, "predicted", ann, None),
        (11, "denied", eve, "rule"),
        (12, "denied", None, "signature"),
        (13, "denied", None, "no_token"),
        (14, "not_json", ann, None),
        (15, "denied", eve, "rule"),
    ]
    assert {row["policy_revision"] for row in rows(found)} == {"5eed"}
    assert "ann" not in str(found[0].document) and len(ann) == 32 and set(DENIALS[1:]) >= {"time", "topic"}
    chosen = AuditFilter(principals=frozenset(("eve", eve)))
    assert [row["offset"] for row in chosen.select(found[0])] == [11, 15]


def test_a_denial_by_a_rule_stays_one_if_a_rollout_brings_a_permitted_version() -> None:
    rules = policy()
    other = replace(signed(chunk(range(10, 11)), "e"), model=chunk([0]).model._replace(name="other"))
    (part,) = AccessFilter(lambda: rules).filter([other])
    allowed = AccessPolicy(CountingVerifier(), Rules({"eve": ["*"]}), revision="2")
    (row,) = rows(blocks(recorder(allowed), [result_of(part)], passed=1))
    assert (row["outcome"], row["denial"]) == ("denied", "rule")


def test_a_commit_after_a_change_of_the_rules_says_what_each_of_them_decided() -> None:
    force = [policy(), AccessPolicy(CountingVerifier(), Rules({"eve": ["m"]}), revision="n3w")]
    history = PolicyHistory(lambda: force[0])
    stage = AccessFilter(lambda: force[0], history=history)
    parts = [*stage.filter([signed(chunk(range(10, 13), rejected=(12,)), "aee")])]
    force.reverse()
    parts += stage.filter([signed(chunk(range(13, 16)), "...aea")])
    found = blocks(recorder(history), [result_of(part) for part in parts], passed=6)
    assert [(row["offset"], row["policy_revision"], row["outcome"], row["denial"]) for row in rows(found)] == [
        (10, "5eed", "predicted", None),
        (11, "5eed", "denied", "rule"),
        (12, "5eed", "denied", "rule"),
        (13, "n3w", "denied", "rule"),
        (14, "n3w", "predicted", None),
        (15, "n3w", "denied", "rule"),
    ]


def test_tokens_are_looked_up_once_for_each_chunk_and_not_for_each_event() -> None:
    verifier = CountingVerifier()
    part = signed(chunk(range(10, 110)), "ae" * 50)
    blocks(recorder(policy(verifier)), [result_of(part)], passed=100)
    assert sorted(verifier.verified) == [b"ann", b"eve"]


def test_a_block_has_only_its_own_principals() -> None:
    part = chunk(range(10, 2_010))
    records = [
        replace(record, headers=[(HEADER, b"user%d" % record.offset)])  # type: ignore[type-var]
        for record in part.records
    ]
    found = blocks(
        recorder(policy(), max_bytes=65_536),
        [result_of(replace(part, records=columns_of(records)))],
        passed=2_000,
    )
    assert len(found) > 1 and all(len(block.document["principals"]) == block.num_rows for block in found)
    assert [row["principal"] for row in rows(found)] == [principal_hash(KEY, f"user{n}") for n in range(10, 2_010)]


def test_without_rules_nothing_is_said_of_principals() -> None:
    part = signed(chunk(range(10, 14), rejected=(11,)), "aeX.")
    failures = {2: RowFailure(FailureKind.MODEL_ERROR, "no")}
    found = rows(blocks(recorder(None, digests=True), [result_of(part, failures=failures)], passed=4))
    assert [row["outcome"] for row in found] == ["predicted", "not_json", "predicted", "model_error"]
    assert {(row["principal"], row["denial"], row["policy_revision"]) for row in found} == {(None, None, None)}
    assert [row["output_sha256"] is None for row in found] == [False, True, False, True]
    assert [row["input_sha256"] is None for row in found] == [False, True, False, False]


def test_unreadable_records_are_one_row_without_a_principal() -> None:
    record = unreadable(10, 19, count=5)
    part = chunk(range(20, 22))
    rejection = replace(chunk([10], rejected=[10]).rejections[0], record=record, count=5, kind=record.kind)
    part = replace(part, rejections=[rejection], num_records=3)
    found = rows(blocks(recorder(policy()), [result_of(part)], passed=7))
    assert (found[0]["offset"], found[0]["records"], found[0]["principal"]) == (19, 5, None)


def test_events_that_windows_accept_have_a_row_each() -> None:
    rules = policy()
    windows = stage(replace(plan(), keeps_events=True))
    windows.restore({P0: None})
    events = [(b"k", 1), (b"k", 2), None, (b"k", 25), (b"k", 3), (None, 26)]
    (part,) = AccessFilter(lambda: rules).filter([signed(poll(10, events), "aaaaaa")])
    (windowed,) = windows.take(part)
    result = BatchResult(
        MicroBatch(0, (windowed,), "size", 0.0),
        values_BO=np.ones((1, 2), dtype=np.float32),
        classes_B=None,
        confidences_B=None,
        failures={},
        model_s=0.0,
    )
    found = rows(blocks(recorder(rules), [result], passed=6))
    ann = principal_hash(KEY, "ann")
    assert [(row["offset"], row["outcome"], row["id"], row["principal"]) for row in found] == [
        (10, "accepted", "e10", ann),
        (11, "accepted", "e11", ann),
        (12, "not_json", None, ann),
        (13, "accepted", "e13", ann),
        (14, "late", "e14", ann),
        (15, "missing_key", "e15", ann),
        (15, "window_predicted", f"k|{JULY}|{JULY + 10}", None),
    ]


def test_without_the_audit_windows_keep_no_events() -> None:
    windows = stage()
    windows.restore({P0: None})
    (windowed,) = windows.take(poll(10, [(b"k", 1)]))
    assert list(windowed.events.accepted) == [JULY] and windowed.events.events is None


def test_a_missing_outcome_ends_the_worker_before_anything_is_sent() -> None:
    with pytest.raises(ForebayError, match="3 records but 2 audited outcomes"):
        blocks(recorder(None), [result_of(chunk(range(10, 12)))], passed=3)
