"""`forebay models`: register, list, show, validate and alias the models of a repository, and roll versions out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_calibrate import command as calibrate_command
from forebay.stream.cli.models_compare import command as compare_command
from forebay.stream.cli.models_compress import command as compress_command
from forebay.stream.cli.models_experiment import command as experiment_command
from forebay.stream.cli.models_export import command as export_command
from forebay.stream.cli.models_gc import command as gc_command
from forebay.stream.cli.models_history import history_command
from forebay.stream.cli.models_import import command as import_command
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.models_register import command as register_command
from forebay.stream.cli.models_rollout import (
    abort_command,
    canary_command,
    pause_command,
    promote_command,
    resume_command,
    rollback_command,
    shadow_command,
)
from forebay.stream.cli.models_rollout_status import rollout_command
from forebay.stream.cli.models_sign import sign_command, verify_command
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from forebay.stream.cli.models_reading import Validation


@click.group(
    name="models",
    cls=SubcommandGroup,
    answers={
        "publish": "`forebay models register` publishes a model from its file, `forebay.register` an object in Python.",
        "check": "`forebay models validate` checks the models of a repository, `forebay check` those of the configuration.",
        "delete": "`forebay models gc` deletes versions that are no longer needed.",
        "undo": "`forebay models rollback` returns to the version before.",
        "status": "`forebay models rollout` shows the rollout of a model.",
        "deploy": "`forebay models promote` lets a version serve, `forebay models canary` for a share of the keys.",
        "quantize": "`forebay models compress --quantize int8` publishes a smaller version.",
        "prune": "`forebay models compress --prune 0.5` publishes a smaller version.",
        "aliases": "`forebay models list` shows the aliases, `forebay models alias` moves one.",
    },
    epilog=examples(
        ("forebay models list", "the models and their aliases"),
        ("forebay models show churn@champion", "one version in full"),
        ("forebay models register churn.ubj --name churn", "publish a model"),
        ("forebay models validate", "load every version and compare its golden rows"),
        ("forebay models alias churn@4 champion", "move an alias"),
        ("forebay models canary churn 4 --weight 5", "let a version predict 5 % of the keys"),
        ("forebay models experiment churn", "is it better, by its labels?"),
        ("forebay models rollback churn", "return to the version before"),
    ),
)
def command() -> None:
    """Register, list, show, validate and alias the models of a repository, and roll versions out to the workers.

    A version is given as NAME@VERSION or NAME@ALIAS; NAME alone is its highest version.
    """


command.add_command(register_command)
command.add_command(export_command)
command.add_command(import_command)
command.add_command(gc_command)
command.add_command(sign_command)
command.add_command(verify_command)
command.add_command(calibrate_command)
command.add_command(compress_command)
command.add_command(compare_command)
command.add_command(experiment_command)
command.add_command(rollout_command)
command.add_command(promote_command)
command.add_command(canary_command)
command.add_command(shadow_command)
command.add_command(rollback_command)
command.add_command(pause_command)
command.add_command(resume_command)
command.add_command(abort_command)
command.add_command(history_command)


@command.command(
    name="list",
    epilog=examples(
        ("forebay models list", "one line per model"),
        ("forebay models list churn", "one line per version"),
        ("forebay models list --json | jq -r '.[].name'", "for scripts"),
    ),
)
@config_options
@click.argument("name", required=False, metavar="[NAME]")
@repository_option
@json_option
def list_command(source: ConfigSource, name: str | None, repository: str | None, as_json: bool) -> None:
    """List the models of a repository, or the versions of the model NAME.

    Only manifests are read; `forebay models validate` checks the other files too. A manifest that cannot be read is listed
    with the reason.
    """
    folder = chosen_repository(source, repository)
    from forebay.stream.cli.models_reading import list_all_models, list_all_versions

    rows = list_all_models(folder) if name is None else list_all_versions(folder, name)
    if as_json:
        echo_json(rows)
        return
    from forebay.stream.cli.models_render import models_table, versions_table
    from forebay.stream.terminal.console import print_whole

    if not rows:
        echo(f"{folder}: no model has been published there yet", err=True)
        return
    print_whole(models_table(rows) if name is None else versions_table(rows))


@command.command(
    epilog=examples(
        ("forebay models show churn", "the highest version"),
        ("forebay models show churn@3", "version 3"),
        ("forebay models show churn@champion --json", "where an alias leads, for scripts"),
    )
)
@config_options
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@repository_option
@json_option
def show(source: ConfigSource, reference: str, repository: str | None, as_json: bool) -> None:
    """Show a version of a model: its input, outputs, files, origin and aliases.

    Only the manifest and the signature are read. --json prints the manifest with `folder`, `aliases`, `manifest_sha256`,
    `runs_code` and `signed` added.
    """
    settings = source.load().settings
    folder = settings.model.repository if repository is None else repository
    from forebay.stream.cli.models_reading import read_version
    from forebay.stream.inference.loading import trust_policy

    shown = read_version(folder, reference, trust_policy(settings.trust))
    if as_json:
        echo_json(shown.to_dict())
        return
    from forebay.stream.cli.models_render import version_text
    from forebay.stream.terminal.console import print_whole

    print_whole(version_text(shown))


@command.command(
    epilog=examples(
        ("forebay models validate", "every version of every model"),
        ("forebay models validate churn@4 churn@champion", "these versions"),
        ("forebay models validate churn@4 --device cuda", "on another device"),
    )
)
@config_options
@click.argument("references", nargs=-1, metavar="[NAME[@VERSION|@ALIAS]]...")
@repository_option
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Device to load on: auto, cpu, cuda, cuda:N, mps.",
)
@json_option
def validate(
    source: ConfigSource, references: tuple[str, ...], repository: str | None, device: str, as_json: bool
) -> int:
    """Load versions as a worker does: verify all files, build the model, compare its golden rows, run it.

    Without an argument, every version of every model is validated. The exit status is 1 if one of them cannot be served.
    Models that run code of their own are loaded only if [trust] of the configuration allows it.
    """
    settings = source.load().settings
    folder = settings.model.repository if repository is None else repository
    # Imported late: it imports torch.
    from forebay.stream.cli.models_reading import all_versions, validate_version
    from forebay.stream.cli.models_render import download_bar, print_validation
    from forebay.stream.inference.loading import trust_policy

    chosen = list(references) or all_versions(folder)
    trust = trust_policy(settings.trust)
    results: list[Validation] = []
    for reference in chosen:
        with download_bar() as on_progress:
            result = validate_version(folder, reference, device, trust, on_progress=on_progress)
        results.append(result)
        if not as_json:
            print_validation(result)  # at once: a large model takes its time
    if as_json:
        echo_json([result.to_dict() for result in results])
    elif not results:
        echo(f"{folder}: no model has been published there yet", err=True)
    return 0 if all(result.error is None for result in results) else 1


@command.command(
    epilog=examples(
        ("forebay models alias churn@4 champion --reason 'better on last week'", "move or create an alias"),
        ("forebay models alias churn@champion previous", "to where another alias leads"),
        ("forebay models alias churn canary --remove", "remove an alias"),
    )
)
@config_options
@click.argument("reference", metavar="NAME@VERSION")
@click.argument("alias", metavar="ALIAS")
@repository_option
@click.option("--remove", is_flag=True, help="Remove the alias; give NAME without a version.")
@click.option("--by", metavar="TEXT", help="Who moves it. [default: the user's name on this machine]")
@click.option("--reason", default="", metavar="TEXT", help="Why it is moved, for the history.")
@json_option
def alias(
    source: ConfigSource,
    reference: str,
    alias: str,
    repository: str | None,
    remove: bool,
    by: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Move an alias to a version, and record who moved it, when and why.

    NAME@VERSION is a version that exists, or NAME@ALIAS. The version is not loaded: `forebay models validate` does that.
    Workers do not follow aliases: they serve the number in model.version, or that of the rollout (`forebay models promote`).
    """
    if remove == ("@" in reference):
        raise click.UsageError(
            "--remove takes NAME without a version" if remove else "give the version: NAME@VERSION or NAME@ALIAS"
        )
    folder = chosen_repository(source, repository)
    from datetime import UTC, datetime

    from forebay.models.artefacts.alias_moves import move_alias
    from forebay.models.artefacts.repository import resolve_version, split_reference
    from forebay.models.registration.user_name import user_name

    name, version = split_reference(reference)
    number = None if remove else resolve_version(folder, name, version)
    move = move_alias(folder, name, alias, number, by=by or user_name(), at=datetime.now(UTC), reason=reason)
    if as_json:
        echo_json(None if move is None else move.to_dict())
    elif move is None:
        echo(f"{name}@{alias} leads to version {number} already; nothing was changed")
    else:
        before = "new" if move.before is None else f"was version {move.before}"
        after = "removed" if move.after is None else f"version {move.after}"
        echo(f"{name}@{alias}: {after} ({before})")
