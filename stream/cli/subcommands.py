"""Groups of subcommands, such as `forebay topics`, that name what exists instead of an unknown subcommand."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import click


class SubcommandGroup(click.Group):
    """A group whose error for an unknown subcommand names a similar one, or all.

    answers: advice for names that users look for.
    """

    def __init__(self, *args: Any, answers: Mapping[str, str] = MappingProxyType({}), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers = answers

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            near = get_close_matches(name, self.commands, n=1)
            existing = f"`forebay {self.name}` has: {', '.join(self.list_commands(ctx))}."
            hint = self._answers.get(name) or (f"Did you mean {near[0]!r}?" if near else existing)
            raise click.UsageError(f"unknown command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)
