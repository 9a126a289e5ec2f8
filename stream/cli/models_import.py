"""`forebay models import`: copy a version that was exported elsewhere into a repository."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="import",
    epilog=examples(
        ("forebay models import churn.zip", "what `forebay models export` has written"),
        (
            "forebay models import ./elsewhere churn@3 --repository s3://bucket/models",
            "one version of another repository",
        ),
    ),
)
@config_options
@click.argument("path", metavar="ARCHIVE|FOLDER", type=click.Path(path_type=Path))
@click.argument("reference", metavar="[NAME@VERSION]", required=False)
@repository_option
@json_option
def command(source: ConfigSource, path: Path, reference: str | None, repository: str | None, as_json: bool) -> None:
    """Copy a version from an exported zip file or folder into a repository, under its name and number.

    Before anything is written, it is checked as a worker checks it: sizes, digests, trust policy, golden rows. Its digests stay
    the same. An existing version is not replaced. NAME@VERSION is needed only if there are several.
    """
    settings = source.load().settings
    chosen = settings.model.repository if repository is None else repository
    version = None if reference is None else _version(reference)
    # Imported late: it imports the backends.
    from forebay.models.registration.import_version import import_version
    from forebay.stream.cli.models_render import download_bar
    from forebay.stream.inference.loading import trust_policy

    with download_bar() as on_progress:
        done = import_version(path, chosen, chosen=version, trust=trust_policy(settings.trust), on_progress=on_progress)
    if as_json:
        echo_json(asdict(done))
    else:
        echo(
            f"{done.name}@{done.version}: imported into {chosen}, backend {done.backend}, "
            f"{done.num_golden_rows} golden rows agree"
        )


def _version(reference: str) -> tuple[str, int]:
    from forebay.models.artefacts.repository import split_reference

    name, version = split_reference(reference)
    if not isinstance(version, int):
        raise click.UsageError("give the version as a number: NAME@VERSION")
    return name, version
