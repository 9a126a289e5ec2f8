"""What `forebay init --from-topic` prints. Names and values come from events, so control characters are escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from forebay.stream.core.field_path import format_field_path
from forebay.stream.core.quantities import quantity
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table, visible

if TYPE_CHECKING:
    from forebay.stream.cli.init_topic import TopicInspection
    from forebay.stream.tables.field_profiles import FieldProfile
    from forebay.stream.tables.topic_proposal import FieldChoice

_MAX_VALUES: Final = 3
_MAX_CHARS: Final = 34
_MAX_ROWS: Final = 200


def inspection_table(inspection: TopicInspection) -> Group:
    """Return what was seen, what becomes of each field, and whether a worker reads the events so."""
    parts: list[Table | Text] = [_heading(inspection), _fields_table(inspection)]
    parts += [Text(visible(note), YELLOW) for note in inspection.notes]
    for match in inspection.missing:
        parts.append(Text(visible(f"✗ feature {match.feature.name} of the model: {match.why}"), RED))
    parts += _check_lines(inspection)
    return Group(*parts)


def _heading(inspection: TopicInspection) -> Text:
    sample, documents = inspection.sample, inspection.documents
    formats = ", ".join(name for name, _ in documents.formats.most_common())
    text = Text(
        visible(f"{sample.topic}: {quantity(sample.count, 'event')} of at most {sample.num_offsets:,}, {formats}")
    )
    if inspection.proposal.envelope.why:
        text.append(visible(f"\n{inspection.proposal.envelope.why}"), DIM)
    if inspection.model is not None:
        text.append(visible(f"\ncompared with the registered model {inspection.model}"), DIM)
    return text


def _fields_table(inspection: TopicInspection) -> Table:
    proposal = inspection.proposal
    table = plain_table(
        "", "field", "type", "missing", "distinct", "values", "becomes", "why", right=("missing", "distinct")
    )
    for part in proposal.parts:
        profile = proposal.sample.fields.get(part.path or ())
        source = part.source.partition(":")[2] if part.source.startswith("field:") else part.source
        shown = source or (part.path[-1] if part.path else "(record)")
        becomes = part.name if part.unit is None else f"{part.name} ({part.unit})"
        cells = _profile_cells(profile, inspection) if profile is not None else ("", "", "", "")
        table.add_row(_mark(part.is_sure), *map(_text, (shown, *cells, becomes, part.why)))
    for choice in proposal.fields[:_MAX_ROWS]:
        name = format_field_path(choice.profile.path)
        row = (name, *_profile_cells(choice.profile, inspection), _becomes(choice), choice.why)
        style = DIM if choice.role == "left out" else ""
        table.add_row(_mark(choice.is_sure), *map(_text, row), style=style)
    if len(proposal.fields) > _MAX_ROWS:
        table.add_row("", Text(f"and {len(proposal.fields) - _MAX_ROWS:,} more fields: --json", DIM))
    return table


def _becomes(choice: FieldChoice) -> str:
    feature = choice.feature
    if feature is None:
        return choice.role
    nullable = ", nullable" if feature.nullable else ""
    renamed = f" as {feature.name}" if feature.name != choice.profile.name else ""
    return f"{feature.dtype}{renamed}{nullable}"


def _profile_cells(profile: FieldProfile, inspection: TopicInspection) -> tuple[str, str, str, str]:
    missing = inspection.proposal.sample.missing(profile)
    distinct = len(profile.distinct)
    return profile.type, f"{missing:,}" if missing else "", f"{distinct:,}" if distinct else "", values_of(profile)


def values_of(profile: FieldProfile) -> str:
    """Return the range of numbers, or the most frequent values."""
    if not profile.distinct:
        return ""
    if profile.is_numeric and "boolean" not in profile.kinds:
        numbers = [value for value in profile.distinct if isinstance(value, int | float)]
        unit = profile.time_unit()
        if unit is not None:
            return f"{_time(min(numbers), unit)} … {_time(max(numbers), unit)}"
        if len(numbers) > _MAX_VALUES:
            return f"{_number(min(numbers))} … {_number(max(numbers))}"
    shown = ", ".join(_value(value) for value, _ in profile.distinct.most_common(_MAX_VALUES))
    return f"{shown}, …" if len(profile.distinct) > _MAX_VALUES else shown


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _number(value) if isinstance(value, int | float) else str(value)[:_MAX_CHARS]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) < 10**15 else f"{value:,.6g}"


def _time(value: float, unit: str) -> str:
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    return datetime.fromtimestamp(value / per_second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _mark(is_sure: bool) -> Text:
    return Text("") if is_sure else Text("?", YELLOW)


def _text(value: str) -> Text:
    line = visible(value.replace("\n", "\\n"))
    return Text(line if len(line) <= 110 else f"{line[:109]}…")


def _check_lines(inspection: TopicInspection) -> list[Text]:
    check = inspection.check
    if check is None:
        return [Text("✗ no field can be a feature", RED)]
    if not check.rejected:
        return [
            Text(f"✓ a worker with this configuration reads all {quantity(check.count, 'event')} of the sample", GREEN)
        ]
    lines = [
        Text(
            f"{'✗' if not check.accepted else '!'} a worker with this configuration reads {check.accepted:,} of "
            f"{quantity(check.count, 'event')} of the sample, and rejects:",
            RED if not check.accepted else YELLOW,
        )
    ]
    for kind, count in check.rejected.most_common():
        lines.append(Text(visible(f"  {count:,} {kind}, such as {check.examples[kind]}")))
    return lines


def inspection_document(inspection: TopicInspection, files: list[str]) -> dict[str, Any]:
    """Return the inspection as JSON values."""
    proposal, sample, documents, check = inspection.proposal, inspection.sample, inspection.documents, inspection.check
    return {
        "topic": sample.topic,
        "events": {
            "read": sample.count,
            "in_topic": sample.num_offsets,
            "unread": documents.num_unread,
            "without_value": documents.empty,
            "too_large": sample.too_large,
        },
        "formats": dict(documents.formats),
        "guessed_format": inspection.format,
        "envelope": proposal.envelope.name,
        "base": list(proposal.base),
        "parts": [
            {"part": part.name, "source": part.source or None, "unit": part.unit, "sure": part.is_sure, "why": part.why}
            for part in proposal.parts
        ],
        "fields": [
            {
                "path": list(choice.profile.path),
                "type": choice.profile.type,
                "missing": proposal.sample.missing(choice.profile),
                "distinct": len(choice.profile.distinct),
                "becomes": choice.role,
                "feature": None if choice.feature is None else choice.feature.to_dict(),
                "sure": choice.is_sure,
                "why": choice.why,
            }
            for choice in proposal.fields
        ],
        "model": inspection.model,
        "missing_features": [match.feature.name for match in inspection.missing],
        "check": None if check is None else {"accepted": check.accepted, "rejected": dict(check.rejected)},
        "notes": inspection.notes,
        "files": files,
    }


def next_steps(inspection: TopicInspection, config: str, signature: str | None) -> list[str]:
    """Return what to do next, one line each. config: the option that names the file, or ""."""
    steps = []
    proposal = inspection.proposal
    if not all(part.is_sure for part in proposal.parts) or not all(field.is_sure for field in proposal.fields):
        steps.append('look at what is marked with "?": each is a guess, with its reason')
    if signature is not None:
        steps.append(f"forebay models register MODEL --name NAME --signature {signature} --task binary")
        steps.append(f"set name = NAME under [model] in the file, then: forebay check{config}")
    else:
        steps.append(f"forebay check{config}")
    return steps
