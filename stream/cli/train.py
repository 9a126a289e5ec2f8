"""`forebay train`: train a model from a recipe, and register it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import stop_on_signal, unwind_on_signal
from forebay.stream.cli.options import (
    DEFAULT_FILE,
    ConfigSource,
    bootstrap_option,
    json_option,
    parse_column_types,
    type_option,
)
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.train_ranks import distribution, is_rank, launch
from forebay.stream.core.extras import install_hint

if TYPE_CHECKING:
    from forebay.models.training.prepared_data import TableSource
    from forebay.models.training.recipe import Recipe
    from forebay.models.training.report import ReportFiles
    from forebay.models.training.run import TrainingOutcome
    from forebay.models.training.tuning import Trial

_MAX_WORKERS: Final = 4
DEFAULT_REPORTS: Final = Path("training-reports")
DEFAULT_CACHE: Final = Path("~/.cache/forebay/training")


class TrainOptions(TypedDict):
    """The options of the command, by parameter name."""

    assignments: tuple[str, ...]
    column_types: tuple[str, ...]
    tune: int
    report: Path | None
    config_path: Path | None
    bootstrap_server: str | None
    no_register: bool
    cache_dir: Path
    no_cache: bool
    quiet: bool
    nproc: int | None
    max_restarts: int
    checkpoints: Path | None


@click.command(
    name="train",
    epilog=examples(
        ("forebay train --init > recipe.toml", "write an example recipe"),
        ("forebay train recipe.toml", "train, report and register"),
        ("forebay train recipe.toml --set training.epochs=5 --no-register", "try a change"),
        ("forebay train recipe.toml --nproc 2 --max-restarts 3", "with two processes; resume if one dies"),
        ("forebay train recipe.toml --tune 20", "search the ranges of [tune], register the best"),
    ),
)
@click.argument("recipe", required=False, type=click.Path(path_type=Path), metavar="[RECIPE]")
@click.option("--init", "init", is_flag=True, help="Print an example recipe and exit.")
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe; repeatable."
)
@type_option
@click.option("--tune", type=click.IntRange(min=1), metavar="N", help="Try N random values of the ranges in [tune].")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for report.html and report.json. [default: training-reports/NAME-VERSION]",
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="FOREBAY_CONFIG",
    metavar="FILE",
    help=f"Configuration file, for the broker of data.topic. [default: ./{DEFAULT_FILE}]",
)
@bootstrap_option
@click.option("--no-register", is_flag=True, help="Train and report, and do not register the model.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_CACHE,
    show_default=True,
    envvar="FOREBAY_TRAINING_CACHE",
    metavar="DIR",
    help="Folder for the prepared rows, which are removed at the end.",
)
@click.option("--no-cache", is_flag=True, help="Parse CSV and JSON lines again, and do not keep what was parsed.")
@click.option(
    "--nproc",
    type=click.IntRange(min=1, max=256),
    metavar="N",
    help="Train a net in N processes on this machine. [distributed] in the recipe says how they share the gradients.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="With --nproc: if a process dies, resume from the last checkpoint, at most N times.",
)
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for checkpoints, from which the same training resumes; removed at its end. "
    "[default with --nproc: training-checkpoints/NAME]",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(recipe: Path | None, init: bool, as_json: bool, **options: Unpack[TrainOptions]) -> None:
    """Train a model from a RECIPE (TOML), write a report, and register the model.

    A recipe names the data, the split, the preparation, the model, how to train it, and the name under which it is registered.
    Everything that is fitted becomes part of the registered version, so that a worker prepares events as the training rows
    were. The same recipe, data and seed give the same model on the same machine.

    Ctrl-C ends the training early: the best epoch so far is registered. A second Ctrl-C ends the command at once.
    """
    if init:
        from forebay.models.training.example_recipe import EXAMPLE

        echo(EXAMPLE, nl=False)
        return
    if recipe is None:
        raise click.UsageError("name a recipe; `forebay train --init` prints an example")
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "training needs pyarrow, which is not installed", kind="training_missing", remedy=install_hint("training")
        )
    from forebay.models.distributed.errors import LOST_STATUS, RankLost

    try:
        _train(recipe, as_json=as_json, options=options)
    except RankLost as error:
        # Imported late: it imports rich.
        from forebay.stream.terminal.console import render_error

        render_error(error)
        click.get_current_context().exit(LOST_STATUS)


def _train(path: Path, *, as_json: bool, options: TrainOptions) -> None:
    from forebay.models.training.recipe import read_recipe
    from forebay.models.training.run import training_folder

    recipe = read_recipe(path)
    values = dict(map(_assignment, options["assignments"]))
    if options["column_types"]:
        values["data.column_types"] = {**recipe.data.column_types, **parse_column_types(options["column_types"])}
    if values:
        recipe = recipe.with_values(values)
    if _is_launched(recipe, path, options, as_json=as_json):
        return
    with unwind_on_signal(), training_folder(options["cache_dir"].expanduser()) as folder:
        result = _run(recipe, path, folder, options)
        if result is None:
            return
        outcome, trials = result
        report = _report(outcome, trials, options["report"])
    if as_json:
        echo_json(_document(outcome, trials, report))
    else:
        _print(outcome, trials, report)


def _run(recipe: Recipe, path: Path, folder: Path, options: TrainOptions) -> tuple[TrainingOutcome, list[Trial]] | None:
    """Return what was trained; None on all ranks but the first, which evaluates and registers."""
    from forebay.models.training.net_training import training_device
    from forebay.models.training.prepared_data import prepare_data
    from forebay.models.training.run import check_registration, finish, search, train_model
    from forebay.stream.cli.train_progress import TrainingProgress

    if not options["no_register"]:
        check_registration(recipe)
    training_device(recipe, has_ranks=is_rank(os.environ))
    trials: list[Trial] = []
    ranks = distribution(recipe, options["checkpoints"])
    with TrainingProgress(recipe, time.monotonic, quiet=options["quiet"] or not ranks.is_first) as progress:
        progress.on_stage("reading and preparing")
        data = prepare_data(recipe, _source(recipe, path, options), folder)
        if options["tune"]:
            recipe, trials = search(recipe, data, options["tune"], on_trial=progress.on_trial)
        progress.on_stage("training")
        # Only the training of a net can end early with a result.
        with stop_on_signal() if recipe.model.is_net else nullcontext(lambda: False) as should_stop:
            fitted = train_model(recipe, data, observer=progress, should_stop=should_stop, distribution=ranks)
        if not ranks.is_first:
            return None
        progress.on_stage("evaluating and registering")
        created_at = creation_time(os.environ)
        outcome = finish(recipe, data, fitted, created_at=created_at, register=not options["no_register"])
        ranks.finish(recipe, data, fitted)
        return outcome, trials


def _is_launched(recipe: Recipe, path: Path, options: TrainOptions, *, as_json: bool) -> bool:
    """Run the ranks if several are wanted; return whether they have done the work."""
    is_one_of_several = is_rank(os.environ)
    if options["max_restarts"] and options["nproc"] is None:
        raise click.UsageError("--max-restarts needs --nproc")
    if (options["nproc"] or is_one_of_several) and options["tune"]:
        raise click.UsageError("--tune tries its values in one process; omit --nproc")
    if options["nproc"] is None or is_one_of_several:
        return False
    arguments = _arguments(path, options, as_json=as_json)
    launch(recipe, arguments, nproc=options["nproc"], max_restarts=options["max_restarts"])
    return True


def _arguments(path: Path, options: TrainOptions, *, as_json: bool) -> list[str]:
    """Return the arguments of each rank, whose environment says the rest."""
    arguments = [str(path), "--cache-dir", str(options["cache_dir"])]
    for assignment in options["assignments"]:
        arguments += ["--set", assignment]
    for assignment in options["column_types"]:
        arguments += ["--type", assignment]
    folders = {"--report": options["report"], "--checkpoints": options["checkpoints"]}
    for name, folder in folders.items():
        arguments += [] if folder is None else [name, str(folder)]
    flags = {"--no-register": options["no_register"], "--quiet": options["quiet"], "--json": as_json}
    flags["--no-cache"] = options["no_cache"]
    return arguments + [flag for flag, is_set in flags.items() if is_set]


def creation_time(environ: Mapping[str, str]) -> datetime:
    """Return the time that the manifest states: now, or that of SOURCE_DATE_EPOCH, for versions that are equal byte by byte."""
    stated = environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(stated), UTC) if stated.isdecimal() else datetime.now(UTC)


def _source(recipe: Recipe, path: Path, options: TrainOptions) -> TableSource:
    from forebay.models.data.csv_rows import CsvOptions
    from forebay.models.data.table_options import TableOptions, column_type
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.tables.opening import open_location

    data = recipe.data
    types = {column: column_type(column, kind) for column, kind in data.column_types.items()}
    table = TableOptions(
        csv=CsvOptions(data.delimiter),
        types={**types, **dict.fromkeys(data.text_columns, "text")},
        skip_invalid=data.skip_bad_lines,
        workers=min(_MAX_WORKERS, os.cpu_count() or 1),
    )
    if data.topic is not None:
        location = data.topic if "://" in data.topic else f"topic://{data.topic}"
    else:
        assert data.path is not None
        location = data.path if "://" in data.path or data.path == "-" else str(path.parent / data.path)
        if not options["no_cache"] and location != "-":
            from forebay.models.data.opening import open_cached
            from forebay.models.data.table_cache import TableCache, tables_folder

            return open_cached(location, table, TableCache(tables_folder(os.environ)))

    def client() -> Mapping[str, object]:
        from forebay.stream.kafka.client import client_options

        config = options["config_path"]
        config = Path(DEFAULT_FILE) if config is None and Path(DEFAULT_FILE).is_file() else config
        source = ConfigSource(config, os.environ, {})
        overrides = {"kafka.bootstrap_servers": options["bootstrap_server"]}
        return client_options(source.load(overrides).settings.kafka)

    return open_location(location, table, client_options=client, clock=SystemClock())


def _report(outcome: TrainingOutcome, trials: list[Trial], folder: Path | None) -> ReportFiles:
    from forebay.models.training.evaluation import evaluate_model
    from forebay.models.training.report import report_document, write_report

    recipe, done = outcome.recipe, outcome.registration
    if folder is None:
        version = "unregistered" if done is None else str(done.version)
        folder = DEFAULT_REPORTS / f"{recipe.registration.name}-{version}"
    evaluation = evaluate_model(outcome.data, outcome.fitted, recipe.training.seed)
    return write_report(
        folder, report_document(outcome, evaluation, recipe.data.path or recipe.data.topic or "", trials)
    )


def _assignment(text: str) -> tuple[str, object]:
    """Return the name and the value of SECTION.KEY=VALUE; the value is TOML, or else a text."""
    import tomllib

    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise click.BadParameter(f"{text!r} is not SECTION.KEY=VALUE, such as training.epochs=5", param_hint="--set")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _document(outcome: TrainingOutcome, trials: list[Trial], report: ReportFiles) -> dict[str, object]:
    done = outcome.registration
    return {
        "name": outcome.recipe.registration.name,
        "version": None if done is None else done.version,
        "repository": outcome.recipe.registration.repository,
        "backend": None if done is None else done.backend,
        "manifest_sha256": None if done is None else done.manifest_sha256,
        "content_sha256": outcome.content_sha256 or None,
        "task": outcome.data.signature.task,
        "end": outcome.fitted.end,
        "best": outcome.fitted.best,
        "metrics": outcome.metrics,
        "rows": {name: len(rows) for name, rows in outcome.data.split.parts().items()},
        "notes": list(outcome.data.notes),
        "warnings": list(outcome.data.warnings),
        "trials": [{**asdict(trial), "values": dict(trial.values)} for trial in trials],
        "report": str(report.page),
    }


def _print(outcome: TrainingOutcome, trials: list[Trial], report: ReportFiles) -> None:
    from forebay.stream.cli.train_render import outcome_text, trials_table
    from forebay.stream.terminal.console import print_whole

    if trials:
        print_whole(trials_table(trials))
    print_whole(outcome_text(outcome, report.page))
