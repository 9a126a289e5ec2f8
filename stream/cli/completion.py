"""`forebay completion`: print the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from forebay.stream.cli.examples import examples
from forebay.stream.cli.output import echo

VARIABLE = "_FOREBAY_COMPLETE"
"""The variable with which the script calls `forebay` for completions."""


@click.command(
    name="completion",
    epilog=examples(
        ("forebay completion bash >> ~/.bashrc", "for Bash, version 4.4 or later"),
        ("forebay completion zsh >> ~/.zshrc", "for Z shell"),
        ("forebay completion fish > ~/.config/fish/completions/forebay.fish", "for Fish"),
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    root = click.get_current_context().find_root().command
    echo(kind(root, {}, "forebay", VARIABLE).source())
