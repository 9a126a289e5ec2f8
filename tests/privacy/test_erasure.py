"""Which records are about a key, and what can be done about them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from forebay.stream.cli.privacy_forget import forms_of_key
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.config.sections import Settings
from forebay.stream.privacy.erasure import Erasure, ErasureState, KeySearch, TopicErasure, plan_erasure

DAY_MS = 86_400_000
COMPACTED = ErasureState("compact", DAY_MS)


class Read(NamedTuple):
    key: bytes | None
    value: bytes | None
    timestamp: int = 1_000


def plan(state: ErasureState, *records: Read, key: str = "anna") -> list[TopicErasure]:
    search = KeySearch(lambda _time_ms: (key,))
    search.add("t", 3, records)
    return plan_erasure(search.found, {"t": state})


def test_records_are_found_by_key_id_and_field() -> None:
    (found,) = plan(
        ErasureState("delete", DAY_MS),
        Read(b"anna", b'{"id": "anna", "key": "anna"}'),
        Read(b"bob", b'{"id": "anna"}', 5_000),
        Read(b"bob", b'{"note": "anna", "id": "annab"}', 9_000),
        Read(b"anna2", b"anna"),
        Read(None, b'["anna"]'),
    )
    document = found.to_dict()
    assert (document["records"], document["as_key"], document["as_id"], document["as_field_key"]) == (2, 1, 2, 1)
    assert (found.erasure, found.gone_by_ms, found.tombstones) == (Erasure.RETENTION, 5_000 + DAY_MS, ())
    assert found.reason == "the topic is not compacted"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("żółw", b'{"id": "\\u017c\\u00f3\\u0142w"}'),
        ("żółw", '{"id": "żółw"}'.encode()),
        ('a"\\b', b'{"id": "a\\"\\\\b"}'),
        ("17", b'{"id": 17}'),
    ],
)
def test_ids_are_found_however_they_are_written(key: str, value: bytes) -> None:
    (found,) = plan(COMPACTED, Read(b"x", value), key=key)
    assert found.found.num_records == 1


def test_tombstones_are_for_compacted_topics_only() -> None:
    (found,) = plan(COMPACTED, Read(b"anna", b"1"), Read(b"anna", b"2"))
    assert (found.erasure, found.tombstones, found.gone_by_ms) == (Erasure.TOMBSTONE, ((3, b"anna"),), None)
    (found,) = plan(COMPACTED, Read(b"anna", b"1"), Read(b"anna", None))
    assert (found.erasure, found.tombstones) == (Erasure.DONE, ())
    (found,) = plan(COMPACTED, Read(b"bob", b'{"id": "anna"}'))
    assert (found.erasure, found.tombstones) == (Erasure.NEVER, ())
    (found,) = plan(ErasureState("compact", -1, "workers read it"), Read(b"anna", b"1"))
    assert (found.erasure, found.reason) == (Erasure.NEVER, "workers read it")
    (found,) = plan(ErasureState(None, None), Read(b"anna", b"1"))
    assert (found.erasure, found.reason) == (Erasure.NEVER, "the cluster does not return cleanup.policy")
    assert plan(COMPACTED, Read(b"bob", b"1")) == []


def test_hashed_keys_are_found_in_each_period() -> None:
    section = PrivacySection(enabled=True, keys="hash", hash_key="0123456789abcdef", hash_period_days=1)
    forms = forms_of_key(Settings(privacy=section), "anna@example.org")
    first, second = forms(DAY_MS - 1), forms(DAY_MS)
    assert first[0] == second[0] == "anna@example.org" and first[1] != second[1]
    assert first[1].startswith("[email:")
    assert forms_of_key(Settings(privacy=PrivacySection(enabled=True)), "a")(0) == ("a",)
