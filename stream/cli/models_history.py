"""`forebay models history`: the revisions of a rollout, what served when, and the moves of aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import repository_option
from forebay.stream.cli.models_rollout_options import NAME, group_options
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.artefacts.aliases import AliasMove, VersionCopy
    from forebay.stream.cli.models_served import ServedHistory
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.records import TopicPartition
    from forebay.stream.rollouts.revision_log import Entry


@click.command(
    name="history",
    epilog=examples(
        ("forebay models history fraud", "all revisions of the rollout and all moves of aliases, newest first"),
        ("forebay models history fraud --at 2h", "which versions served two hours ago"),
        ("forebay models history fraud --at 2026-11-28T03:00:00Z", "at a date and time"),
        ("forebay models history fraud --position features:3@88210", "which versions could have predicted this event"),
        ("forebay models history fraud --revision 12", "one revision, with its evidence"),
        ("forebay models history fraud --alias champion", "the moves of one alias"),
        ("forebay models history fraud --json", "for scripts"),
    ),
)
@NAME
@group_options
@repository_option
@click.option(
    "--at",
    metavar="TIME",
    help="Show what served at this time: an age (15m, 2h), RFC 3339, or ms since 1970.",
)
@click.option(
    "--position",
    metavar="TOPIC:PARTITION@OFFSET",
    help="Show what could have predicted the event at this position of an input topic.",
)
@click.option("--key", metavar="TEXT", help="With --at or --position: the version of this routing key.")
@click.option("--revision", "number", type=click.IntRange(min=1), metavar="N", help="Show one revision in full.")
@click.option("--aliases", is_flag=True, help="Show only the moves of aliases.")
@click.option("--alias", metavar="ALIAS", help="Show only the moves of this alias.")
@json_option
def history_command(
    settings: Settings,
    name: str,
    repository: str | None,
    at: str | None,
    position: str | None,
    key: str | None,
    number: int | None,
    aliases: bool,
    alias: str | None,
    as_json: bool,
) -> None:
    """Show who changed what a model serves, when and why, and who moved its aliases; newest first.

    With rollouts.enabled, the revisions of its rollout, also those that were refused because another one came first. --at and
    --position read from which offset of each partition a revision was routed by, and show the versions that could have
    predicted, with the share of each canary. A time is the moment of the prediction, by the workers' clocks.

    Moves of aliases come from the repository, and so do copies of versions from an MLflow registry.
    """
    questions = [option for option in (at, position, number) if option is not None]
    if len(questions) > 1:
        raise click.UsageError("--at, --position and --revision exclude each other")
    if questions and (aliases or alias is not None):
        raise click.UsageError("--aliases and --alias are about the repository: give them without the other options")
    if key is not None and at is None and position is None:
        raise click.UsageError("--key is for --at or --position")
    chosen = settings.model.repository if repository is None else repository
    is_served = name in (served.model.name for served in settings.models_to_serve())
    if aliases or alias is not None or not (questions or (settings.rollouts.enabled and is_served)):
        _show_moves(_alias_moves(chosen, name, alias), name, alias, as_json=as_json)
        return
    from forebay.stream.cli.interrupts import run_async
    from forebay.stream.cli.models_rollout_target import find_served_model, require_rollouts

    require_rollouts(settings)
    served = find_served_model(settings, name)
    if position is not None:
        run_async(_show_position(settings, name, position, key=key, as_json=as_json))
    elif at is not None:
        run_async(_show_time(settings, name, at, key=key, as_json=as_json))
    else:
        entries = run_async(_entries(settings, name))
        if number is not None:
            _show_revision(entries, name, number, as_json=as_json)
        else:
            moves = _alias_moves(repository or served.model.repository, name, None)
            _show_history(entries, moves, name, as_json=as_json)


def _alias_moves(repository: str, name: str, alias: str | None) -> list[AliasMove | VersionCopy]:
    """Return the moves of one alias or all, and the copies of versions, newest first. Raises ModelError."""
    from forebay.models.artefacts.aliases import read_aliases
    from forebay.models.artefacts.repository import list_versions

    list_versions(repository, name)  # refuses a model that does not exist
    aliases = read_aliases(repository, name)
    moves: list[AliasMove | VersionCopy] = [move for move in aliases.history if alias in (None, move.alias)]
    if alias is None:
        moves = sorted([*moves, *aliases.copies], key=lambda entry: entry.at)
    moves.reverse()
    return moves


def _show_moves(moves: list[AliasMove | VersionCopy], name: str, alias: str | None, *, as_json: bool) -> None:
    if as_json:
        echo_json([move.to_dict() for move in moves])
    elif moves:
        from forebay.stream.cli.models_render import history_table
        from forebay.stream.terminal.console import print_whole

        print_whole(history_table(moves))
    else:
        echo(f"{name}: no alias{'' if alias is None else f' {alias!r}'} was ever set", err=True)


async def _entries(settings: Settings, model: str) -> list[Entry]:
    from forebay.stream.cli.models_rollout_cluster import read_revisions

    return (await read_revisions(settings)).history(model)


def _show_history(entries: list[Entry], moves: list[AliasMove | VersionCopy], name: str, *, as_json: bool) -> None:
    if as_json:
        from forebay.stream.cli.models_rollout_documents import entry_document

        revisions = [entry_document(entry) for entry in reversed(entries)]
        echo_json({"model": name, "revisions": revisions, "alias_moves": [move.to_dict() for move in moves]})
        return
    from forebay.stream.cli.models_history_render import revisions_table
    from forebay.stream.cli.models_render import history_table
    from forebay.stream.terminal.console import print_whole

    if entries:
        print_whole(revisions_table(entries))
    else:
        echo(f"{name}: no revision yet; the configured version serves", err=True)
    if moves:
        echo("\nmoves of aliases in the repository:" if entries else "moves of aliases in the repository:")
        print_whole(history_table(moves))


def _show_revision(entries: list[Entry], name: str, number: int, *, as_json: bool) -> None:
    from forebay.schemas.errors import ConfigError

    found = [entry for entry in entries if entry.revision.number == number]
    if not found:
        highest = max((entry.revision.number for entry in entries if entry.accepted), default=0)
        raise ConfigError(
            f"{name} has no revision {number}; the highest is {highest}",
            kind="unknown_revision",
            remedy=f"`forebay models history {name}` lists the revisions",
        )
    if as_json:
        from forebay.stream.cli.models_rollout_documents import entry_document

        echo_json([entry_document(entry) for entry in found])
        return
    from forebay.stream.cli.models_history_render import entry_text
    from forebay.stream.terminal.console import print_whole

    for index, entry in enumerate(found):
        if index:
            echo()
        print_whole(entry_text(entry))


async def _show_position(settings: Settings, model: str, text: str, *, key: str | None, as_json: bool) -> None:
    from forebay.schemas.errors import ConfigError
    from forebay.stream.cli.models_history_render import position_text
    from forebay.stream.cli.models_rollout_cluster import committed_offsets
    from forebay.stream.cli.models_served import parse_position
    from forebay.stream.terminal.console import print_whole

    partition, offset = parse_position(text, prefix=settings.topics.prefix, topics=settings.input.topics)
    committed = await committed_offsets(settings)
    if partition not in committed:
        count = sum(known.topic == partition.topic for known in committed)
        raise ConfigError(
            f"--position: the topic {partition.topic} has no partition {partition.partition}; it has {count}, from 0 on",
            kind="position",
            remedy="predictions name the position of their event in `source`, and dead letters in their headers",
        )
    history = await _served_history(settings, model)
    served = history.at_offset(partition, offset)
    key_bytes = None if key is None else key.encode()
    end = committed[partition]
    if as_json:
        predicted = end is not None and offset < end
        echo_json({"model": model, "offset": offset, "predicted": predicted, **served.to_dict(key_bytes)})
    else:
        print_whole(position_text(served, offset, end, key_bytes))


async def _show_time(settings: Settings, model: str, text: str, *, key: str | None, as_json: bool) -> None:
    from forebay.schemas.errors import ConfigError
    from forebay.stream.cli.models_history_render import time_table
    from forebay.stream.cli.models_rollout_cluster import committed_offsets
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.time_format import local_date_time
    from forebay.stream.terminal.console import print_whole

    now_ms = SystemClock().wall_ms()
    at_ms = parse_moment("--at", text.removeprefix("-"), now_ms=now_ms)
    if at_ms > now_ms:
        raise ConfigError(
            f"--at {text}: that time has not come yet",
            kind="moment",
            remedy="`forebay models rollout` shows the current state",
        )
    partitions: list[TopicPartition] = list(await committed_offsets(settings))
    served = (await _served_history(settings, model)).at_time(partitions, at_ms)
    key_bytes = None if key is None else key.encode()
    if as_json:
        rows: list[dict[str, Any]] = [each.to_dict(key_bytes) for each in served]
        echo_json({"model": model, "at_ms": at_ms, "partitions": rows})
        return
    echo(f"{model} at {local_date_time(at_ms)}, by the workers' clocks:")
    print_whole(time_table(served, key_bytes))


async def _served_history(settings: Settings, model: str) -> ServedHistory:
    from forebay.stream.cli.models_rollout_cluster import configured_version, read_revisions, read_switch_log
    from forebay.stream.cli.models_served import ServedHistory

    revisions, switches = await read_revisions(settings), await read_switch_log(settings)
    return ServedHistory(model, revisions, switches, configured=configured_version(settings, model))
