"""`forebay privacy`: report on personal data in the topics of a deployment, and forget a key."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option
from forebay.stream.cli.output import echo
from forebay.stream.cli.subcommands import SubcommandGroup
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

DEFAULT_LIMIT: Final = 2_000


@click.group(
    name="privacy",
    cls=SubcommandGroup,
    epilog=examples(
        ("forebay privacy report", "what is in the topics, and for how long"),
        ("forebay privacy report --html privacy.html", "as a page"),
        ("forebay privacy forget --dry-run customer-17", "which topics hold records of a key"),
    ),
)
def command() -> None:
    """Report on personal data in the topics of a deployment, and forget a key.

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


@command.command(
    epilog=examples(
        ("forebay privacy forget --dry-run customer-17", "only say what there is"),
        ("forebay privacy forget customer-17 --topic profiles", "also in a topic of yours, after a confirmation"),
        ("forebay privacy forget customer-17 --yes --json", "without a question, for scripts"),
    )
)
@config_options
@bootstrap_option
@click.argument("key")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="NAME",
    help="Also look in this topic, by its full name; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what is found, and write nothing.")
@click.option("--yes", is_flag=True, help="Write tombstones without asking.")
@json_option
def forget(
    source: ConfigSource,
    bootstrap_server: str | None,
    key: str,
    topics: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Find the records of a key or id, and write tombstones where that is possible.

    Reads all records of all topics of the deployment. A record is found if KEY is its record key, or the field id or key of its
    value; also if a hash of privacy.hash_key replaces it. Kafka removes single records only from compacted topics, by a
    tombstone for their record key. In other topics they stay until retention removes them: the table says when. Workers that
    still get events of the key write new records, so stop these at their source first.
    """
    from forebay.schemas.errors import ConfigError
    from forebay.stream.cli.privacy_forget import confirm, find_records, print_document, show_plan, write_tombstones

    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(
            "standard input is not a terminal, so the tombstones cannot be confirmed",
            kind="confirmation",
            remedy="add --yes to write them without asking, or --dry-run to see what is found",
        )
    settings = _load(source, bootstrap_server)
    plan = run_async(find_records(settings, key, topics, quiet=as_json))
    if not as_json:
        show_plan(plan)
    number, written = sum(len(topic.tombstones) for topic in plan), 0
    if number and not dry_run:
        if not yes and not confirm(plan):
            echo("nothing was written", err=True)
            return 1
        written = run_async(write_tombstones(settings, plan))
    if as_json:
        print_document(plan, dry_run=dry_run, written=written)
    elif written:
        echo(f"wrote {quantity(written, 'tombstone')}; the brokers remove the records when they compact the segments")
    return 0


def _load(source: ConfigSource, bootstrap_server: str | None) -> Settings:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    return source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
