"""`forebay models calibrate`: publish a version whose probabilities agree with labels."""

from __future__ import annotations

import importlib.util
import logging
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.models_options import repository_option
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.extras import install_hint
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.models.artefacts.calibration import CalibrationMethod
    from forebay.models.artefacts.signature import Signature
    from forebay.models.registration.calibrate import CalibrationResult
    from forebay.stream.cli.labelled_scores import LabelledScores
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.model_ref import ModelRef

_MAX_ROWS: Final = 1_000_000


def _number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN, which is neither below nor above the ends of a range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number between 0 and 1")
    return value


@click.command(
    name="calibrate",
    epilog=examples(
        ("forebay models calibrate fraud 3 --topic labels --from 7d", "by the labels of the last week"),
        ("forebay models calibrate fraud 3 --labels labelled.csv --method platt", "by a file with score and label"),
        ("forebay models calibrate fraud 3 --labels labelled.csv --threshold 0.3", "with a threshold of its own"),
    ),
)
@click.argument("name", metavar="NAME")
@click.argument("version", metavar="VERSION", type=click.IntRange(min=1))
@config_options
@bootstrap_option
@repository_option
@click.option(
    "--method",
    type=click.Choice(["isotonic", "platt", "temperature"]),
    help="isotonic or platt for a binary model, temperature for several classes. [default: isotonic or temperature]",
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CSV file with the columns score and label, or JSON lines with score or prediction, and label.",
)
@click.option("--topic", metavar="NAME", help="Join this topic of labels with the predictions, by id.")
@click.option(
    "--from",
    "since",
    metavar="TIME",
    help="With --topic: read records since TIME: 7d or 2h ago, RFC 3339, or ms since 1970.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=_number,
    metavar="NUMBER",
    help="Binary: the smallest probability of class 1, for the new version. [default: decide as the version does]",
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=1),
    default=_MAX_ROWS,
    show_default=True,
    metavar="N",
    help="Refuse more labels than this: they are joined in memory, at about 300 bytes each.",
)
@click.option(
    "--force", is_flag=True, help="Publish also if held-out predictions agree less with their labels than before."
)
@json_option
def command(
    source: ConfigSource,
    name: str,
    version: int,
    bootstrap_server: str | None,
    repository: str | None,
    method: str | None,
    labels_file: Path | None,
    topic: str | None,
    since: str | None,
    threshold: float | None,
    max_rows: int,
    force: bool,
    as_json: bool,
) -> None:
    """Fit probabilities of version VERSION of the model NAME to labels, and publish the result as a new version.

    Four fifths of the labelled predictions are fitted, and the rest is for the comparison: nothing is published if its log loss
    gets worse. The calibration consists of numbers in the manifest, and workers apply it to the scores.
    """
    if (labels_file is None) == (topic is None):
        raise click.UsageError("give either --labels FILE or --topic NAME")
    if since is not None and topic is None:
        raise click.UsageError("--from needs --topic")
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError(
            "this command fits with scikit-learn, which is not installed", remedy=install_hint("training")
        )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.registration.calibrate import calibrate, suitable_method
    from forebay.stream.core.model_ref import ModelRef
    from forebay.stream.inference.loading import trust_policy

    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    folder = settings.model.repository if repository is None else repository
    manifest = read_version(folder, name, version).manifest
    chosen = cast("CalibrationMethod | None", method)
    suitable_method(manifest, chosen, threshold=threshold)  # before anything is read
    signature = manifest.signature
    if labels_file is not None:
        from forebay.stream.cli.labelled_scores import read_labelled_file

        found = read_labelled_file(labels_file, signature, max_rows)
    else:
        assert topic is not None
        found = _from_topics(
            settings, ModelRef(name, version), signature, topic=topic, since=since, max_rows=max_rows, quiet=as_json
        )
    scores_NO, classes_N = found.arrays()
    result = calibrate(
        folder,
        name,
        version,
        scores_NO=scores_NO,
        classes_N=classes_N,
        method=chosen,
        threshold=threshold,
        force=force,
        created_at=datetime.now(UTC),
        trust=trust_policy(settings.trust),
    )
    _print(result, name, as_json=as_json)


def _from_topics(
    settings: Settings,
    ref: ModelRef,
    signature: Signature,
    *,
    topic: str,
    since: str | None,
    max_rows: int,
    quiet: bool,
) -> LabelledScores:
    from forebay.schemas.topics import topic_name
    from forebay.stream.cli.labelled_scores import TopicJoin, check_labels_topic, read_labelled_topics
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.clock import SystemClock

    if settings.evaluate.join_by != "id":
        raise ConfigError(
            f"evaluate.join_by is {settings.evaluate.join_by}, and this command joins labels by id only",
            kind="calibration",
            remedy="write scores and labels to a file, and give it with --labels",
        )
    since_ms = (
        None if since is None else parse_moment("--from", since.removeprefix("-"), now_ms=SystemClock().wall_ms())
    )
    full = topic_name(settings.topics.prefix, topic)
    check_labels_topic(settings, full)
    join = TopicJoin(ref, signature, full, max_rows)
    run_async(read_labelled_topics(settings, join, since_ms=since_ms, quiet=quiet))
    if join.num_refused:
        echo(f"{full}: ignored {quantity(join.num_refused, 'record')} without the id or class of a label", err=True)
    if join.num_malformed:
        echo(
            f"ignored {quantity(join.num_malformed, 'prediction')} without the scores of {ref.name}@{ref.version}",
            err=True,
        )
    found = join.joined()
    if not found.scores:
        raise DataError(
            f"{full} has {quantity(len(join.labels), 'label')}, and none is for one of the "
            f"{quantity(join.num_predictions, 'prediction')} by {ref.name}@{ref.version}",
            kind="labels",
            remedy="check that the ids of labels are those of events, and read from an earlier time with --from",
        )
    return found


def _print(result: CalibrationResult, name: str, *, as_json: bool) -> None:
    version = int(result.directory.name)
    if as_json:
        echo_json(
            {
                "model": name,
                "version": version,
                "calibration": result.calibration.to_dict(),
                "fitted": result.num_fitted,
                "held_out": result.num_held_out,
                "before": result.before._asdict(),
                "after": result.after._asdict(),
            }
        )
        return
    echo(
        f"{name}@{version} published: {result.calibration.method}, fitted on {quantity(result.num_fitted, 'prediction')}, "
        f"compared on {result.num_held_out:,} others"
    )
    for metric, label in (("log_loss", "log loss"), ("brier", "Brier score"), ("ece", "calibration error")):
        before, after = getattr(result.before, metric), getattr(result.after, metric)
        echo(f"  {label:<18} {before:.4f} → {after:.4f}")
    echo(f"`forebay models shadow {name} {version}` or `canary` lets it predict beside the version that serves")
