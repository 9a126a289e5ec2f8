"""`forebay train` with several ranks: the launcher's side and a rank's side of the command."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.interrupts import unwind_on_signal
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.models.training.distribution import Distribution
    from forebay.models.training.recipe import Recipe

DEFAULT_CHECKPOINTS: Final = Path("training-checkpoints")
# The ranks get 20 seconds to end after Ctrl-C, and then 5 until they are killed.
_UNWIND_S: Final = 60.0


def is_rank(environ: Mapping[str, str]) -> bool:
    """Return whether this process was started as a rank, by our launcher, torchrun, or a user."""
    return "RANK" in environ or "WORLD_SIZE" in environ


def launch(recipe: Recipe, arguments: Sequence[str], *, nproc: int, max_restarts: int) -> None:
    """Run `forebay train` with these arguments in `nproc` processes, and wait for them.

    Raises ModelError that names the rank that failed, why, and its last messages.
    """
    from forebay.models.distributed.launcher import Launcher, LaunchOptions

    if not recipe.model.is_net:
        raise ConfigError(
            f"model.architecture is {recipe.model.architecture!r}, which is trained in one process",
            remedy="omit --nproc: the library of these trees uses all cores by itself",
        )
    if recipe.data.path == "-":
        raise ConfigError(
            "data.path is -, and each of the processes of --nproc reads the data itself",
            remedy="write the rows to a file, or omit --nproc",
        )
    section = recipe.distributed
    needs_server = section.strategy in ("parameter_server", "auto")
    server = ("--timeout", str(section.timeout_s), "--lost-rank", section.lost_rank)
    launcher = Launcher(
        [sys.executable, "-m", "forebay", "train", *arguments],
        LaunchOptions(
            nproc,
            max_restarts=max_restarts,
            server=server if needs_server else None,
            may_continue=section.lost_rank == "continue",
        ),
        environ=os.environ,
        report=lambda line: echo(line, err=True),
    )
    with unwind_on_signal(_UNWIND_S):
        launcher.run()


def distribution(recipe: Recipe, checkpoints: Path | None) -> Distribution:
    """Return how this process takes part in the training. Logs of the training go to the standard error."""
    from forebay.models.distributed.rank_process import end_with_launcher
    from forebay.models.distributed.ranks import Ranks
    from forebay.models.training.distribution import Distribution

    ranks = Ranks.read(os.environ)
    if ranks is not None:
        end_with_launcher(os.environ)
        if checkpoints is None:
            checkpoints = DEFAULT_CHECKPOINTS / recipe.registration.name
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("forebay.train")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return Distribution(recipe.distributed.options(), ranks, checkpoints)
