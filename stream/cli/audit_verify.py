"""`forebay audit verify`: read the topic, verify the chains, compare the counts, and print what was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.audit.tally import OutcomeTally
    from forebay.stream.audit.verifier import ChainReport, ChainVerifier, Finding
    from forebay.stream.config.sections import Settings

SETTLE_S: Final = 1.0
"""How long records of a transaction may become readable after its offsets."""
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number of audited outcomes and the number of records that there should be. actual: None if it cannot be counted."""

    what: str
    audited: int
    actual: int | None
    note: str = ""

    @property
    def is_equal(self) -> bool:
        return self.actual is None or self.actual == self.audited


async def verify_audit(settings: Settings, *, keys: Sequence[str], counts: bool, as_json: bool) -> int:
    """Verify the topic and print the result. Return the exit status."""
    from forebay.schemas.topics import AUDIT, topic_name
    from forebay.stream.audit.signing import load_trusted_keys
    from forebay.stream.audit.tally import OutcomeTally
    from forebay.stream.cli.audit_counts import compare_counts
    from forebay.stream.kafka.client import client_options

    section, options = settings.audit, client_options(settings.kafka)
    trusted = load_trusted_keys(keys or section.public_keys, None if keys else section.signing_key)
    topic = topic_name(settings.topics.prefix, AUDIT.name)
    tally = OutcomeTally() if counts else None
    started_s = time.monotonic()
    verifier, findings, num_records = await _verify(settings, topic, trusted, tally=tally, quiet=as_json)
    took_s = time.monotonic() - started_s - 2 * SETTLE_S
    comparisons: list[Comparison] = []
    if tally is not None:
        comparisons = await compare_counts(settings, options, verifier.reports, tally)
    is_valid = not findings and all(comparison.is_equal for comparison in comparisons)
    if as_json:
        echo_json(_document(topic, verifier.reports, findings, comparisons, num_keys=len(trusted), is_valid=is_valid))
        return int(not is_valid)
    if not num_records:
        echo(f"{topic} has no records: workers write to it if audit.enabled is set")
    _print(verifier.reports, findings, comparisons, num_keys=len(trusted))
    rows = sum(report.rows for report in verifier.reports)
    _print_verdict(
        findings, comparisons, f"{quantity(rows, 'outcome')} in {quantity(num_records, 'block')}, {took_s:.1f} s"
    )
    return int(not is_valid)


async def _verify(
    settings: Settings, topic: str, trusted: Any, *, tally: OutcomeTally | None, quiet: bool
) -> tuple[ChainVerifier, list[Finding], int]:
    from forebay.schemas.errors import DataError
    from forebay.stream.audit.chain import Place
    from forebay.stream.audit.chain_writer import CheckpointPolicy
    from forebay.stream.audit.verifier import ChainVerifier
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.cluster.committed_heads import committed_heads
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    options, section, num_records = client_options(settings.kafka), settings.audit, 0
    reader = TopicReader(options, [topic], from_beginning=True, bounded=True, clock=SystemClock())
    async with reader:
        heads = await committed_heads(options, settings.kafka.group_id)
        await asyncio.sleep(SETTLE_S)
        ranges = await reader.offset_ranges()
        verifier = ChainVerifier(
            {partition.partition: offsets.start for partition, offsets in ranges.items()},
            heads=heads,
            keys=trusted,
            policy=CheckpointPolicy(section.checkpoint_rows, section.checkpoint_interval_ms),
        )
        with bar(topic, quiet=quiet) as progress:
            async for partition, records in reader.within(ranges, on_progress=progress):
                for record in records:
                    num_records += 1
                    place = Place(partition.partition, record.offset)
                    block = verifier.add(place, record.key, record.value, record.headers)
                    if block is not None and tally is not None:
                        try:
                            tally.add(block)
                        except DataError:
                            continue  # a block that was changed, which is a finding already
    await asyncio.sleep(SETTLE_S)
    latest = await committed_heads(options, settings.kafka.group_id)
    return verifier, verifier.finish(latest), num_records


def _place(finding: Finding) -> str:
    return "end" if finding.place is None else f"{finding.place.partition}:{finding.place.offset}"


def _title(report: ChainReport) -> str:
    name = report.name
    return f"{name.group} {name.topic}" if name.is_of_actions else f"{name.group} {name.topic}-{name.partition}"


def _print(
    reports: Sequence[ChainReport], findings: Sequence[Finding], comparisons: Sequence[Comparison], *, num_keys: int
) -> None:
    from forebay.stream.core.time_format import local_date_time
    from forebay.stream.terminal.console import plain_table, print_whole
    from forebay.stream.terminal.record_format import printable

    if reports:
        table = plain_table(
            "chain", "blocks", "outcomes", "input", "checkpoint", "last", right=("blocks", "outcomes", "checkpoint")
        )
        for report in reports:
            table.add_row(
                printable(_title(report)),
                f"{report.first_sequence:,} to {report.sequence:,}",
                f"{report.rows:,}",
                "" if report.name.is_of_actions else f"{report.first_offset:,} to {report.next_offset - 1:,}",
                f"{report.checkpoint:,}" if report.checkpoint >= 0 else "none",
                local_date_time(report.written_ms),
            )
        print_whole(table)
        if not num_keys:
            echo("no public keys: signatures were not checked (audit.public_keys, or --key)")
        for report in reports:
            for offset in report.restarts:
                echo(f"note: the chain {report.name} begins again at offset {offset}, with a valid signature")
    if comparisons:
        table = plain_table("count", "audited", "found", "", right=("audited", "found"))
        for comparison in comparisons:
            actual = "?" if comparison.actual is None else f"{comparison.actual:,}"
            verdict = "" if comparison.is_equal else "differs"
            table.add_row(comparison.what, f"{comparison.audited:,}", actual, comparison.note or verdict)
        print_whole(table)
    if findings:
        table = plain_table("finding", "chain", "block", "at", "detail")
        for finding in findings[:_SHOWN]:
            sequence = "" if finding.sequence is None else f"{finding.sequence:,}"
            table.add_row(
                finding.kind.replace("_", " "),
                printable(finding.chain),
                sequence,
                _place(finding),
                printable(finding.detail),
            )
        print_whole(table)
        if len(findings) > _SHOWN:
            echo(f"showing {_SHOWN} of {len(findings):,} findings; --json has all")


def _print_verdict(findings: Sequence[Finding], comparisons: Sequence[Comparison], read: str) -> None:
    from forebay.stream.terminal.console import GREEN, RED, stdout_console

    console = stdout_console()
    different = sum(not comparison.is_equal for comparison in comparisons)
    if not findings and not different:
        console.print(f"verified: nothing was deleted, inserted, changed, swapped or cut off ({read})", style=GREEN)
        return
    parts = [quantity(len(findings), "finding")] if findings else []
    if different:
        parts.append(f"{quantity(different, 'count')} that differ" if different > 1 else "1 count that differs")
    console.print(f"not valid: {', '.join(parts)} ({read})", style=RED)


def _document(
    topic: str,
    reports: Sequence[ChainReport],
    findings: Sequence[Finding],
    comparisons: Sequence[Comparison],
    *,
    num_keys: int,
    is_valid: bool,
) -> Mapping[str, object]:
    return {
        "topic": topic,
        "valid": is_valid,
        "signatures_checked": num_keys > 0,
        "chains": [{**asdict(report), "name": str(report.name)} for report in reports],
        "counts": [{**asdict(comparison), "equal": comparison.is_equal} for comparison in comparisons],
        "findings": [
            {
                "kind": finding.kind,
                "chain": finding.chain,
                "block": finding.sequence,
                "partition": None if finding.place is None else finding.place.partition,
                "offset": None if finding.place is None else finding.place.offset,
                "detail": finding.detail,
            }
            for finding in findings
        ],
    }
