"""`forebay audit show`: the outcomes that match some conditions, or actions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.audit.block import Block
    from forebay.stream.audit.filter import AuditFilter
    from forebay.stream.config.sections import Settings

LISTED: Final = 20


async def show_audit(settings: Settings, selection: AuditFilter, *, limit: int | None, as_json: bool) -> None:
    """Read the topic and print the outcomes that match."""
    from forebay.stream.cli.audit_rows import print_outcomes

    await _show(settings, selection, selection.select, print_outcomes, limit=limit, as_json=as_json)


async def show_actions(settings: Settings, selection: AuditFilter, *, limit: int | None, as_json: bool) -> None:
    """Read the topic and print the actions in the time of the selection."""
    from forebay.stream.cli.audit_rows import print_actions

    await _show(settings, selection, selection.actions, print_actions, limit=limit, as_json=as_json)


async def _show(
    settings: Settings,
    selection: AuditFilter,
    select: Callable[[Block], Iterator[dict[str, Any]]],
    print_rows: Callable[[list[dict[str, Any]]], None],
    *,
    limit: int | None,
    as_json: bool,
) -> None:
    from forebay.schemas.errors import DataError
    from forebay.schemas.topics import AUDIT, topic_name
    from forebay.stream.audit.block import decode_block
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    topic = topic_name(settings.topics.prefix, AUDIT.name)
    newest: deque[dict[str, Any]] = deque(maxlen=limit or (None if as_json else LISTED))
    num_matches = num_unreadable = 0
    reader = TopicReader(
        client_options(settings.kafka), [topic], from_beginning=True, bounded=True, clock=SystemClock()
    )
    async with reader:
        # A record is not written before the outcomes that it has, so its own timestamp is late enough.
        ranges = await reader.offset_ranges(since_ms=selection.since_ms)
        with bar(topic, quiet=as_json) as progress:
            async for _partition, records in reader.within(ranges, on_progress=progress):
                for record in records:
                    try:
                        matches = list(select(decode_block(record.value)))
                    except DataError:
                        num_unreadable += 1
                        continue
                    num_matches += len(matches)
                    if as_json and limit is None:
                        for match in matches:
                            echo_json(match, indent=None)
                    else:
                        newest.extend(matches)
    if num_unreadable:
        echo(
            f"skipped {quantity(num_unreadable, 'record')} that cannot be read; `forebay audit verify` names them",
            err=True,
        )
    if as_json:
        for match in newest:
            echo_json(match, indent=None)
        return
    if not num_matches:
        echo(f"nothing in {topic} matches")
        return
    print_rows(list(newest))
    if num_matches > len(newest):
        echo(f"showing the newest {len(newest):,} of {num_matches:,}; --limit N shows more", err=True)
