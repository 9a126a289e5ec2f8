"""Denied events become rejections of one kind, whatever else is wrong with them; the rest of a chunk stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import Denial, Token
from forebay.stream.core.records import Chunk
from forebay.stream.decode.access_filter import AccessFilter
from forebay.stream.output.encoder import dead_letter, prediction_headers
from tests.core.build import JULY, P0, FakeRecord, chunk, columns_of, rows_chunk

HEADER = "forebay-principal"


class NamedTokens:
    """A verifier for which a token is the name of its principal."""

    def verify(self, token: bytes) -> Token | Denial:
        return Token(token.decode(), 0, JULY + 50, None) if token.islower() else Denial.SIGNATURE


POLICY = AccessPolicy(NamedTokens(), Rules({"ann": ["m"]}), revision="r")
FILTER = AccessFilter(lambda: POLICY)


def with_tokens(tokens: str, rejected: tuple[int, ...] = ()) -> Chunk:
    """Return a chunk with an event for each letter: a for Ann, e for Eve, X for a forged token, a dot for none."""
    names = {"a": b"ann", "e": b"eve", "X": b"XXX"}
    before = chunk(range(10, 10 + len(tokens)), rejected=rejected)

    def signed(record: object) -> FakeRecord:
        assert isinstance(record, FakeRecord)
        letter = tokens[record.offset - 10]
        return replace(record, headers=[(HEADER, names[letter])] if letter != "." else ())

    rejections = [replace(rejection, record=signed(rejection.record)) for rejection in before.rejections]
    return replace(before, records=columns_of(list(map(signed, before.records))), rejections=rejections)


def test_only_events_with_permission_remain() -> None:
    before = replace(with_tokens("aeX.a"), keys={0: b"k", 4: b"m"}, deadlines={1: 5, 4: 6})
    (after,) = FILTER.filter([before])
    assert [record.offset for record in after.records] == [10, 14] and after.x_BF[:, 0].tolist() == [10, 14]
    assert [(r.index, r.kind) for r in after.rejections] == [(i, FailureKind.DENIED) for i in (1, 2, 3)]
    assert after.keys == {0: b"k", 1: b"m"} and after.deadlines == {1: 6}
    assert after.num_rows + after.num_rejected == after.num_records == 5 and after.next_offset == before.next_offset


def test_a_permitted_chunk_is_not_copied() -> None:
    before = with_tokens("aaa")
    assert FILTER.filter([before])[0] is before


def test_records_that_cannot_be_decoded_are_denied_too() -> None:
    (after,) = FILTER.filter([with_tokens("aeXa.", rejected=(10, 11, 12, 13, 14))])
    denied, other = FailureKind.DENIED, FailureKind.NOT_JSON
    assert [r.kind for r in after.rejections] == [other, denied, denied, other, denied]


def test_rows_of_a_record_share_its_token() -> None:
    before = rows_chunk({10: 3, 11: 2})
    (after,) = FILTER.filter([before])
    assert after.num_rows == 0 and {r.kind for r in after.rejections} == {FailureKind.DENIED}
    assert after.num_rejected == before.num_records


def test_expiry_is_judged_by_the_record() -> None:
    late = with_tokens("aa")
    late = replace(late, records=[replace(r, timestamp=JULY + 50 * i) for i, r in enumerate(_plain(late))])
    (after,) = FILTER.filter([late])
    assert after.num_rows == 1 and "timestamp" in after.rejections[0].message


def _plain(part: Chunk) -> list[FakeRecord]:
    return [FakeRecord(r.offset, r.value, timestamp=r.timestamp, key=r.key, headers=r.headers) for r in part.records]


def test_neither_token_nor_principal_is_in_a_dead_letter_or_prediction() -> None:
    (after,) = FILTER.filter([with_tokens("e")])
    (rejection,) = after.rejections
    record = replace(_plain(with_tokens("e"))[0], headers=[("Forebay-Principal", b"eve"), ("trace", b"1")])
    _, _, headers = dead_letter(record, P0, rejection.kind, rejection.message, max_bytes=10_000)
    assert not any(b"eve" in (value or b"") or name.lower() == HEADER for name, value in headers)
    assert ("trace", b"1") in headers and prediction_headers(record.headers) == [("trace", b"1")]


def test_an_empty_chunk_stays_empty() -> None:
    empty = replace(
        with_tokens("a"), records=[], ids=[], timestamps=[], x_BF=np.zeros((0, 1), np.float32), num_records=0
    )
    assert FILTER.filter([empty])[0] is empty
