"""`forebay drift`: show which columns differ from those of the training."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, watch_options
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forebay.stream.config.sections import Settings
    from forebay.stream.core.model_ref import ModelRef
    from forebay.stream.core.records import Record
    from forebay.stream.drift.detector import Detector
    from forebay.stream.drift.measures import DriftThresholds

DEFAULT_SINCE: Final = "1d"


@click.command(
    name="drift",
    epilog=examples(
        ("forebay drift", "the newest windows of all models"),
        ("forebay drift --model fraud --all", "all columns of one model"),
        ("forebay drift --watch", "refresh until Ctrl-C"),
        ("forebay drift --json | jq '.findings[].text'", "what has drifted, for scripts"),
    ),
)
@config_options
@bootstrap_option
@click.option(
    "--since",
    default=DEFAULT_SINCE,
    show_default=True,
    metavar="TIME",
    help="Read counts from this time on: 15m or 2h ago, RFC 3339, or ms since 1970. Versions whose first window is at this "
    "time are not judged as new ones.",
)
@click.option("--model", metavar="NAME", help="Show only this model.")
@click.option("--all", "all_columns", is_flag=True, help="Show all columns. [default: the 20 that differ most]")
@watch_options
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    since: str,
    model: str | None,
    all_columns: bool,
    watch: bool,
    interval_s: float,
    as_json: bool,
) -> None:
    """Show how far the features and scores of each model version are from those of its training, in windows of time.

    Reads the topic drift, to which workers write at the end of each window if drift.enabled is set. Windows are judged with the
    settings of [drift]. Does not join a consumer group or commit offsets. --json prints one object; with --watch, one
    object per line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.clock import SystemClock

    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    since_ms = parse_moment("--since", since, now_ms=SystemClock().wall_ms())
    run_async(
        _drift(
            settings,
            since_ms=since_ms,
            model=model,
            all_columns=all_columns,
            interval_s=interval_s if watch else None,
            as_json=as_json,
        )
    )


async def _drift(
    settings: Settings,
    *,
    since_ms: int,
    model: str | None,
    all_columns: bool,
    interval_s: float | None,
    as_json: bool,
) -> None:
    from forebay.schemas.topics import DRIFT, topic_name
    from forebay.stream.aggregate.topic_follower import TopicFollower
    from forebay.stream.core.cancellation import raise_if_cancelled
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.drift.detector import Detector
    from forebay.stream.kafka.client import client_options

    clock, topic = SystemClock(), topic_name(settings.topics.prefix, DRIFT.name)
    detector = Detector(_thresholds(settings), complete_from_ms=since_ms)
    follower = TopicFollower(client_options(settings.kafka), [topic], clock=clock)
    unreadable = 0
    try:
        await follower.start(since_ms=since_ms)
        while True:
            raise_if_cancelled()  # an interrupt
            async for _partition, records in follower.read_new():
                unreadable += _add(detector, records)
            if unreadable:
                echo(f"{topic}: skipped {quantity(unreadable, 'record')} that cannot be read as drift", err=True)
                unreadable = 0
            detector.advance(clock.wall_ms())
            shown = [ref for ref in detector.versions() if model in (None, ref.name)]
            if as_json:
                echo_json(_document(detector, shown), indent=None if interval_s is not None else 2)
            else:
                _show(detector, shown, topic=topic, all_columns=all_columns, again=interval_s is not None)
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)
    finally:
        await follower.stop()


def _thresholds(settings: Settings) -> DriftThresholds:
    from forebay.stream.drift.measures import DriftThresholds

    drift = settings.drift
    return DriftThresholds(drift.warn, drift.alarm, windows=drift.windows, min_rows=drift.min_rows)


def _add(detector: Detector, records: Sequence[Record]) -> int:
    """Add records; return how many cannot be read."""
    from forebay.schemas.errors import DataError
    from forebay.stream.drift.wire import decode_drift

    unreadable = 0
    for record in records:
        try:
            detector.add(decode_drift(record.value))
        except DataError:
            unreadable += 1
    return unreadable


def _document(detector: Detector, refs: Sequence[ModelRef]) -> dict[str, object]:
    return {
        "findings": [finding.to_dict() for finding in detector.findings() if finding.key.ref in refs],
        "windows": [verdict.to_dict() for ref in refs for verdict in detector.history(ref)],
        "open": [
            {**counts.key._asdict(), "rows": counts.rows, "seen": counts.seen}
            for ref in refs
            for counts in detector.open_windows(ref)
        ],
        "late_records": detector.late_records,
    }


def _show(detector: Detector, refs: Sequence[ModelRef], *, topic: str, all_columns: bool, again: bool) -> None:
    from forebay.stream.cli.drift_render import print_version
    from forebay.stream.terminal.console import clear_terminal

    if again:
        clear_terminal()
    for ref in refs:
        print_version(detector, ref, all_columns=all_columns)
    if not refs:
        others = ", ".join(sorted({ref.name for ref in detector.versions()}))
        more = f"; it holds those of {others}" if others else ". Workers write them if drift.enabled is set"
        echo(f"{topic} holds no counts of this model or time{more}", err=True)
