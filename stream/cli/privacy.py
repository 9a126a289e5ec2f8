"""`forebay privacy`: report on personal data in the topics of a deployment, and forget a key."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

DEFAULT_LIMIT: Final = 2_000


@click.group(
    name="privacy",
    cls=SubcommandGroup,
    epilog=examples(
        ("forebay privacy report", "what is in the topics, and for how long"),
        ("forebay privacy report --html privacy.html", "as a page"),
    ),
)
def command() -> None:
    """Report on personal data in the topics of a deployment.

    These commands read what is committed when they start, and then end. They join no consumer group and commit no offsets.
    """


@command.command(
    epilog=examples(
        ("forebay privacy report", "a sample of each topic"),
        ("forebay privacy report --limit 50000 --html privacy.html", "a larger sample, also as a page"),
        ("forebay privacy report --quasi zip --quasi birth_year --sensitive diagnosis", "judge the anonymisation"),
        ("forebay privacy report --json | jq '.judgements[] | select(.verdict == \"failed\")'", "for scripts"),
    )
)
@config_options
@bootstrap_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="Read at most the newest N records of each topic.",
)
@click.option(
    "--quasi",
    "quasi_identifiers",
    multiple=True,
    metavar="FIELD",
    help="A field that could identify a person together with others; may be repeated. [default: privacy.quasi_identifiers]",
)
@click.option(
    "--sensitive",
    "sensitive_fields",
    multiple=True,
    metavar="FIELD",
    help="A field that must not become known about a person; may be repeated. [default: privacy.sensitive_fields]",
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page as well."
)
@json_option
def report(
    source: ConfigSource,
    bootstrap_server: str | None,
    limit: int,
    quasi_identifiers: tuple[str, ...],
    sensitive_fields: tuple[str, ...],
    page: Path | None,
    as_json: bool,
) -> int:
    """Judge sensitive data, anonymisation, minimisation and retention.

    Reads a sample of each topic of the deployment, and gives four judgements, each with evidence and remedies. The report holds
    no values of records: findings are shown by their form, such as aaaa@aaaaaaa.aaa, and by the position of the first one.
    The exit status is 1 if a judgement fails. What it is judged by is in [privacy]; docs/privacy.md explains it.
    """
    from forebay.stream.cli.privacy_report import make_report, show_report

    settings = _load(source, bootstrap_server)
    made = run_async(
        make_report(
            settings,
            limit=limit,
            quasi_identifiers=quasi_identifiers or settings.privacy.quasi_identifiers,
            sensitive_fields=sensitive_fields or settings.privacy.sensitive_fields,
            quiet=as_json,
        )
    )
    show_report(made, page=page, as_json=as_json)
    return 1 if made.has_failed else 0


def _load(source: ConfigSource, bootstrap_server: str | None) -> Settings:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    return source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
