"""The command group, which prints errors and sets the exit status.

Exit status: 0 success, 1 failure, 2 wrong configuration or command line, 130 interrupted (143 by SIGTERM).
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, NamedTuple

import click

from forebay.schemas.errors import ConfigError, ForebayError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import exit_status
from forebay.stream.cli.output import echo, prepare_streams, silence

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
"""Errors of writing to standard output. Commands that write files report these errors themselves."""


class CommandEntry(NamedTuple):
    """A command: the module that exports it as `command`, and its line in `forebay --help`."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, CommandEntry]] = MappingProxyType(
    {
        "demo": CommandEntry("forebay.stream.cli.demo", "Run everything on this machine, with real events."),
        "init": CommandEntry("forebay.stream.cli.init", "Write forebay.toml with the common settings."),
        "check": CommandEntry(
            "forebay.stream.cli.check", "Check configuration, cluster, topics, permissions and model."
        ),
        "config": CommandEntry("forebay.stream.cli.config", "Print the settings in force and their origins."),
        "describe": CommandEntry("forebay.stream.cli.describe", "Describe the columns of files or of a topic."),
        "train": CommandEntry("forebay.stream.cli.train", "Train a model from a recipe, and register it."),
        "models": CommandEntry("forebay.stream.cli.models", "List, show, validate and alias models."),
        "edge": CommandEntry("forebay.stream.cli.edge", "Export models to small devices, and plan what fits."),
        "topics": CommandEntry("forebay.stream.cli.topics", "Create or check the topics."),
        "keys": CommandEntry("forebay.stream.cli.keys", "Create and list keys for encrypted fields."),
        "acls": CommandEntry("forebay.stream.cli.acls", "Print the permissions that Forebay needs on the cluster."),
        "schemas": CommandEntry("forebay.stream.cli.schemas", "Print the formats of events and predictions."),
        "run": CommandEntry("forebay.stream.cli.run", "Run a worker."),
        "backfill": CommandEntry("forebay.stream.cli.backfill", "Predict past events again, into topics of their own."),
        "aggregate": CommandEntry("forebay.stream.cli.aggregate", "Run the aggregator of outcome counts and alerts."),
        "evaluate": CommandEntry("forebay.stream.cli.evaluate", "Run the evaluator of models by labels."),
        "publish": CommandEntry("forebay.stream.cli.publish", "Publish events from the command line or a file."),
        "tail": CommandEntry("forebay.stream.cli.tail", "Follow predictions, dead letters, alerts or another topic."),
        "dlq": CommandEntry("forebay.stream.cli.dlq", "List, explain and replay dead letters."),
        "errors": CommandEntry("forebay.stream.cli.errors", "Show the errors of all workers, with examples."),
        "drift": CommandEntry("forebay.stream.cli.drift", "Show which features and scores have drifted."),
        "audit": CommandEntry("forebay.stream.cli.audit", "Verify and show what became of each record."),
        "privacy": CommandEntry(
            "forebay.stream.cli.privacy", "Report on personal data in the topics, and forget a key."
        ),
        "quality": CommandEntry("forebay.stream.cli.quality", "Show the quality of models by their labels."),
        "status": CommandEntry("forebay.stream.cli.status", "Show the workers, their partitions, lag and health."),
        "bench": CommandEntry("forebay.stream.cli.bench", "Measure throughput, latency and memory."),
        "doctor": CommandEntry("forebay.stream.cli.doctor", "Print what a bug report needs, with secrets hidden."),
        "completion": CommandEntry("forebay.stream.cli.completion", "Print the script for completion in a shell."),
    }
)
"""In the order in which a new user needs them."""


class LazyGroup(click.Group):
    """A command group that imports a command of COMMANDS only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry.module).command
        assert isinstance(command, click.Command), f"{entry.module} exports no command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " `forebay --help` lists all commands."
            raise click.UsageError(f"unknown command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table: the commands themselves would import everything, including torch.
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        echo(f"forebay {version('forebay')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    name="forebay",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        ("forebay demo", "see it work, with an embedded broker"),
        ("forebay init", "write forebay.toml"),
        ("forebay check", "check configuration, cluster and model"),
        ("forebay run", "run a worker"),
        ("forebay COMMAND --help", "show options and examples of a command"),
    ),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def group() -> None:
    """Run models on events from Kafka, in micro-batches, and publish the predictions to Kafka."""


def run_command(args: Sequence[str] | None) -> int:
    """Run a command (None: from `sys.argv`) and return the exit status. An exception that it raises is a bug."""
    prepare_streams()
    try:
        status = group.main(args=args, prog_name="forebay", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except ForebayError as error:
        # Imported late: it imports rich.
        from forebay.stream.terminal.console import render_error

        render_error(error)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        return exit_status(error)
    except BrokenPipeError:
        # The reader closed the pipe. click treats output of a running command in the same way.
        silence(sys.stdout)
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _FULL:
            raise
        silence(sys.stdout)
        echo(f"error: the output cannot be written: {error.strerror}", err=True)
        return EXIT_FAILED
