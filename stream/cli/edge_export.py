"""`forebay edge export`: write a version as a folder for a device, or as one ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from forebay.stream.cli.edge_options import limit_options, limits_of, require_onnx
from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_options import repository_option
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json


@click.command(
    name="export",
    epilog=examples(
        ("forebay edge export churn@3 --to ./churn-edge", "a folder for a device"),
        ("forebay edge export churn@3 --to churn.onnx", "one ONNX file, with the preprocessing inside"),
        ("forebay edge export churn --to ./churn-edge --max-memory 96MB --max-latency-ms 5", "limits for verify.py"),
    ),
)
@config_options
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option("--to", "path", required=True, metavar="PATH", type=click.Path(path_type=Path), help="What to write.")
@limit_options
@repository_option
@json_option
def command(
    source: ConfigSource,
    reference: str,
    path: Path,
    repository: str | None,
    as_json: bool,
    max_size: int | None,
    max_memory: int | None,
    max_latency_ms: float | None,
) -> None:
    """Export a version to PATH, which must not exist: a folder, or one ONNX file if PATH ends with .onnx.

    The ONNX file takes the features as events give them and returns the scores that a worker publishes: the preprocessing
    and the calibration are inside. It is compared with the worker's model before anything is written.

    The folder has the programs runner.py, verify.py and report.py, which need Python with onnxruntime and numpy. The limits
    are stored in it, and verify.py compares what it measures with them.

    Nets of torch, ONNX graphs and trees can be exported; models of windows, and those that run code of their own, cannot.
    """
    require_onnx()
    settings = source.load().settings
    chosen = settings.model.repository if repository is None else repository
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.repository import split_reference
    from forebay.models.edge.folder import build_edge_model, edge_files, write_file, write_folder
    from forebay.models.serving.served_model import ModelDescription
    from forebay.stream.drift.bins import model_bins
    from forebay.stream.drift.bins_document import bins_document

    model = build_edge_model(read_version(chosen, *split_reference(reference)))
    about = ModelDescription.of(model.manifest)
    bins = model_bins(about.signature, about.reference, ignored=settings.drift.ignored_columns)
    limits = limits_of(max_size, max_memory, max_latency_ms)
    files = edge_files(model, limits, bins_document(bins, settings.drift.window_s))
    is_file = path.suffix == ".onnx"
    if is_file:
        write_file(path, model.graph)
    else:
        write_folder(path, files)
    name, version = model.manifest.name, model.manifest.version
    rows = len(model.worker.rows_RF)
    if as_json:
        written = [path.name] if is_file else sorted(files)
        found = {"name": name, "version": version, "path": str(path), "files": written}
        echo_json({**found, "model_bytes": len(model.graph), "compared_rows": rows})
        return
    echo(f"{path}: {name}@{version}, {len(model.graph) / 1000:.1f} KB, agrees with the worker's model on {rows} rows")
    if not is_file:
        echo(f"next, on the device: pip install numpy onnxruntime && python {path.name}/verify.py")
