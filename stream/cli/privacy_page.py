"""The page of `forebay privacy report --html`: without scripts, images or fonts from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from forebay.stream.cli.privacy_render import TITLES, VERDICTS, cell, columns_of, title
from forebay.stream.core.time_format import local_date_time
from forebay.stream.evaluate.quality_page import STYLE
from forebay.stream.privacy.judgement import Judgement, PrivacyReport
from forebay.stream.terminal.console import visible

_VERDICT_STYLE: Final = """
.passed { color: #1a7f37; } .failed { color: #cf222e; } .not_judged { color: #9a6700; } td.text { text-align: left; }
"""
_NOTE: Final = (
    "From a sample of the newest records of each topic. Findings are shown by their form (a for a lower-case letter, A for "
    "another letter, 9 for a digit) and by the position of the first one, as partition@offset. Detection finds what has a "
    "form; it proves nothing about the rest."
)


def privacy_page(report: PrivacyReport) -> str:
    """Return the page. Every name and value is escaped."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    topics = [
        [topic.name, f"{topic.num_records:,}", f"{topic.num_offsets:,}", topic.problem or ""] for topic in report.topics
    ]
    sections = [part for judgement in report.judgements for part in _judgement(judgement)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>Privacy report</title>'
        f"<style>{STYLE}{_VERDICT_STYLE}</style></head>\n<body>\n<h1>Privacy report</h1>\n"
        f"<p>{local_date_time(report.time_ms)}</p>\n"
        + "\n".join(sections)
        + f"\n<h2>Topics</h2>\n{_table(('topic', 'records read', 'offsets', 'problem'), topics)}"
        + f'\n<p class="note">{_NOTE}</p>\n</body></html>\n'
    )


def _judgement(judgement: Judgement) -> Iterator[str]:
    verdict = judgement.verdict
    yield f'<h2>{TITLES[judgement.name]}: <span class="{verdict.value}">{VERDICTS[verdict]}</span></h2>'
    yield f"<p>{_text(judgement.summary)}</p>"
    if judgement.evidence:
        names = columns_of(judgement.evidence)
        rows = [[cell(name, row.get(name)) for name in names] for row in judgement.evidence]
        yield _table([title(name) for name in names], rows)
    if judgement.remedies:
        yield "<ul>" + "".join(f"<li>{_text(remedy)}</li>" for remedy in judgement.remedies) + "</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{_text(title)}</th>" for title in head)
    lines = "".join(
        f"<tr><th>{_text(row[0])}</th>{''.join(f'<td>{_text(value)}</td>' for value in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{titles}</tr>{lines}</table></div>'


def _text(text: str) -> str:
    return escape(visible(text))
