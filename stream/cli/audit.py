"""`forebay audit`: verify and show what workers have written down about each record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

LISTED: Final = 20


@click.group(
    name="audit",
    cls=SubcommandGroup,
    epilog=examples(
        ("forebay audit verify", "whether the record is complete and unchanged"),
        ("forebay audit verify --counts", "and whether it has every event, prediction and dead letter"),
        ("forebay audit show --id UA-1545", "what became of one event"),
        ("forebay audit show --outcome abstained --since 2h --json", "for scripts"),
    ),
)
def command() -> None:
    """Verify and show what became of each record.

    Workers write the topic audit if audit.enabled is set. These commands read what is committed when they start, and then end.
    They join no consumer group and commit no offsets.
    """


@command.command(
    epilog=examples(
        ("forebay audit verify", "with the keys of the configuration"),
        ("forebay audit verify --key audit.pub --key audit-2025.pub", "with these public keys"),
        ("forebay audit verify --counts", "compare the numbers with the other topics"),
        ("forebay audit verify --json | jq '.findings[]'", "for scripts"),
    )
)
@config_options
@bootstrap_option
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="FILE",
    help="A public key in PEM whose signatures are valid; may be repeated. [default: those of the configuration]",
)
@click.option(
    "--counts", is_flag=True, help="Also compare the numbers of outcomes with the records of input and output topics."
)
@json_option
def verify(
    source: ConfigSource, bootstrap_server: str | None, keys: tuple[str, ...], counts: bool, as_json: bool
) -> int:
    """Find blocks that were deleted, inserted, changed, swapped or cut off.

    Recomputes the digests of all blocks, checks the signatures of checkpoints, and compares the end of each chain with the head
    that the group has committed. The exit status is 1 if anything is wrong or left out. docs/audit.md says what can be found,
    and what cannot.
    """
    from forebay.stream.cli.audit_verify import verify_audit

    settings = _load(source, bootstrap_server)
    return run_async(verify_audit(settings, keys=keys, counts=counts, as_json=as_json))


@command.command(
    epilog=examples(
        ("forebay audit show", f"the newest {LISTED} outcomes"),
        ("forebay audit show --id UA-1545", "of one event, by its id"),
        ("forebay audit show --position features-3@88210", "of one record"),
        ("forebay audit show --actions", "starts, stops, pauses, rollouts and replays, and who made them"),
        ("forebay audit show --principal team-a/ann --since 1h", "what someone has asked"),
        ("forebay audit show --model fraud --since 1h --json | jq -r .outcome", "for scripts"),
    )
)
@config_options
@bootstrap_option
@click.option("--id", "event_id", metavar="TEXT", help="Only the event with this id.")
@click.option("--position", metavar="POSITION", help="Only the record at TOPIC-PARTITION@OFFSET of the input.")
@click.option("--principal", metavar="NAME", help="Only this principal: its name or, as recorded, its hash.")
@click.option("--model", metavar="NAME", help="Only this model.")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Only this version.")
@click.option("--outcome", metavar="OUTCOME", help="Only this outcome: predicted, abstained, or a kind of failure.")
@click.option("--actions", is_flag=True, help="Show actions of operators and processes instead of outcomes.")
@click.option("--since", metavar="TIME", help="Only outcomes since TIME: 15m or 2h ago, RFC 3339, or ms since 1970.")
@click.option("--until", metavar="TIME", help="Only outcomes before TIME, in the same formats.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Show only the newest N. [default: {LISTED}; all with --json]",
)
@json_option
def show(
    source: ConfigSource,
    bootstrap_server: str | None,
    event_id: str | None,
    position: str | None,
    principal: str | None,
    model: str | None,
    version: int | None,
    outcome: str | None,
    actions: bool,
    since: str | None,
    until: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the outcomes that match all of the conditions, by time of outcome within a partition.

    --actions shows what operators and processes did; of the conditions only --since and --until apply then.
    With --json, each line is a JSON object with all fields. Shows what the topic has, and does not verify it.
    """
    from forebay.stream.audit.filter import AuditFilter, parse_position
    from forebay.stream.cli.audit_show import show_actions, show_audit
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.worker.audit_assembly import recorded_principals

    settings = _load(source, bootstrap_server)
    now_ms = SystemClock().wall_ms()
    selection = AuditFilter(
        event_id=event_id,
        position=None if position is None else parse_position(position),
        principals=None if principal is None else recorded_principals(settings.audit, principal),
        model=model,
        version=version,
        outcome=outcome,
        since_ms=None if since is None else parse_moment("--since", since, now_ms=now_ms),
        until_ms=None if until is None else parse_moment("--until", until, now_ms=now_ms),
    )
    shown = show_actions if actions else show_audit
    run_async(shown(settings, selection, limit=limit, as_json=as_json))


def _load(source: ConfigSource, bootstrap_server: str | None) -> Settings:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    return source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
