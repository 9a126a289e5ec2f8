"""The judgements of a privacy report, by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser

import orjson
import pytest

from forebay.stream.cli.privacy_page import privacy_page
from forebay.stream.cli.privacy_report import newest
from forebay.stream.core.records import TopicPartition
from forebay.stream.privacy.anonymity_sample import AnonymityPolicy, AnonymitySample
from forebay.stream.privacy.detectors import build_detectors
from forebay.stream.privacy.field_names import FieldNames
from forebay.stream.privacy.inventory import Inventory
from forebay.stream.privacy.judgement import Judgement, PrivacyReport, SampledTopic, Verdict
from forebay.stream.privacy.minimisation import MinimisationSample, used_paths
from forebay.stream.privacy.retention import DAY_MS, RetentionPolicy, TopicRetention, judge_retention
from forebay.stream.privacy.sampled_record import SampledRecord, form_of
from tests.privacy.planted import KINDS, planted

DETECTORS = build_detectors()


def record(
    offset: int, document: object, *, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
) -> SampledRecord:
    value = document if isinstance(document, bytes) else orjson.dumps(document)
    return SampledRecord(f"0@{offset}", key, value, list((headers or {}).items()))


def inventory_of(*records: SampledRecord, topic: str = "features") -> Inventory:
    inventory = Inventory(DETECTORS, FieldNames(DETECTORS))
    inventory.add(topic, records)
    return inventory


def test_findings_are_counted_by_place_and_field() -> None:
    judgement = inventory_of(
        record(0, {"id": "a", "features": {"note": ["mail anna@example.org", "bob@example.org"]}}),
        record(1, {"id": "b", "features": {"note": "none"}}, key=b"anna@example.org", headers={"from": b"+49 151 12345678"}),
        record(2, {"features": {"anna@example.org": "x", "n": 1}}),
        record(3, b"\x00\x18anna@example.org\x02"),
    ).judge(frozenset())  # fmt: skip
    assert judgement.verdict is Verdict.FAILED
    rows = {(row["place"], row["field"], row["detector"]): row for row in judgement.evidence}
    assert set(rows) == {
        ("value", "features.note[]", "email"),
        ("key", "", "email"),
        ("header", "from", "phone"),
        ("name", "", "email"),
        ("value", "", "email"),
    }
    note = rows["value", "features.note[]", "email"]
    assert (note["findings"], note["records"], note["of_records"], note["first_at"]) == (2, 1, 4, "0@0")
    assert note["form"] == "aaaa@aaaaaaa.aaa"


def test_accepted_findings_are_shown_and_pass() -> None:
    inventory = inventory_of(record(0, {"note": "anna@example.org"}, key=b"+49 151 12345678"))
    assert inventory.judge(frozenset({"features"})).verdict is Verdict.PASSED
    partly = inventory.judge(frozenset({"features:email"}))
    assert partly.verdict is Verdict.FAILED
    assert {row["detector"]: row["accepted"] for row in partly.evidence} == {"email": True, "phone": False}


def test_no_report_holds_what_was_found() -> None:
    texts = [text for kind, text in planted(400, seed=5) if kind != "name"]
    records = [
        record(i, {"note": text, "features": {text: text}}, key=text.encode(), headers={text: b"1"})
        for i, text in enumerate(texts)
    ]
    names = FieldNames(DETECTORS)
    inventory = Inventory(DETECTORS, names)
    minimisation = MinimisationSample({"t": used_paths({"x"})}, (), names.shown)
    anonymity = AnonymitySample(AnonymityPolicy(("note",), ("note",), min_l=1), {})
    for sample in (inventory, minimisation, anonymity):
        sample.add("t", records)
    judgements = (inventory.judge(frozenset()), minimisation.judge(), anonymity.judge())
    report = PrivacyReport(0, (SampledTopic("t", len(records), 1, 1),), judgements)
    written = json.dumps(report.to_dict()) + privacy_page(report)
    for text in texts:
        assert text.removeprefix("tel ") not in written
    assert {row["detector"] for row in judgements[0].evidence} == {
        "email",
        "phone",
        "iban",
        "card",
        "ip",
        "national_id",
    }
    assert set(KINDS) > {"email"}


def test_the_form_of_a_text_has_none_of_its_letters_or_digits() -> None:
    assert form_of("Anna-ÄÖ 123@x.y") == "Aaaa-AA 999@a.a"
    assert len(form_of("x" * 100)) == 48
    assert "\x1b" not in form_of("\x1b[31m")


def anonymity(policy: AnonymityPolicy, *records: SampledRecord) -> Judgement:
    sample = AnonymitySample(policy, {"zip": 1})
    sample.add("features", records)
    return sample.judge()


def test_anonymity_counts_persons_by_key_and_names_the_field_that_helps() -> None:
    records = [
        record(i, {"features": {"zip": "1010", "born": 1950 + i % 6, "illness": "flu"}}, key=b"person %d" % (i % 12))
        for i in range(60)
    ]
    judgement = anonymity(AnonymityPolicy(("zip", "born"), ("illness",), min_k=5), *records)
    (row,) = judgement.evidence
    assert judgement.verdict is Verdict.FAILED
    assert (row["k"], row["persons"], row["classes"], row["l_of_illness"]) == (2, 12, 6, 1)
    assert (row["k_without_born"], row["k_without_zip"], row["persons_below_k_share"]) == (12, 2, 1.0)
    assert judgement.remedies[0] == "leave out born, which raises k most: to 12"
    assert anonymity(AnonymityPolicy(("zip",), min_k=12), *records).verdict is Verdict.PASSED


def test_anonymity_needs_declared_fields_that_events_have() -> None:
    event = record(0, {"features": [1.0, 1010.0]}, key=b"a")
    assert "no quasi-identifiers" in anonymity(AnonymityPolicy(()), event).summary
    assert anonymity(AnonymityPolicy(("age",)), event).verdict is Verdict.NOT_JUDGED
    assert anonymity(AnonymityPolicy(("zip",), min_k=1), event).verdict is Verdict.PASSED, "by its index"


def test_unused_fields_have_their_share_of_the_bytes() -> None:
    sample = MinimisationSample({"features": used_paths({"a"})}, ("trace",))
    document = {"id": "1", "features": {"a": 1, "b": "x" * 40}, "extra": {"deep": 1}, "trace": "t"}
    sample.add("features", [record(0, document), record(1, b"\x00binary")])
    sample.add("predictions", [record(0, {"other": 1})])
    judgement = sample.judge()
    assert judgement.verdict is Verdict.FAILED
    assert [(row["field"], row["needed_by_others"]) for row in judgement.evidence] == [
        ("features.b", False),
        ("extra", False),
        ("trace", True),
    ]
    assert judgement.evidence[0]["bytes_share"] == pytest.approx(47 / len(orjson.dumps(document)), abs=1e-6)
    assert "1 records that are not JSON objects were not judged" in judgement.summary
    sample = MinimisationSample({"features": used_paths(None)}, ())
    sample.add("features", [record(0, {"id": "1", "features": {"a": 1}})])
    assert sample.judge().verdict is Verdict.PASSED


def test_retention_is_compared_with_the_policy() -> None:
    topics = [
        TopicRetention("short", DAY_MS, "delete"),
        TopicRetention("long", 30 * DAY_MS, "delete"),
        TopicRetention("compacted", DAY_MS, "compact"),
        TopicRetention("both", DAY_MS, "compact,delete"),
        TopicRetention("forever", -1, "delete"),
        TopicRetention("hidden", None, None),
        TopicRetention("rollouts", -1, "delete", holds_events=False),
    ]
    judgement = judge_retention(topics, RetentionPolicy(7, {"long": 30}))
    states = {row["topic"]: row["state"] for row in judgement.evidence}
    assert states == {
        "short": "kept",
        "long": "kept",
        "compacted": "too long",
        "both": "kept",
        "forever": "too long",
        "hidden": "unknown",
        "rollouts": "holds nothing of events",
    }
    assert "kafka-configs --alter --topic forever --add-config retention.ms=604800000" in judgement.remedies
    assert judge_retention(topics[:2], RetentionPolicy(30)).verdict is Verdict.PASSED
    assert judge_retention(topics, RetentionPolicy()).verdict is Verdict.NOT_JUDGED


def test_the_newest_records_are_read_from_all_partitions() -> None:
    ranges = {
        TopicPartition("a", 0): range(0, 3),
        TopicPartition("a", 1): range(10, 100),
        TopicPartition("b", 0): range(5),
    }
    assert newest(ranges, 20) == {
        TopicPartition("a", 0): range(0, 3),
        TopicPartition("a", 1): range(83, 100),
        TopicPartition("b", 0): range(5),
    }


def test_the_page_is_complete_and_escaped() -> None:
    judgement = Judgement(
        "minimisation", Verdict.FAILED, "<b>", ({"field": "<i>", "bytes_share": 0.5},), remedies=("<u>",)
    )
    page = privacy_page(PrivacyReport(0, (SampledTopic("t", problem="there is no such topic"),), (judgement,)))
    HTMLParser().feed(page)
    assert "<b>" not in page and "<i>" not in page and "<u>" not in page
    assert "50.0%" in page and "there is no such topic" in page and "default-src 'none'" in page
