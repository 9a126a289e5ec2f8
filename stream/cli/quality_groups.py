"""Report records of evaluators in other consumer groups on the topic `quality`."""

from __future__ import annotations

from collections.abc import Collection

from forebay.stream.cli.output import echo


def warn_of_other_groups(group: str, others: Collection[str]) -> None:
    """Name the groups whose records are left out, if there are any, on standard error. group: the one that is shown."""
    if others:
        from forebay.stream.terminal.console import visible

        names = visible(", ".join(sorted(others)))
        echo(
            f"left out the records of other groups of evaluators: {names}; this is about {group}, and --set "
            "evaluate.group_id=NAME is about another",
            err=True,
        )
