"""`forebay quality`: show the quality of models by their labels, and the estimate before the labels come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, watch_options
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.quality_groups import warn_of_other_groups
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.quality.report import QualityReport
    from forebay.stream.quality.view import QualityView, Subject

DEFAULT_SINCE: Final = "1d"
_LATE_START_MS: Final = 600_000
"""Clocks of producers and brokers may differ by this."""


@dataclass(slots=True)
class _Choice:
    """The models, versions and slices to show. slices: "name" or "name=value". found: all that the topic has."""

    model: str | None
    version: int | None
    slices: tuple[str, ...]
    found: set[Subject] = field(default_factory=set)

    def missing_slices(self) -> list[str]:
        """Return the slices that were asked for and that the topic does not have."""
        known = {part for subject in self.found for part in (subject.slice, subject.slice.partition("=")[0])}
        return [name for name in self.slices if name not in known]

    def has(self, subject: Subject) -> bool:
        self.found.add(subject)
        return (
            self.model in (None, subject.model)
            and self.version in (None, subject.version)
            and (not subject.slice or {subject.slice, subject.slice.partition("=")[0]} & set(self.slices) != set())
        )


@click.command(
    name="quality",
    epilog=examples(
        ("forebay quality", "the last day"),
        ("forebay quality --model late --version 3 --since 7d", "one version, a week"),
        ("forebay quality --slice origin --slice carrier=AA", "parts of the events"),
        ("forebay quality --html quality.html", "with reliability and ROC plots"),
        ("forebay quality --json | jq '.quality[0].total'", "for scripts"),
    ),
)
@config_options
@bootstrap_option
@click.option("--model", metavar="NAME", help="Show only this model.")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Show only this version.")
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Also show the parts of the events with each value of NAME, or with one VALUE; may be repeated.",
)
@click.option(
    "--since",
    default=DEFAULT_SINCE,
    show_default=True,
    metavar="TIME",
    help="Show windows that end after this event time: an age (2h, 7d), RFC 3339, or ms since 1970.",
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page with plots."
)
@watch_options
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    model: str | None,
    version: int | None,
    slices: tuple[str, ...],
    since: str,
    page: Path | None,
    watch: bool,
    interval_s: float,
    as_json: bool,
) -> None:
    """Show the quality of models, by version and window of event time.

    Reads the topic quality, which the evaluator (`forebay evaluate`) writes when labels come. The columns marked ≈ are
    estimates, from the scores of all predictions and the labels of earlier windows: they precede the labels of a window, and
    do not see that the relation of features and label has changed. Does not join a consumer group or commit offsets. --json
    prints one object; with --watch, one object per line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    choice = _Choice(model, version, slices)

    def show(report: QualityReport, view: QualityView) -> None:
        if page is not None:
            _write_page(page, report)
        _show(report, view, choice=choice, as_json=as_json, again=watch)

    run_async(_follow(settings, choice, since=since, interval_s=interval_s if watch else None, show=show))


async def _follow(
    settings: Settings,
    choice: _Choice,
    *,
    since: str,
    interval_s: float | None,
    show: Callable[[QualityReport, QualityView], None],
) -> None:
    import numpy as np

    from forebay.schemas.topics import QUALITY, topic_name
    from forebay.stream.aggregate.topic_follower import TopicFollower
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.config.evaluator_group import evaluator_group
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.cancellation import raise_if_cancelled
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.quality.report import quality_report
    from forebay.stream.quality.view import QualityView

    clock, evaluate = SystemClock(), settings.evaluate
    # Estimates need the labels of earlier windows.
    earlier_ms = (evaluate.window_s + evaluate.horizon_s) * 1000

    def since_ms() -> int:
        # An age such as 15m is converted again at each update.
        return parse_moment("--since", since, now_ms=clock.wall_ms())

    topic = topic_name(settings.topics.prefix, QUALITY.name)
    view = QualityView(group=evaluator_group(settings), wanted=choice.has)
    follower = TopicFollower(client_options(settings.kafka), [topic], clock=clock)
    try:
        await follower.start(since_ms=max(0, since_ms() - earlier_ms - _LATE_START_MS))
        while True:
            raise_if_cancelled()  # an interrupt
            with bar(topic, quiet=interval_s is not None) as progress:
                async for _partition, records in follower.read_new(on_progress=progress):
                    for record in records:
                        view.read(record.value, key=record.key)
            # Windows that began before the first record that was read are incomplete.
            start, newest = since_ms(), view.newest_window()
            if newest is not None and newest > start:  # otherwise its time is shown
                view.forget(start - earlier_ms)
            report = quality_report(view, since_ms=start, from_ms=start - earlier_ms, random=np.random.default_rng(0))
            show(report, view)
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)
    finally:
        await follower.stop()


def _show(report: QualityReport, view: QualityView, *, choice: _Choice, as_json: bool, again: bool) -> None:
    if view.rejected:
        echo(f"skipped {quantity(view.rejected, 'record')} that cannot be added: {view.last_error}", err=True)
    warn_of_other_groups(view.group, view.other_groups)
    if view.unlike:
        what = quantity(view.unlike, "prediction")
        echo(f"left out {what} with another task or number of classes than most of their version", err=True)
    if choice.found and (missing := choice.missing_slices()):
        names = sorted({subject.slice.partition("=")[0] for subject in choice.found if subject.slice})
        echo(f"no slice {', '.join(missing)}; there are: {', '.join(names) or 'none, see evaluate.slices'}", err=True)
    if as_json:
        echo_json(report.to_dict(), indent=None if again else 2)
        return
    from forebay.stream.cli.quality_render import nothing_text, report_text
    from forebay.stream.terminal.console import clear_terminal, print_whole

    if again:
        clear_terminal()
    print_whole(
        report_text(report)
        if report.subjects
        else nothing_text(report, newest_window=view.newest_window(), found=choice.found)
    )


def _write_page(path: Path, report: QualityReport) -> None:
    from forebay.schemas.errors import StorageError
    from forebay.stream.evaluate.quality_page import quality_page

    try:
        path.write_text(quality_page(report), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the page {path} cannot be written: {error.strerror}", remedy="give --html a file in a writable folder"
        ) from None
