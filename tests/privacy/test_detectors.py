"""What the detectors find, and what they leave alone."""

from __future__ import annotations

import pytest

from forebay.stream.privacy.detector import Column, findings_of
from forebay.stream.privacy.detectors import build_detectors
from forebay.stream.privacy.national import COUNTRIES
from tests.privacy.planted import DETECTOR_OF, PERSONS, innocent, planted

DETECTORS = build_detectors(person_names=PERSONS)


def found(text: str, **options: bool) -> list[tuple[str, str]]:
    detectors = build_detectors(person_names=PERSONS, accepts_bare=True) if options else DETECTORS
    return [(text[one.start : one.end], one.detector) for one in findings_of(detectors, Column([text]))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to anna.b@example.org, please", ("anna.b@example.org", "email")),
        ("<a+b@mail.example.co.uk>", ("a+b@mail.example.co.uk", "email")),
        ("call +49 151 23456789 now", ("+49 151 23456789", "phone")),
        ("0049 151 23456789", ("0049 151 23456789", "phone")),
        ("(415) 555-2671", ("(415) 555-2671", "phone")),
        ("DE89 3704 0044 0532 0130 00 thanks", ("DE89 3704 0044 0532 0130 00", "iban")),
        ("gb82west12345698765432", ("gb82west12345698765432", "iban")),
        ("4111 1111 1111 1111", ("4111 1111 1111 1111", "card")),
        ("card=4111111111111111", ("4111111111111111", "card")),
        ("cc:4111111111111111", ("4111111111111111", "card")),
        ("3782-822463-10005", ("3782-822463-10005", "card")),
        ("from 192.168.1.20:443", ("192.168.1.20", "ip")),
        ("ip 10.0.0.1", ("10.0.0.1", "ip")),
        ("2001:db8::ff00:42:8329", ("2001:db8::ff00:42:8329", "ip")),
        ("SSN 536-90-4399", ("536-90-4399", "national_id")),
        ("bsn:111222333", ("111222333", "national_id")),
        ("DNI 12345678Z", ("12345678Z", "national_id")),
        ("pesel 44051401359", ("44051401359", "national_id")),
        ("86 095 742 719", ("86 095 742 719", "national_id")),
        ("RSSMRA85T10A562S", ("RSSMRA85T10A562S", "national_id")),
        ("1 84 12 76 451 089 46", ("1 84 12 76 451 089 46", "national_id")),
        ("Dear anna schmidt!", ("anna schmidt", "name")),
    ],
)
def test_each_kind_is_found_at_its_place(text: str, expected: tuple[str, str]) -> None:
    assert found(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",  # a bare number, which a check digit alone does not make a card
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "DE89370400440532013",
        "version 192.168.100.200",
        "Chrome/99.120.101.115",
        "1.2.3.4",
        "300.168.100.200",
        "2026-11-29T06:30:00+01:00",
        "12:34:56:78:9a:bc",
        "std::vector",
        "666-12-3456",
        "12345678A",
        "44051401358",
        "+1 123 456 7890",
        "+49 12",
        "@mention and user@localhost",
        "Annabel Schmidts",
        "",
    ],
)
def test_what_only_looks_alike_is_not_found(text: str) -> None:
    assert found(text) == []


def test_bare_numbers_are_found_if_they_are_accepted() -> None:
    assert found("4111111111111111", accepts_bare=True) == [("4111111111111111", "card")]


def test_places_are_those_in_the_string_of_a_column() -> None:
    column = ["nothing", "x a@example.org y", "", "ip 10.0.0.1"]
    findings = findings_of(DETECTORS, Column(column))
    assert [(one.row, column[one.row][one.start : one.end]) for one in findings] == [
        (1, "a@example.org"),
        (3, "10.0.0.1"),
    ]
    as_bytes = Column.of_bytes([text.encode() for text in column])
    assert findings_of(DETECTORS, as_bytes) == findings


def test_bytes_that_are_not_text_are_looked_at_as_well() -> None:
    findings = findings_of(DETECTORS, Column.of_bytes([b"\xff\xfe a@example.org"]))
    assert [(one.row, one.start, one.detector) for one in findings] == [(0, 3, "email")]


def test_a_word_of_another_string_is_no_context() -> None:
    assert findings_of(DETECTORS, Column(["card", "4111111111111111"])) == []


def test_a_name_of_a_field_is_context() -> None:
    column = Column(["4111111111111111", "4111111111111111"], ["card_number", "order"])
    assert [one.row for one in findings_of(DETECTORS, column)] == [0]


def test_all_planted_strings_are_found_alone_and_in_sentences() -> None:
    cases = planted(4_000)
    for template in ("{}", "the model failed on {} twice", "value={};"):
        findings = findings_of(DETECTORS, Column([template.format(text) for _, text in cases]))
        kind_of = {finding.row: finding.detector for finding in findings}
        missed = [case for row, case in enumerate(cases) if kind_of.get(row) != DETECTOR_OF.get(case[0], case[0])]
        assert missed == []


def test_less_than_one_in_a_thousand_numbers_is_taken_for_personal_data() -> None:
    for name, texts in innocent(5_000).items():
        findings = findings_of(DETECTORS, Column(texts))
        assert len(findings) < len(texts) / 1_000, (name, [texts[one.row] for one in findings[:5]])


def test_each_country_has_a_module_of_its_own() -> None:
    assert {"de", "es", "nl", "pl", "us"} <= set(COUNTRIES)
