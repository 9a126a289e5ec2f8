"""Every decision record has the same shape, and the index lists it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.packaging.image import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=[record.stem for record in RECORDS])
def test_record_has_title_status_and_sections(record: Path) -> None:
    number = int(record.name[:4])
    text = record.read_text(encoding="utf-8")
    title = re.match(rf"# {number}\. (.+)\n\nStatus: \w+, 20\d\d-\d\d-\d\d", text)
    assert title is not None, "the record starts with its number, title, status and date"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    row = f"| {number} | [{title[1]}]({record.name}) |"
    assert row in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_numbers_are_consecutive() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=[record.stem for record in RECORDS])
def test_named_files_exist(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:stream|models|schemas|tests|benchmarks)/[\w/]+\.py)`", text):
        assert (ROOT / path).is_file(), path
