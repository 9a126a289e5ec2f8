"""Terminal output of `forebay dlq`: the list, one dead letter in full, the counts, and a replay's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_date_time, local_day_time
from forebay.stream.decode.json_values import to_json
from forebay.stream.decode.value_reader import F32, JSON, ReadValue
from forebay.stream.dlq.dead_letter import DeadLetter
from forebay.stream.dlq.replay import ReplayProgress
from forebay.stream.dlq.replay_plan import SKIP_DESCRIPTIONS, ReplayPlan, SkipReason
from forebay.stream.dlq.stats import Stats, Tally
from forebay.stream.terminal.console import DIM, GREEN, YELLOW, plain_table
from forebay.stream.terminal.record_format import bytes_as_text, printable, shortened

DENIAL_NOTE: Final = (
    "access is on, and dead letters hold no token: workers will deny these events, whatever they failed from. Replay them "
    "with --token-file, as the principal of that token"
)
UNPROVEN_NOTE: Final = (
    "the headers state a replay, but no earlier dead letter of the same event exists (forged headers, or it was removed): "
    "counted as never replayed"
)

_KEY_CHARS: Final = 16
_SOURCE_CHARS: Final = 32
_MIN_MESSAGE_CHARS: Final = 20
_MAX_MESSAGE_CHARS: Final = 120
_BAR_CHARS: Final = 20
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_HEX_ROW: Final = 16
# One blank in addition to the table's own.
_NARROW: Final = (0, 1, 0, 0)


def list_table(dead_letters: Sequence[DeadLetter], width: int | None) -> Table:
    """Return a table with one line per dead letter, the message cut to the rest of the line.

    width: characters per line, None for no limit. On a narrow terminal, the columns key, stage and time are left out in turn.
    """
    columns: dict[str, list[str]] = {
        "record": [f"{dead_letter.position.partition}:{dead_letter.position.offset}" for dead_letter in dead_letters],
        "time": [local_day_time(dead_letter.timestamp) for dead_letter in dead_letters],
        "kind": [shortened(printable(dead_letter.kind), _SOURCE_CHARS) for dead_letter in dead_letters],
        "stage": [shortened(printable(dead_letter.stage), _KEY_CHARS) for dead_letter in dead_letters],
        "from": [_middle_cut(printable(str(dead_letter.source)), _SOURCE_CHARS) for dead_letter in dead_letters],
        "key": [_key(dead_letter.key, _KEY_CHARS) for dead_letter in dead_letters],
    }
    remaining = _remaining_width(columns, width)
    for name in ("key", "stage", "time"):
        if remaining < _MIN_MESSAGE_CHARS:
            del columns[name]
            remaining = _remaining_width(columns, width)
    columns["message"] = [
        shortened(printable(dead_letter.message), max(_MIN_MESSAGE_CHARS, remaining)) for dead_letter in dead_letters
    ]
    table = plain_table(*columns)
    table.padding = _NARROW
    for row in zip(*columns.values(), strict=True):
        table.add_row(*[Text(cell, YELLOW if name == "kind" else "") for name, cell in zip(columns, row, strict=True)])
    return table


def _remaining_width(columns: Mapping[str, Sequence[str]], width: int | None) -> int:
    """Return the characters that a line has left for one more column."""
    if width is None:
        return _MAX_MESSAGE_CHARS
    return width - sum(max(map(cell_len, (name, *cells))) + 2 for name, cells in columns.items())


def _key(key: bytes | None, max_chars: int) -> str:
    return "" if key is None else shortened(printable(bytes_as_text(key)), max_chars)


def _middle_cut(text: str, max_chars: int) -> str:
    """Cut a position in its middle: its end, the partition and offset, distinguishes it from others."""
    if len(text) <= max_chars:
        return text
    return text[: max_chars // 3] + "…" + text[-(max_chars - max_chars // 3 - 1) :]


def dead_letter_text(dead_letter: DeadLetter, *, max_bytes: int, read: ReadValue | None = None) -> RenderableType:
    """Return everything about one dead letter, with at most `max_bytes` bytes of its value. read: what the value says."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("record", f"{dead_letter.position}, written {local_date_time(dead_letter.timestamp)}")
    outcome = "" if dead_letter.spec is None else f", {dead_letter.spec.outcome.value}"
    table.add_row(
        "why", Text.assemble((printable(dead_letter.kind), YELLOW), printable(f" at {dead_letter.stage}{outcome}"))
    )
    table.add_row("", Text(printable(dead_letter.message)))
    if dead_letter.spec is None:
        table.add_row("meaning", "unknown kind, written by a later version of Forebay")
    else:
        table.add_row("meaning", dead_letter.spec.description)
        table.add_row("remedy", Text(dead_letter.spec.remedy, GREEN))
    if dead_letter.model is not None:
        table.add_row("model", Text(printable(f"{dead_letter.model} v{dead_letter.version}")))
    published = "" if dead_letter.source_timestamp is None else f", of {local_date_time(dead_letter.source_timestamp)}"
    row = "" if dead_letter.source_row is None else f" row {dead_letter.source_row}"
    table.add_row("from", Text(printable(f"{dead_letter.source}{row}{published}")))
    if dead_letter.last_offset is not None:
        table.add_row("records", Text(f"{dead_letter.count:,}, up to offset {dead_letter.last_offset}", YELLOW))
    if dead_letter.replay_count:
        times = "once" if dead_letter.replay_count == 1 else f"{dead_letter.replay_count} times"
        last = dead_letter.replay_from or "an unknown dead letter"
        table.add_row("replayed", Text(printable(f"{times}, last from {last}, according to its headers")))
    if dead_letter.truncated is not None:
        table.add_row("truncated", Text(printable(f"the whole value was {dead_letter.truncated}"), YELLOW))
    if dead_letter.event_id is not None:
        table.add_row("id", Text(shortened(printable(dead_letter.event_id))))
    table.add_row(
        "key", Text("(none)", DIM) if dead_letter.key is None else Text(printable(bytes_as_text(dead_letter.key)))
    )
    for number, (name, value) in enumerate(dead_letter.headers):
        text = "(none)" if value is None else bytes_as_text(value)
        table.add_row("" if number else "headers", Text(printable(f"{name} = {text}")))
    size = (
        "(none)"
        if dead_letter.value is None
        else f"{len(dead_letter.value):,} byte{'s'[: len(dead_letter.value) != 1]}"
    )
    decoded = None if read is None or read.reason is not None or read.format in (JSON, F32) else read
    lines, value_format, cut = _value_lines(dead_letter, max_bytes) if decoded is None else _decoded(decoded, max_bytes)
    more = f", the first {max_bytes:,} shown; --max-bytes shows more, --value all" if cut else ""
    table.add_row("value", Text(f"{size}{value_format}{more}"))
    if read is not None and (unread := read.about().get("unread")) is not None:
        table.add_row("unread", Text(printable(str(unread)), YELLOW))
    return Group(table, *[Text(line) for line in lines])


def _decoded(read: ReadValue, max_bytes: int) -> tuple[list[str], str, bool]:
    """Return a value in another format than JSON as lines, the name of its format, and whether it was cut."""
    document = orjson.dumps(orjson.loads(to_json(read.document)), option=orjson.OPT_INDENT_2)
    schema = "" if read.schema is None else f" with the schema {read.schema}"
    shown = document[:max_bytes].decode("utf-8", "ignore")
    return [printable(line) for line in shown.splitlines()], f", {read.format}{schema}", len(document) > max_bytes


def _value_lines(dead_letter: DeadLetter, max_bytes: int) -> tuple[list[str], str, bool]:
    """Return the value as lines, the name of its format, and whether it was cut."""
    value = dead_letter.value
    if not value:
        return [], "", False
    try:
        document = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2)
    except (ValueError, TypeError):  # TypeError: nested too deeply for orjson to write, but not to read
        document = None
    if document is not None and not dead_letter.is_f32:
        shown = document[:max_bytes].decode("utf-8", "ignore")
        return [printable(line) for line in shown.splitlines()], ", JSON", len(document) > max_bytes
    head, cut = value[:max_bytes], len(value) > max_bytes
    try:
        text = head.decode("utf-8", "strict") if not cut else _whole_characters(head)
    except UnicodeDecodeError:
        text = None
    if dead_letter.is_f32 or text is None or "\x00" in text:
        return list(_hex_lines(head)), ", float32" if dead_letter.is_f32 else ", not UTF-8", cut
    return [printable(line) for line in text.splitlines()], ", text", cut


def _whole_characters(head: bytes) -> str:
    """Decode UTF-8 whose last character may be cut. Raises UnicodeDecodeError if it is not UTF-8."""
    for missing in range(4):
        try:
            return head[: len(head) - missing].decode()
        except UnicodeDecodeError:
            if missing == 3:
                raise
    raise AssertionError("unreachable")


def _hex_lines(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _HEX_ROW):
        row = value[start : start + _HEX_ROW]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{_HEX_ROW * 3}} {characters}"


def stats_text(stats: Stats, topic: str) -> RenderableType:
    """Return the counts by kind, stage, model and topic, the most frequent first."""
    assert stats.total is not None
    table = plain_table("", "count", "share", "", "first seen", "last seen", right=("count", "share"))
    table.padding = _NARROW
    for prop, group in stats.groups().items():
        table.add_section()
        table.add_row(Text({"topic": "original topic"}.get(prop, prop), DIM))
        for name, tally in group:
            table.add_row(*_tally_row(Text(printable(name), YELLOW if prop == "kind" else ""), tally, stats.count))
    total = stats.total
    head = f"{quantity(total.count, 'dead letter')} in {topic}, {_span(total)}"
    notes = [
        f"{count:,} {words}"
        for count, words in (
            (stats.replayed, "failed again after a replay"),
            (stats.truncated, "with a cut value, which cannot be replayed"),
            (stats.unreadable, "for records that cannot be read or replayed"),
            (stats.beyond, "further records represented by these"),
        )
        if count
    ]
    return Group(Text(head), Text(), table, *([Text(), Text("; ".join(notes))] if notes else []))


def _tally_row(name: Text, tally: Tally, total: int) -> tuple[RenderableType, ...]:
    share = tally.count / total
    return (
        name,
        f"{tally.count:,}",
        f"{share:.1%}",
        Text(_bar(share), YELLOW),
        local_day_time(tally.first_seen),
        local_day_time(tally.last_seen),
    )


def _bar(share: float) -> str:
    whole, rest = divmod(max(1, round(share * _BAR_CHARS * 8)), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _span(total: Tally) -> str:
    first, last = local_date_time(total.first_seen), local_date_time(total.last_seen)
    return f"written {first}" if first == last else f"from {first} to {last}"


def replay_table(plan: ReplayPlan, progress: ReplayProgress | None, *, needs_token: bool = False) -> Table:
    """Return what a replay did; what it would do if `progress` is None. needs_token: whether access is on."""
    table = plain_table("", "count", "", right=("count",))
    table.padding = _NARROW
    verb, topics = ("would replay", plan.topics) if progress is None else ("replayed", progress.topics)
    for topic, count in topics.most_common():
        table.add_row(Text(verb, GREEN), f"{count:,}", Text(f"to {topic}"))
    for skip, count in skipped(plan, progress).most_common():
        table.add_row(Text("skipped", YELLOW), f"{count:,}", f"{skip.value}: {SKIP_DESCRIPTIONS[skip]}")
    if plan.beyond_limit:
        table.add_row(Text("remaining", DIM), f"{plan.beyond_limit:,}", "beyond --limit")
    if unproven := plan.replays.num_unproven:
        table.add_row(Text("note", YELLOW), f"{unproven:,}", UNPROVEN_NOTE)
    if needs_token and plan.token is None and plan.num_dead_letters:
        table.add_row(Text("note", YELLOW), f"{plan.num_dead_letters:,}", DENIAL_NOTE)
    return table


def skipped(plan: ReplayPlan, progress: ReplayProgress | None) -> Counter[SkipReason]:
    """Return the number of skipped dead letters by reason."""
    gone = 0 if progress is None else plan.num_dead_letters - progress.sent
    return plan.skipped + Counter({SkipReason.GONE: gone})
