"""`forebay acls`: print the permissions that Forebay needs on a cluster with access control."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.kafka.cluster.acls import Acl

# The values of `Role`, which is not imported so that --help is fast.
ROLES: Final = ("worker", "aggregator", "evaluator", "dlq-replay", "rollouts")


@click.command(
    name="acls",
    epilog=examples(
        ("forebay acls worker", "for `forebay run` with this configuration"),
        ("forebay acls aggregator --principal User:counts", "for `forebay aggregate` as another user"),
        ("forebay acls evaluator", "for `forebay evaluate`"),
        ("forebay acls worker --commands | sh", "grant them with Kafka's kafka-acls.sh"),
        ("forebay acls dlq-replay --json", "for `forebay dlq replay`, as JSON"),
        ("forebay acls rollouts --principal User:ada", "for the commands of `forebay models` that change rollouts"),
    ),
)
@click.argument("role", type=click.Choice(ROLES), metavar="ROLE")
@config_options
@click.option(
    "--principal",
    default="User:forebay",
    show_default=True,
    metavar="NAME",
    help="Principal that gets the permissions.",
)
@click.option("--commands", is_flag=True, help="Print kafka-acls.sh commands instead of a table.")
@json_option
def command(source: ConfigSource, role: str, principal: str, commands: bool, as_json: bool) -> None:
    """Print the permissions that a role needs on a Kafka cluster with access control lists. Does not connect to a cluster.

    ROLE is worker, aggregator, evaluator, dlq-replay or rollouts. READ and WRITE imply DESCRIBE. The permission to create
    topics is not included: an administrator runs `forebay topics create`.
    """
    from forebay.stream.kafka.cluster.acls import Role, required_acls

    settings = source.load().settings
    acls = required_acls(Role(role), settings)
    if as_json:
        echo_json([{"principal": principal, **asdict(acl)} for acl in acls])
    elif commands:
        for acl in acls:
            echo(_kafka_command(acl, principal, settings.kafka.bootstrap_servers))
    else:
        _print_table(acls, principal)


def _kafka_command(acl: Acl, principal: str, servers: str) -> str:
    words = ["kafka-acls.sh", "--bootstrap-server", servers, "--add", "--allow-principal", principal]
    words += ["--operation", acl.operation, f"--{acl.resource}", acl.name]
    words += ["--resource-pattern-type", "prefixed"] * acl.prefixed
    return shlex.join(words)


def _print_table(acls: tuple[Acl, ...], principal: str) -> None:
    from forebay.stream.terminal.console import plain_table, print_whole

    table = plain_table("principal", "operation", "resource", "name")
    for acl in acls:
        table.add_row(principal, acl.operation, acl.resource, acl.name + "*" * acl.prefixed)
    print_whole(table)
