"""`forebay models compress`: make a version smaller and faster, measure it, and register what keeps the limits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import stop_on_signal
from forebay.stream.cli.models_compress_options import limit_options, measurement_options, method_options
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.extras import install_hint

if TYPE_CHECKING:
    from forebay.models.compression.compress import CompressionReport, Job
    from forebay.models.compression.recipe import CompressionRecipe
    from forebay.models.training.prepared_data import TableSource
    from forebay.stream.bench.compressed_models import WorkerRate

_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("path", "label"),
    "compression": (
        "enable_pruning",
        "pruning_ratio",
        "pruning",
        "enable_quantization",
        "quantization_bits",
        "quantization",
        "enable_distillation",
        "student_hidden_dims",
        "temperature",
        "trees",
        "max_depth",
        "threshold_bits",
        "search",
    ),
    "goals": (
        "max_loss",
        "certain",
        "max_slice_loss",
        "min_speed_up",
        "max_size",
        "max_memory",
        "max_latency_ms",
        "max_energy",
        "slices",
    ),
    "measurement": ("batch_sizes", "goal_batch_size", "rounds", "memory"),
    "training": ("epochs", "seed"),
}
"""The keys of a recipe that options set."""


class CompressOptions(TypedDict):
    """The options of the command that do not set keys of the recipe."""

    recipe: Path | None
    training_recipe: Path | None
    in_worker: bool
    no_register: bool
    plot: Path | None


@click.command(
    name="compress",
    epilog=examples(
        ("forebay models compress digits --data digits.csv --label digit --quantize int8", "integers of 8 bits"),
        (
            "forebay models compress digits --training-recipe digits.toml --prune 0.5 --quantize int8",
            "half the neurons",
        ),
        (
            "forebay models compress digits@3 --training-recipe digits.toml --search --max-loss 0.005 --min-speed-up 1.5",
            "the fastest that keeps the limits",
        ),
        ("forebay models compress churn --data churn.csv --label left --trees 0.5 --depth 4", "fewer, shallower trees"),
        ("forebay models compress digits --recipe small.toml --no-register --json", "measure only"),
    ),
)
@config_options
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@repository_option
@click.option(
    "--recipe", type=click.Path(path_type=Path), metavar="FILE", help="Recipe (TOML); options override its keys."
)
@click.option(
    "--training-recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The recipe that the model was trained from: its [data] and [split] say which rows were held out.",
)
@click.option("--data", "path", metavar="PATH", help="Rows with labels: a file, a pattern or a URL.")
@click.option("--label", metavar="COLUMN", help="The column with the labels.")
@method_options
@limit_options
@measurement_options
@click.option(
    "--in-worker", is_flag=True, help="Measure the result end to end too, in workers with an embedded broker (minutes)."
)
@click.option("--no-register", is_flag=True, help="Measure only.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Draw loss, size and speed-up."
)
@json_option
def command(
    source: ConfigSource,
    /,
    reference: str,
    repository: str | None,
    as_json: bool,
    recipe: Path | None,
    training_recipe: Path | None,
    in_worker: bool,
    no_register: bool,
    plot: Path | None,
    **keys: Any,
) -> int:
    """Make a version smaller or faster, and register the result as a new version with its parent.

    Each candidate is loaded as a worker does it and measured against the original in turn: the loss on held-out rows with a
    paired test and by slice, the time of a call for several batch sizes with intervals, the size and the peak memory. Only what
    keeps all limits and measures better in something is registered. Otherwise the exit status is 1, and the limit that is
    missed is named. docs/compression.md describes the methods.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "compression reads tables with pyarrow, which is not installed",
            kind="training_missing",
            remedy=install_hint("training"),
        )
    if plot is not None:
        import forebay.stream.bench.plot  # noqa: F401
    options = CompressOptions(
        recipe=recipe, training_recipe=training_recipe, in_worker=in_worker, no_register=no_register, plot=plot
    )
    chosen = chosen_repository(source, repository)
    return _compress(source, chosen, reference, _recipe(options, keys), options=options, as_json=as_json)


def _recipe(options: CompressOptions, keys: Mapping[str, Any]) -> CompressionRecipe:
    """Return the recipe of the file and the options, where options take precedence."""
    from forebay.models.compression.recipe import compression_recipe, read_document

    document: dict[str, Any] = {}
    place = "the options"
    if options["training_recipe"] is not None:
        training = read_document(options["training_recipe"])
        document = {name: training[name] for name in ("data", "split") if name in training}
        _resolve(document, options["training_recipe"])
    if options["recipe"] is not None:
        place = str(options["recipe"])
        own = read_document(options["recipe"])
        _resolve(own, options["recipe"])
        document = {**document, **own}
    for section, names in _SECTIONS.items():
        values = {name: keys[name] for name in names if _is_given(name, keys.get(name))}
        if values:
            document[section] = {**document.get(section, {}), **values}
    if "data" not in document:
        raise click.UsageError("give the rows: --data PATH --label COLUMN, --training-recipe FILE or --recipe FILE")
    return compression_recipe(document, place)


def _is_given(name: str, value: object) -> bool:
    """Return whether an option was given: flags are false without it, except for --memory, which is None."""
    return value is not None and value != () and (value is not False or name == "memory")


def _resolve(document: dict[str, Any], file: Path) -> None:
    """Make the path of the data relative to the current folder, as it is relative to the recipe."""
    data = document.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str) and "://" not in data["path"]:
        document["data"] = {**data, "path": str(file.parent / data["path"])}


def _compress(
    source: ConfigSource,
    repository: str,
    reference: str,
    recipe: CompressionRecipe,
    *,
    options: CompressOptions,
    as_json: bool,
) -> int:
    from forebay.models.artefacts.artefact import read_artefact, read_version
    from forebay.models.artefacts.repository import split_reference
    from forebay.models.compression.compress import Job, Tools, compress, register_best
    from forebay.models.compression.training_rows import read_data
    from forebay.models.measurement.energy import find_energy_meter

    name, version = split_reference(reference)
    artefact = read_artefact(read_version(repository, name, version))
    with tempfile.TemporaryDirectory(prefix="forebay-compress-") as scratch, _stages(quiet=as_json) as on_stage:
        folder = Path(scratch)
        on_stage("reading the data")
        data = read_data(artefact.manifest, _source(source, recipe), recipe.data, recipe.split, folder=folder)
        job = Job(
            artefact,
            data,
            recipe.compression.wishes(),
            recipe.limits(),
            timing=recipe.measurement.options(),
            tuning=recipe.training.options(),
            slice_columns=recipe.goals.slices,
            with_memory=recipe.measurement.memory,
            seed=recipe.training.seed,
        )
        with stop_on_signal() as should_stop:
            meter = find_energy_meter(time.process_time)
            tools = Tools(time.thread_time, meter, folder, on_stage=on_stage, should_stop=should_stop)
            report = compress(job, tools)
        rates = _in_worker(source, report, folder, on_stage) if options["in_worker"] else ()
        registered = None
        if report.best is not None and not options["no_register"]:
            registered = register_best(report, job, repository, datetime.now(UTC))
    if options["plot"] is not None:
        from forebay.stream.bench.plot import save_compression_plot

        save_compression_plot(report, options["plot"])
    _print(report, job, registered, rates, as_json=as_json)
    return 0 if report.best is not None else 1


def _source(source: ConfigSource, recipe: CompressionRecipe) -> TableSource:
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
    )
    location = data.path
    if location is None:
        assert data.topic is not None
        location = data.topic if "://" in data.topic else f"topic://{data.topic}"

    def client() -> Mapping[str, object]:
        from forebay.stream.kafka.client import client_options

        return client_options(source.load().settings.kafka)

    return cast("TableSource", open_location(location, table, client_options=client, clock=SystemClock()))


def _in_worker(source: ConfigSource, report: CompressionReport, folder: Path, on_stage: Any) -> tuple[WorkerRate, ...]:
    """Return what workers reach with the original and the result, if there is one."""
    if report.best is None or report.best.measured is None:
        return ()
    from forebay.stream.bench.compressed_models import measure_in_worker
    from forebay.stream.cli.interrupts import run_async

    on_stage("in workers, end to end")
    name = report.original.subject.draft.name
    versions = {one.label: one.version for one in (report.original, report.best.measured)}
    measuring = measure_in_worker(source.load().settings, folder / "models", name, versions)
    return run_async(measuring)


@contextmanager
def _stages(*, quiet: bool) -> Iterator[Any]:
    """Show what is done now on a terminal, and nothing elsewhere."""
    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield lambda text: status.update(f"measuring: {text}")


def _print(
    report: CompressionReport, job: Job, registered: int | None, rates: tuple[WorkerRate, ...], *, as_json: bool
) -> None:
    manifest = job.artefact.manifest
    if as_json:
        document = {"name": manifest.name, "parent": manifest.version, "registered": registered}
        echo_json({**document, **report.to_dict(), "workers": [rate.to_dict() for rate in rates]})
        return
    from forebay.stream.cli.models_compress_render import compression_text
    from forebay.stream.terminal.console import print_whole

    print_whole(compression_text(report, f"{manifest.name}@{manifest.version}", rates))
    if registered is not None:
        echo(f"registered as {manifest.name}@{registered}, parent {manifest.version}")
        echo(f"`forebay models canary {manifest.name} {registered} --weight 5` lets it predict 5 % of the keys")
    elif report.best is None:
        echo("nothing was registered", err=True)
