"""`forebay models gc`: delete versions that are no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.artefacts.clean_up import Leftover, VersionPlan
    from forebay.stream.config.sections import Settings


@click.command(
    name="gc",
    epilog=examples(
        ("forebay models gc", "show what would be deleted"),
        ("forebay models gc churn --keep 5 --older-than 90 --yes", "delete old versions of one model"),
        ("forebay models gc --json", "for scripts"),
    ),
)
@config_options
@click.argument("names", nargs=-1, metavar="[NAME]...")
@repository_option
@click.option(
    "--keep", type=click.IntRange(min=1), default=3, show_default=True, help="Keep this many of the newest versions."
)
@click.option(
    "--older-than",
    type=click.IntRange(0, 36_500),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="Keep versions that were created less than this many days ago.",
)
@click.option("--parents", is_flag=True, help="Delete versions too that a kept version was made from.")
@click.option("--yes", is_flag=True, help="Delete. Without it, nothing is changed.")
@json_option
def command(
    source: ConfigSource,
    names: tuple[str, ...],
    repository: str | None,
    keep: int,
    older_than: int,
    parents: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show or delete the versions of models that are no longer needed.

    A version is kept if an alias leads to it, the current revision of a rollout names it (with rollouts.enabled), it is one of
    the newest, it is young, a kept version was made from it, or its manifest cannot be read. What interrupted publications left
    behind, and old copies of versions behind URLs, are deleted too. Workers that serve a deleted version continue, but cannot
    start again: move an alias to what is served.
    """
    settings = source.load().settings
    chosen = settings.model.repository if repository is None else repository
    import os
    from datetime import UTC, datetime, timedelta

    from forebay.models.artefacts.clean_up import (
        Rules,
        delete_versions,
        find_leftovers,
        find_old_copies,
        plan_versions,
    )
    from forebay.models.artefacts.repository import list_models
    from forebay.models.artefacts.version_cache import cache_folder

    now, age = datetime.now(UTC), timedelta(days=older_than)
    in_rollout = _versions_in_rollouts(settings) if settings.rollouts.enabled else {}
    rules = Rules(keep, age, delete_parents=parents, in_rollout=in_rollout)
    models = list(names) or list_models(chosen)
    plans = [plan for name in models for plan in plan_versions(chosen, name, rules, now)]
    leftovers = [*find_leftovers(chosen, models, now), *find_old_copies(cache_folder(os.environ), age, now)]
    if yes:
        deleted = {(plan.name, plan.version) for name in models for plan in delete_versions(chosen, name, rules, now)}
        # An alias may have moved since the plan was made: what was deleted counts.
        plans = [plan for plan in plans if plan.kept or (plan.name, plan.version) in deleted]
        for leftover in leftovers:
            leftover.delete()
    if as_json:
        echo_json(_document(plans, leftovers, deleted=yes))
    else:
        _print(plans, leftovers, deleted=yes)


def _versions_in_rollouts(settings: Settings) -> dict[str, frozenset[int]]:
    """Return the versions that the current revision of each model names: served ones, and what a rollback returns to."""
    from forebay.stream.cli.interrupts import run_async
    from forebay.stream.cli.models_rollout_cluster import read_revisions

    log = run_async(read_revisions(settings))
    revisions = [revision for model in log.models() if (revision := log.current(model)) is not None]
    return {
        revision.model: revision.versions() | ({revision.previous} if revision.previous is not None else set())
        for revision in revisions
    }


def _document(plans: list[VersionPlan], leftovers: list[Leftover], *, deleted: bool) -> dict[str, object]:
    versions = [
        {
            "name": plan.name,
            "version": plan.version,
            "delete": not plan.kept,
            "kept": plan.kept or None,
            "created_at": None if plan.created_at is None else plan.created_at.isoformat(),
            "bytes": plan.num_bytes,
        }
        for plan in plans
    ]
    others = [{"what": leftover.what, "place": leftover.place} for leftover in leftovers]
    return {"deleted": deleted, "versions": versions, "leftovers": others}


def _print(plans: list[VersionPlan], leftovers: list[Leftover], *, deleted: bool) -> None:
    from rich.text import Text

    from forebay.stream.terminal.console import DIM, plain_table, print_whole, visible

    verb = "deleted" if deleted else "delete"
    table = plain_table("version", "created", "bytes", "what", right=("bytes",))
    for plan in plans:
        created = "" if plan.created_at is None else plan.created_at.date().isoformat()
        size = "" if plan.num_bytes is None else f"{plan.num_bytes:,}"
        what = Text(f"keep: {plan.kept}", DIM) if plan.kept else Text(verb)
        table.add_row(Text(f"{plan.name}@{plan.version}"), Text(created), Text(size), what)
    for leftover in leftovers:
        table.add_row(
            Text(visible(leftover.place)), Text(""), Text(""), Text(f"{verb}: abandoned or old {leftover.what}")
        )
    print_whole(table)
    num = sum(not plan.kept for plan in plans) + len(leftovers)
    if deleted:
        echo(f"{num} deleted")
    elif num:
        echo(f"{num} would be deleted; --yes deletes them")
    else:
        echo("nothing to delete")
