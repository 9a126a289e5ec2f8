"""Options of the commands about dead letters: where they are, and which of them are meant."""

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

_DEFAULT_TOPIC: Final = "[default: topics.prefix + dead-letters]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the dead letters are: the settings, and the topic's full name."""

    settings: Settings
    topic: str

    def reader(self) -> DeadLetterReader:
        from forebay.stream.core.clock import SystemClock
        from forebay.stream.dlq.reader import DeadLetterReader
        from forebay.stream.kafka.client import client_options

        return DeadLetterReader(client_options(self.settings.kafka), self.topic, clock=SystemClock())


def limit_option(help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Adds --limit."""
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help=help)


def place_options(function: Callable[Concatenate[Place, P], R]) -> Callable[P, R]:
    """Adds the options that say which cluster and which topic; the command gets a Place as its first argument."""

    @config_options
    @bootstrap_option
    @click.option(
        "--dead-letter-topic", metavar="NAME", help=f"The dead letters' topic, its full name. {_DEFAULT_TOPIC}"
    )
    @functools.wraps(function)
    def command(
        source: ConfigSource, /, *args: Any, bootstrap_server: str | None, dead_letter_topic: str | None, **kwargs: Any
    ) -> R:
        # The client's own log repeats what the errors here say.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        from forebay.schemas.topics import DEAD_LETTERS, topic_name

        settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
        topic = dead_letter_topic or topic_name(settings.topics.prefix, DEAD_LETTERS.name)
        return function(Place(settings, topic), *args, **kwargs)

    return cast(Callable[P, R], command)


def filter_options(function: Callable[Concatenate[Place, DeadLetterFilter, P], R]) -> Callable[P, R]:
    """Adds the options that choose among letters; the command gets a Place and a Filter as its first arguments."""

    @place_options
    @click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only of this kind; may be repeated.")
    @click.option(
        "--stage",
        "stages",
        multiple=True,
        type=click.Choice([stage.value for stage in Stage]),
        help="Only where this stage decided; may be repeated.",
    )
    @click.option("--model", "models", multiple=True, metavar="NAME", help="Only of this model; may be repeated.")
    @click.option(
        "--topic", "topics", multiple=True, metavar="NAME", help="Only of events of this topic; may be repeated."
    )
    @click.option("--since", metavar="TIME", help="Only written since: 15m or 2h ago, RFC 3339, or ms since the epoch.")
    @click.option("--until", metavar="TIME", help="Only written before then.")
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
        # Letters name topics in full; people mean theirs without the prefix too.
        prefix = place.settings.topics.prefix
        named = frozenset(topics) | {prefix + topic for topic in topics}
        selection = DeadLetterFilter(
            kinds=check_kinds(kinds),
            stages=frozenset(stages),
            models=frozenset(models),
            topics=named,
            since_ms=since_ms,
            until_ms=until_ms,
        )
        return function(place, selection, *args, **kwargs)

    return cast(Callable[P, R], command)
