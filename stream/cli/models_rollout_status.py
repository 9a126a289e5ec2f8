"""`forebay models rollout`: show the rollout of a model and what each live worker has applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_rollout_options import NAME, group_options, token_option
from forebay.stream.cli.options import json_option, watch_options
from forebay.stream.cli.output import echo_json

if TYPE_CHECKING:
    from forebay.stream.cli.models_rollout_workers import RolloutWorker
    from forebay.stream.config.sections import Settings
    from forebay.stream.rollouts.judge import Verdict
    from forebay.stream.rollouts.revision import Revision


@click.command(
    name="rollout",
    epilog=examples(
        ("forebay models rollout fraud", "stable, canaries and the verdict on them, who and why, and the workers"),
        ("forebay models rollout fraud --watch", "refresh until Ctrl-C"),
        ("forebay models rollout fraud --json | jq .revision.number", "for scripts"),
        ("forebay models history fraud", "all revisions"),
    ),
)
@NAME
@group_options
@watch_options
@token_option
@json_option
def rollout_command(
    settings: Settings, name: str, watch: bool, interval_s: float, token_over_http: bool, as_json: bool
) -> None:
    """Show the current revision of a model's rollout, which revision each live worker has applied, and the judge's verdict.

    Revision 0 is the configuration. Workers are found through their consumer group and asked for their status, as in
    `forebay status`. Changes nothing. --json prints one object; with --watch, one object per line.
    """
    from forebay.stream.cli.interrupts import run_async
    from forebay.stream.cli.models_rollout_target import find_served_model, require_rollouts

    require_rollouts(settings)
    find_served_model(settings, name)
    run_async(
        _rollout(
            settings,
            name,
            interval_s=interval_s if watch else None,
            token_over_http=token_over_http,
            as_json=as_json,
        )
    )


async def _rollout(
    settings: Settings, model: str, *, interval_s: float | None, token_over_http: bool, as_json: bool
) -> None:
    from forebay.stream.cli.models_rollout_cluster import RolloutCluster
    from forebay.stream.core.cancellation import raise_if_cancelled

    async with RolloutCluster(settings, model, token_over_http=token_over_http) as cluster:
        while True:
            raise_if_cancelled()
            workers = await cluster.workers()
            _show(
                cluster.current(workers),
                workers,
                await cluster.verdicts(),
                as_json=as_json,
                again=interval_s is not None,
            )
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)
            await cluster.refresh()


def _show(
    revision: Revision,
    workers: tuple[RolloutWorker, ...],
    verdicts: list[Verdict] | str,
    *,
    as_json: bool,
    again: bool,
) -> None:
    if as_json:
        from forebay.stream.cli.models_rollout_documents import revision_document

        document = {
            "model": revision.model,
            "revision": revision_document(revision),
            "verdicts": None if isinstance(verdicts, str) else [verdict.to_dict() for verdict in verdicts],
            "workers": [worker.to_dict() for worker in workers],
        }
        echo_json(document, indent=None if again else 2)
        return
    from forebay.stream.cli.models_rollout_render import status_text
    from forebay.stream.terminal.console import clear_terminal, print_whole

    if again:
        clear_terminal()
    print_whole(status_text(revision, workers, verdicts))
