"""The history of a rollout as text. Pure. Names and reasons are not trusted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.stream.admin.group_status import format_partitions
from forebay.stream.cli.models_rollout_render import NOTHING, line, percent, revision_table
from forebay.stream.cli.models_served import Served
from forebay.stream.core.records import TopicPartition
from forebay.stream.core.time_format import local_date_time
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import Entry
from forebay.stream.terminal.console import DIM, GREEN, YELLOW, plain_table


def revisions_table(entries: Sequence[Entry]) -> Table:
    """Return a table with one line per record, newest first."""
    columns = ("revision", "time", "action", "stable", "canaries", "shadows", "record", "by", "reason")
    table = plain_table(*columns, right=("revision", "stable"))
    accepted = {entry.revision.number: entry.revision for entry in entries if entry.accepted}
    for entry in reversed(entries):
        revision = entry.revision
        style = "" if entry.accepted else DIM
        before = (
            str(revision.number),
            local_date_time(revision.created_ms),
            revision.action.value,
            str(revision.stable),
            ", ".join(f"{canary.version} ({percent(canary.weight)})" for canary in revision.canaries) or NOTHING,
            ", ".join(f"{shadow.version} ({percent(shadow.sample * 100)})" for shadow in revision.shadows) or NOTHING,
        )
        after = (line(revision.author) + (" (automatic)" if revision.automatic else ""), line(revision.reason))
        record = _record(entry, accepted.get(revision.number))
        table.add_row(*(Text(cell, style) for cell in before), record, *(Text(cell, style) for cell in after))
    return table


def _record(entry: Entry, winner: Revision | None) -> Text:
    if entry.accepted:
        return Text("accepted", GREEN)
    return Text("refused" if winner is None else f"refused: {line(winner.author)} was first", YELLOW)


def entry_text(entry: Entry) -> RenderableType:
    """Return one revision in full, with its evidence and digests."""
    revision = entry.revision
    table = revision_table(revision)
    if not entry.accepted:
        table.add_row(Text("record", DIM), Text("refused: another revision came first", YELLOW))
    for version, digest in sorted(revision.digests.items()):
        table.add_row(Text("digest", DIM), Text(f"version {version}  sha256 {line(digest)}"))
    parts: list[RenderableType] = [table]
    if revision.evidence:
        shown = json.dumps(revision.evidence, indent=2, ensure_ascii=True)
        parts += [Text("evidence", DIM), Text(shown)]
    return Group(*parts)


def position_text(served: Served, offset: int, committed: int | None, key: bytes | None) -> RenderableType:
    """Return which versions could have predicted the event at an offset. committed: the group's committed offset."""
    place = f"{served.partition.topic}:{served.partition.partition}@{offset}"
    if committed is None or offset >= committed:
        before = f"the group has committed {'nothing' if committed is None else f'up to offset {committed}'} there"
        head = Text(f"{place} has not been predicted yet: {before}. The revision that the partition follows:", YELLOW)
    else:
        head = Text(f"{place} was routed by:")
    return Group(head, _revision_line(served), *_shares(served, key))


def _revision_line(served: Served) -> Text:
    revision, switch = served.revision, served.switch
    if switch is None:
        return Text("  revision 0, the configuration")
    since = f"from offset {switch.first_offset} on, {local_date_time(switch.switched_ms)}, worker {line(switch.worker)}"
    return Text(f"  revision {revision.number} ({revision.action} by {line(revision.author)}), {since}")


def _shares(served: Served, key: bytes | None) -> list[Text]:
    if key is not None:
        return [Text(f"  version {served.version_of(key)}, by its routing key", "bold")]
    shares = served.shares()
    if len(shares) == 1:
        return [Text(f"  version {shares[0][0]}", "bold")]
    lines = [Text(f"  version {version}  {percent(weight)} of the keys", "bold") for version, weight in shares]
    return [*lines, Text("  --key TEXT shows which of them predicted a routing key", DIM)]


def time_table(served: Sequence[Served], key: bytes | None) -> Table:
    """Return a table of the revisions that were in force, with the partitions that followed them."""
    table = plain_table("partitions", "revision", "versions", "switched", "by", right=("revision",))
    groups: dict[int, list[Served]] = defaultdict(list)
    for each in served:
        groups[each.revision.number].append(each)
    for number, members in sorted(groups.items(), reverse=True):
        first = members[0]
        if key is not None:
            versions = f"{first.version_of(key)} (routing key)"
        else:
            versions = ", ".join(f"{version} ({percent(weight)})" for version, weight in first.shares())
        times = sorted(each.switch.switched_ms for each in members if each.switch is not None)
        span = NOTHING
        if times:
            ends = [local_date_time(times[0]), local_date_time(times[-1])]
            span = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1][11:]}"
        by = "the configuration" if number == 0 else f"{first.revision.action} by {line(first.revision.author)}"
        partitions: list[TopicPartition] = [each.partition for each in members]
        table.add_row(*map(Text, (line(format_partitions(partitions)), str(number), versions, span, by)))
    return table
