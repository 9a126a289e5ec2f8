"""Options of the commands `forebay dlq`: the cluster and topic, and the conditions that select dead letters."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from forebay.schemas.failures import Stage
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.dlq.filter import DeadLetterFilter
    from forebay.stream.dlq.reader import DeadLetterReader

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT_TOPIC: Final = "[default: <topics.prefix>dead-letters]"


@dataclass(frozen=True, slots=True)
class Place:
    """The cluster and topic of the dead letters. topic: the full name."""

    settings: Settings
    topic: str

    def reader(self) -> DeadLetterReader:
        from forebay.stream.core.clock import SystemClock
        from forebay.stream.dlq.reader import DeadLetterReader
        from forebay.stream.kafka.client import client_options

        return DeadLetterReader(client_options(self.settings.kafka), self.topic, clock=SystemClock())


def limit_option(help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return the decorator that adds --limit."""
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help=help)


def place_options(function: Callable[Concatenate[Place, P], R]) -> Callable[P, R]:
    """Add the options for the cluster and topic; the command receives a Place as its first argument."""

    @config_options
    @bootstrap_option
    @click.option("--dead-letter-topic", metavar="NAME", help=f"Full name of the dead-letter topic. {_DEFAULT_TOPIC}")
    @functools.wraps(function)
    def command(
        source: ConfigSource, /, *args: Any, bootstrap_server: str | None, dead_letter_topic: str | None, **kwargs: Any
    ) -> R:
        # The client logs the same errors that are reported here.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        from forebay.schemas.topics import DEAD_LETTERS, topic_name

        settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
        topic = dead_letter_topic or topic_name(settings.topics.prefix, DEAD_LETTERS.name)
        return function(Place(settings, topic), *args, **kwargs)

    return cast(Callable[P, R], command)


def filter_options(function: Callable[Concatenate[Place, DeadLetterFilter, P], R]) -> Callable[P, R]:
    """Add the options that select dead letters; the command receives a Place and a DeadLetterFilter as its first arguments."""

    @place_options
    @click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this failure kind; may be repeated.")
    @click.option(
        "--stage",
        "stages",
        multiple=True,
        type=click.Choice([stage.value for stage in Stage]),
        help="Only failures of this stage; may be repeated.",
    )
    @click.option(
        "--model", "models", multiple=True, metavar="NAME", help="Only failures of this model; may be repeated."
    )
    @click.option(
        "--topic", "topics", multiple=True, metavar="NAME", help="Only events of this input topic; may be repeated."
    )
    @click.option("--since", metavar="TIME", help="Only written since TIME: 15m or 2h ago, RFC 3339, or ms since 1970.")
    @click.option("--until", metavar="TIME", help="Only written before TIME, in the same formats.")
    @functools.wraps(function)
    def command(
        place: Place,
        /,
        *args: Any,
        kinds: tuple[str, ...],
        stages: tuple[str, ...],
        models: tuple[str, ...],
        topics: tuple[str, ...],
        since: str | None,
        until: str | None,
        **kwargs: Any,
    ) -> R:
        from forebay.stream.core.clock import SystemClock
        from forebay.stream.dlq.filter import DeadLetterFilter, check_kinds, parse_time_range

        since_ms, until_ms = parse_time_range(since, until, now_ms=SystemClock().wall_ms())
        # Dead letters hold full topic names; users may leave out the prefix.
        prefix = place.settings.topics.prefix
        full_topics = frozenset(topics) | {prefix + topic for topic in topics}
        selection = DeadLetterFilter(
            kinds=check_kinds(kinds),
            stages=frozenset(stages),
            models=frozenset(models),
            topics=full_topics,
            since_ms=since_ms,
            until_ms=until_ms,
        )
        return function(place, selection, *args, **kwargs)

    return cast(Callable[P, R], command)
