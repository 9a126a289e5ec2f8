"""`forebay models register`: publish a trained model from its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import click

from forebay.schemas.errors import ModelError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import chosen_repository, repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.models.artefacts.golden import Tolerance
    from forebay.models.artefacts.progress import OnProgress
    from forebay.models.artefacts.signing import SignedVersion
    from forebay.models.artefacts.signing_keys import PrivateKey
    from forebay.models.registration.register import Registration

_MB: Final = 1_000_000


class RegisterOptions(TypedDict):
    """The options of the command that `forebay.register` takes too."""

    name: str
    target: str | None
    task: str | None
    outputs: str | None
    note: str
    licence: str
    parent: int | None
    by: str | None
    backend: str | None
    output: str | None


@click.command(
    name="register",
    epilog=examples(
        ("forebay models register churn.ubj --name churn --signature churn.csv --target left", "XGBoost"),
        ("forebay models register churn.txt --name churn --labels stays,leaves --metric auc=0.91", "LightGBM"),
        ("forebay models register shop.scoring:risk --name risk", "a function that @forebay.model declares"),
        (
            "forebay models register net.onnx --name churn --output probabilities --tolerance 1e-4",
            "one of several outputs",
        ),
        ("forebay models register score.py --name score --signature in.csv --task regression", "a Python function"),
    ),
)
@config_options
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="Name of the model; this becomes its next version.")
@repository_option
@click.option("--backend", metavar="NAME", help="What shall run the model. [default: what suits the file]")
@click.option(
    "--signature",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A sample of the data in CSV with a header: columns become features, rows become golden rows. Or the features in "
    "JSON, as `forebay init --from-topic` writes them. [default: what the model says]",
)
@click.option("--target", metavar="COLUMN", help="The sample's column with the labels; it is not a feature.")
@click.option(
    "--task", type=click.Choice(["regression", "binary", "multiclass"]), help="The task. [default: what the model says]"
)
@click.option("--labels", metavar="A,B,…", help="Names of the classes, in order. [default: what model or target say]")
@click.option(
    "--outputs",
    type=click.Choice(["logits", "probabilities", "values"]),
    help="What the model returns. [default: what the model says]",
)
@click.option("--output", metavar="NAME", help="The output to serve, of an ONNX graph with several.")
@click.option(
    "--tolerance",
    metavar="NUMBER|relative=NUMBER,absolute=NUMBER",
    help="How far outputs may be from the original's for golden rows, here and in workers: at most absolute + relative × "
    "|output|. One number stands for both. [default: what suits the model]",
)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="A metric of the model; may be repeated."
)
@click.option("--note", default="", metavar="TEXT", help="A note for people about how the model was made.")
@click.option("--licence", default="", metavar="TEXT", help="The terms of use, such as an SPDX identifier.")
@click.option(
    "--parent", type=click.IntRange(min=1), metavar="VERSION", help="The version that this one was made from."
)
@click.option(
    "--by", metavar="TEXT", help="Who registers it, for the history. [default: the user's name on this machine]"
)
@click.option("--sign", metavar="KEY", help="Sign the version with this private key (see `forebay models sign`).")
@json_option
def command(
    source: ConfigSource,
    path: Path,
    repository: str | None,
    signature: Path | None,
    labels: str | None,
    tolerance: str | None,
    metrics: tuple[str, ...],
    sign: str | None,
    as_json: bool,
    **options: Unpack[RegisterOptions],
) -> None:
    """Publish the trained model in the file PATH as the next version of a model.

    PATH is a file of ONNX (.onnx), XGBoost (.json, .ubj) or LightGBM (.txt), an exported program of torch (.pt2), or a Python
    file with a function `predict` (.py); or a model in an MLflow registry: models:/NAME@ALIAS or models:/NAME/VERSION.
    It may also name what @forebay.model declares in a module that can be imported: MODULE:OBJECT.
    The model is published only if it gives the outputs of the original library for golden rows. Fitted objects, such as a
    forest of scikit-learn, are registered from Python: `forebay.register`.
    """
    stated = dict(map(_metric, metrics))
    folder = chosen_repository(source, repository)
    from forebay.models.registration.register import register

    arguments: dict[str, Any] = {**options, "metrics": stated, "signature": signature, "repository": folder}
    arguments["tolerance"] = None if tolerance is None else _tolerance(tolerance)
    arguments["labels"] = tuple(label.strip() for label in labels.split(",")) if labels else ()
    # Before the version is published: a key that cannot sign must not leave one without a signature.
    key = None if sign is None else _signing_key(sign)
    with _progress(path, is_shown=not as_json) as on_progress:
        done = register(path, on_progress=on_progress, **arguments)
    signed = None if key is None else _sign(done, folder, key)
    if as_json:
        echo_json(_document(done, folder) | {"signed_by": None if signed is None else signed.fingerprint})
        return
    _print(done, folder, is_stated=repository is not None)
    if signed is not None:
        echo(f"signed by sha256:{signed.fingerprint}")


def _signing_key(file: str) -> PrivateKey:
    from forebay.models.artefacts.signing_keys import read_private_key
    from forebay.stream.cli.models_sign import read_password

    return read_private_key(file, read_password)


def _sign(done: Registration, repository: str, key: PrivateKey) -> SignedVersion:
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.signing import sign_version

    return sign_version(read_version(repository, done.name, done.version), key)


def _metric(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as accuracy=0.93", param_hint="--metric")


def _tolerance(text: str) -> Tolerance:
    from forebay.models.artefacts.golden import Tolerance

    parts = [part.partition("=") for part in text.split(",")]
    try:
        if len(parts) == 1 and not parts[0][1]:
            return Tolerance(float(text), float(text))
        stated = {name.strip(): float(value) for name, _, value in parts}
        if len(stated) == len(parts) and stated.keys() <= {"relative", "absolute"}:
            return Tolerance(stated.get("relative", 0.0), stated.get("absolute", 0.0))
    except ValueError:
        pass
    except ModelError as error:
        raise click.BadParameter(error.message, param_hint="--tolerance") from None
    raise click.BadParameter(
        f"{text!r} is not a number, such as 1e-4, or relative=1e-3,absolute=1e-5", param_hint="--tolerance"
    )


@contextmanager
def _progress(path: Path, *, is_shown: bool) -> Iterator[OnProgress | None]:
    """Show on a terminal that the model is being read, compared and written, with a bar while a large file is."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from forebay.stream.cli.models_render import ByteBar
    from forebay.stream.terminal.console import stderr_console, visible

    console = stderr_console()
    if not is_shown or not console.is_terminal:
        yield None
        return
    size = f" ({path.stat().st_size / _MB:,.1f} MB)" if path.is_file() else ""
    spinner = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    spinner.add_task(f"registering {visible(str(path))}{size}", total=None)
    bar = ByteBar()
    with Live(Group(spinner, bar.progress), console=console, transient=True):
        yield bar.show


def _place(done: Registration, repository: str) -> str:
    return f"{repository.rstrip('/')}/{done.name}/{done.version}"


def _document(done: Registration, repository: str) -> dict[str, object]:
    return {
        "name": done.name,
        "version": done.version,
        "place": _place(done, repository),
        "backend": done.backend,
        "manifest_sha256": done.manifest_sha256,
        "runs_code": done.runs_code,
        "compared": done.compared,
        "golden_rows_given": done.golden_rows_given,
        "notes": [asdict(note) for note in done.notes],
    }


def _print(done: Registration, repository: str, *, is_stated: bool) -> None:
    from rich.text import Text

    from forebay.stream.cli.models_render import notes_table
    from forebay.stream.terminal.console import DIM, GREEN, print_whole, stdout_console, visible

    console = stdout_console()
    console.print(
        Text.assemble(
            ("✓", GREEN), " ", (f"{done.name}@{done.version}", "bold"), f"  {visible(_place(done, repository))}"
        )
    )
    rows = "rows of the sample" if done.golden_rows_given else "made rows"
    check = "agrees with the original on golden rows" if done.compared else "stored its outputs for golden rows"
    console.print(Text(f"  backend {done.backend}, {check} ({rows})", DIM))
    if done.notes:
        console.print(Text(f"  {quantity(len(done.notes), 'note')} on the conversion:", DIM))
        print_whole(notes_table(done.notes))
    where = f" --set model.repository={repository}" if is_stated else ""
    chosen = f"{where} --set model.name={done.name} --set model.version={done.version}"
    console.print(Text(f"next: forebay check{visible(chosen)}"))
    if done.module:
        console.print(Text("The version names a module. Where workers may import it, add to their configuration:"))
        console.print(Text(f'\n[trust]\nmodules = ["{done.module}"]'))
    elif done.runs_code:
        console.print(Text("The version runs code of its own. If you trust it, add to the worker's configuration:"))
        console.print(Text(f'\n[trust]\nmanifests = ["sha256:{done.manifest_sha256}"]'))
