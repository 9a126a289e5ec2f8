"""The privacy report on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from forebay.stream.privacy.judgement import Evidence, Judgement, PrivacyReport, Verdict
from forebay.stream.terminal.console import plain_table, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

TITLES: Final = {
    "sensitive_data": "Sensitive data",
    "anonymisation": "Anonymisation",
    "minimisation": "Minimisation",
    "retention": "Retention",
}
VERDICTS: Final = {Verdict.PASSED: "passed", Verdict.FAILED: "failed", Verdict.NOT_JUDGED: "not judged"}
_STYLES: Final = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_JUDGED: "yellow"}
MAX_ROWS: Final = 20


def report_text(report: PrivacyReport) -> RenderableType:
    """Return the report."""
    parts: list[RenderableType] = []
    for judgement in report.judgements:
        parts += _judgement(judgement)
    read = sum(topic.num_records for topic in report.topics)
    parts.append(Text(f"read {read:,} records of {sum(not topic.problem for topic in report.topics)} topics"))
    parts += [Text(f"not read: {topic.name}: {topic.problem}", "yellow") for topic in report.topics if topic.problem]
    return Group(*parts)


def _judgement(judgement: Judgement) -> Iterable[RenderableType]:
    verdict = judgement.verdict
    yield Text.assemble(
        (TITLES[judgement.name], "bold"), ": ", (VERDICTS[verdict], _STYLES[verdict]), f"  {visible(judgement.summary)}"
    )
    if judgement.evidence:
        yield _table(judgement.evidence[:MAX_ROWS])
        if (more := len(judgement.evidence) - MAX_ROWS) > 0:
            yield Text(f"and {more:,} more rows, which --json prints", "dim")
    for remedy in judgement.remedies:
        yield Text.assemble(("hint: ", "yellow"), visible(remedy))
    yield Text()


def _table(rows: tuple[Evidence, ...]) -> Table:
    names = columns_of(rows)
    numbers = {title(name) for name in names if isinstance(rows[0].get(name), int | float)}
    table = plain_table(*map(title, names), right=numbers)
    for row in rows:
        table.add_row(*(visible(cell(name, row.get(name))) for name in names))
    return table


def columns_of(rows: Iterable[Evidence]) -> list[str]:
    """Return the names of evidence to show. Milliseconds are for scripts: beside them are durations in words."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if not name.endswith("_ms")]


def title(name: str) -> str:
    """Return the title of a column."""
    return name.removesuffix("_share").replace("_", " ")


def cell(name: str, value: str | float | bool | None) -> str:
    """Return a value of evidence as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int | float) else value
