"""Plain English in docstrings, messages, comments and documentation. `python -m tests.language` lists the violations."""

from __future__ import annotations

import pytest

from tests.language import PHRASES, Phrase, files, find, hits_of, main, render, scan
from tests.source_files import ROOT


def test_no_listed_phrase_is_used() -> None:
    assert render(scan([]), summary=False) == []


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.example)
def test_each_phrase_is_found(phrase: Phrase) -> None:
    assert phrase in [found for _, _, found in find(f"Some text: {phrase.example}, and more.")]


@pytest.mark.parametrize(
    "text",
    [
        "Return None if it is None; all of it is None.",
        "there is no topic of this name, or there are none at all",
        "It is no longer read, is no larger than that, and there are no records.",
        "so that at most 4 are sent, as long as they are small",
        "Is there a broker? There is one.",
        "The record exists, is output, and is amended.",
        "the client goes on to the next",
        "which of the topics exist; the settings, which override the defaults",
    ],
)
def test_plain_english_passes(text: str) -> None:
    assert list(find(text)) == []


def test_a_phrase_may_begin_a_sentence_and_span_lines() -> None:
    (hit,) = hits_of("a.md", "One.\nWhat is given\nout last.\n")
    assert (hit.line, hit.found) == (2, "given out")
    assert [found for _, found, _ in find("Nobody reads. So many lines.")] == ["Nobody", "So many"]


SOURCE = '''"""A module.

It is told.
"""

# A comment: the rest was put
# out by the group.
FOUND = "told"  # one word is a name, not a message
log.warning("the member %s was "
            "mended", 1)
raise ValueError(f"{name} is no {kind!r}, {nobody['so many']} of which {x}")
'''


def test_strings_and_comments_of_python_are_searched() -> None:
    assert [(hit.line, hit.found) for hit in hits_of("a.py", SOURCE)] == [
        (3, "told"),
        (6, "put out"),
        (10, "mended"),
        (11, "of which"),
        (11, "so many"),
    ]


def test_identifiers_are_not_searched() -> None:
    assert hits_of("a.py", "def told(so, many): return nobody.tells(anew)\n") == []


def test_hits_are_listed_by_line_or_counted_by_folder() -> None:
    hits = hits_of("forebay/x/a.py", SOURCE)[:2]
    assert render(hits, summary=False)[0] == "forebay/x/a.py:3: 'told': reports, returns, logs, shows, says"
    assert render(hits, summary=True) == ["    2 forebay/x"]


def test_the_command_takes_files_and_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forebay/__init__.py", "examples/", "--summary"]) == 0
    assert capsys.readouterr().err == "0 in 0 files\n"


def test_the_scan_covers_code_documentation_chart_and_tests() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"README.md", "Makefile", "docs/windows.md", "helm/values.yaml", "tests/conftest.py"} <= names
    assert any(name.endswith("/stages.py") for name in names) and any(name.endswith("/page.js") for name in names)
    assert not any(name.startswith(".") for name in names)


def test_the_files_that_hold_the_phrases_are_not_scanned() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert not names & {"tests/language.py", "tests/test_language.py"}
