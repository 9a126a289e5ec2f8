"""Calibrate a version: fit on scores and labels, test on others of them, and publish the result as a new version.

Shapes: N labelled predictions, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact, StoredVersion, read_all_files, read_artefact, read_version
from forebay.models.artefacts.calibration import MAX_KNOTS, METHODS_OF_TASK, Calibration, CalibrationMethod, logit
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.golden import GoldenRows, Tolerance, check_finite
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.ml_bom import BOM_FILE
from forebay.models.artefacts.model_card import CARD_FILE
from forebay.models.artefacts.preparation import shaped_rows
from forebay.models.artefacts.publication import Draft, publish_version
from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.models.backends.catalogue import find_backend
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.scoring import scores_of
from forebay.schemas.errors import ModelError

Classes = npt.NDArray[np.int64]

HOLD_OUT: Final = 0.2
"""The share of the labelled predictions that the calibration is tested on."""
MIN_LABELS: Final = 100
MIN_OF_CLASS: Final = 10
MIN_SPREAD: Final = 0.05
"""The least standard deviation of calibrated scores, as a part of the mean of the score or of 1 minus it, the smaller one.
With less they are nearly constant."""
NUM_BINS: Final = 15
"""The bins of equal width of the expected calibration error."""

_EPSILON: Final = float(np.finfo(np.float32).eps)
_MAX_TEMPERATURE: Final = 100.0


class CalibrationMetrics(NamedTuple):
    """How well probabilities agree with labels.

    log_loss: the mean, with probabilities at least the float32 epsilon.
    brier: the mean squared error; for several classes the mean sum over them.
    ece: the expected calibration error of the probability of class 1, or of the most probable class.
    """

    log_loss: float
    brier: float
    ece: float


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """A calibration, and what it changed on the labelled predictions that it was not fitted on.

    directory: of the new version.
    """

    calibration: Calibration
    num_fitted: int
    num_held_out: int
    before: CalibrationMetrics
    after: CalibrationMetrics
    directory: Path


def calibrate(
    repository: Path | str,
    name: str,
    version: int,
    scores_NO: FloatArray,
    classes_N: Classes,
    *,
    method: CalibrationMethod | None = None,
    threshold: float | None = None,
    force: bool = False,
    created_at: datetime,
    trust: TrustPolicy = TRUST_NOTHING,
) -> CalibrationResult:
    """Publish the version, calibrated, as the next version of the model.

    scores_NO: the scores that the version predicted, float32.
    classes_N: the index of the true class of each.
    method: None for isotonic (binary) or temperature (several classes).
    threshold: frozen into the new version; None to decide as the version does, if it has one.
    force: publish also if the log loss of the held-out predictions gets worse, or the labels do not agree with the scores.

    Raises ModelError if the version cannot be calibrated, or not with these labels.
    """
    stored = read_version(repository, name, version)
    manifest = stored.manifest
    place = f"{name}@{version}"
    chosen = suitable_method(manifest, method, threshold=threshold)
    trust.check(manifest.backend, repository=str(repository), manifest_sha256=stored.manifest_sha256, place=place)
    _check_labels(manifest, scores_NO, classes_N, place)
    is_test_N = np.zeros(len(classes_N), dtype=np.bool_)
    order_N = np.random.default_rng(0).permutation(len(classes_N))
    is_test_N[order_N[: int(len(classes_N) * HOLD_OUT)]] = True
    calibration = fit_calibration(chosen, scores_NO[~is_test_N], classes_N[~is_test_N], place)
    if not force:
        _check_agreement(calibration, scores_NO, classes_N, place)
    tested_NO, truth_N = scores_NO[is_test_N], classes_N[is_test_N]
    before = calibration_metrics(tested_NO, truth_N)
    after = calibration_metrics(calibration.apply(tested_NO), truth_N)
    if after.log_loss > before.log_loss and not force:
        raise _error(
            f"{place}: the log loss of {len(truth_N)} held-out predictions would get worse: {before.log_loss:.4f} before, "
            f"{after.log_loss:.4f} after",
            "give more labels or another method; the scores may be calibrated already. --force publishes it nevertheless",
        )
    draft = _draft(stored, calibration, created_at)
    about = draft.provenance
    draft = replace(
        draft,
        provenance=replace(
            about,
            metrics={**about.metrics, **_metrics("before", before), **_metrics("after", after)},
            note=f"{place}, calibrated ({chosen}) on {int((~is_test_N).sum())} labelled predictions",
        ),
        threshold=draft.threshold if threshold is None else threshold,
    )
    directory = publish_version(repository, draft, _golden(read_artefact(stored), calibration, place))
    return CalibrationResult(
        calibration,
        num_fitted=int((~is_test_N).sum()),
        num_held_out=len(truth_N),
        before=before,
        after=after,
        directory=directory,
    )


def fit_calibration(method: CalibrationMethod, scores_NO: FloatArray, classes_N: Classes, place: str) -> Calibration:
    """Return the calibration that suits scores and true classes best. Raises ModelError that begins with `place`."""
    p_NO = scores_NO.astype(np.float64)
    if method == "temperature":
        return Calibration(method, temperature=_fit_temperature(p_NO, classes_N))
    if method == "platt":
        from sklearn.linear_model import LogisticRegression

        # So little regularisation that it changes nothing.
        fitted = LogisticRegression(C=1e10, tol=1e-10, max_iter=1_000).fit(logit(p_NO), classes_N)
        slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if not slope > 0:
            raise _error(
                f"{place}: events with higher scores are less often of class 1 (slope {slope:.3g})",
                "check that the labels belong to these predictions, and that their classes are not exchanged",
            )
        return Calibration(method, slope=slope, intercept=intercept)
    from sklearn.isotonic import IsotonicRegression

    # Never 0 or 1, which no number of labels can show.
    least = 1.0 / (len(classes_N) + 2)
    curve = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(p_NO[:, 0], classes_N)
    if len(curve.X_thresholds_) > MAX_KNOTS:
        raise _error(f"{place}: the curve has {len(curve.X_thresholds_)} points; allowed are {MAX_KNOTS}", "use platt")
    return Calibration(method, tuple(map(float, curve.X_thresholds_)), tuple(map(float, curve.y_thresholds_)))


def _check_agreement(calibration: Calibration, scores_NO: FloatArray, classes_N: Classes, place: str) -> None:
    """Raise ModelError if the labels do not agree with the scores, so that calibrated scores would be constant or nearly so."""
    found = ""
    if calibration.method != "temperature":
        from sklearn.metrics import roc_auc_score

        auc = float(roc_auc_score(classes_N, scores_NO[:, 0]))
        found = f"events with higher scores are not more often of class 1 (ROC AUC {auc:.3f})" if auc <= 0.5 else ""
    if not found:
        calibrated_NO = calibration.apply(scores_NO).astype(np.float64)
        mean_O = calibrated_NO.mean(axis=0)
        smaller_O = np.maximum(np.minimum(mean_O, 1 - mean_O), _EPSILON)
        spread = float(np.max(calibrated_NO.std(axis=0) / smaller_O))
        if spread < MIN_SPREAD:
            found = f"the calibrated scores would be nearly the same for all events (spread {spread:.3f}; least {MIN_SPREAD})"
    if found:
        raise _error(
            f"{place}: the labels do not agree with the scores: {found}",
            "check that the labels belong to these predictions, and that their classes are not exchanged. "
            "--force publishes it nevertheless",
        )


def calibration_metrics(scores_NO: FloatArray, classes_N: Classes) -> CalibrationMetrics:
    """Return the metrics of probabilities: of class 1 for one output, else of each class."""
    p_NO = scores_NO.astype(np.float64)
    if p_NO.shape[1] == 1:
        p_NO = np.concatenate([1 - p_NO, p_NO], axis=1)
        shown_N, is_right_N = p_NO[:, 1], classes_N == 1
        brier = float(np.mean((shown_N - is_right_N) ** 2))
    else:
        shown_N, is_right_N = p_NO.max(axis=1), p_NO.argmax(axis=1) == classes_N
        brier = float(np.mean(((p_NO - np.eye(p_NO.shape[1])[classes_N]) ** 2).sum(axis=1)))
    true_N = np.clip(p_NO[np.arange(len(classes_N)), classes_N], _EPSILON, 1 - _EPSILON)
    bins_N = np.minimum((shown_N * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = np.bincount(bins_N, shown_N, NUM_BINS) - np.bincount(bins_N, is_right_N, NUM_BINS)
    return CalibrationMetrics(float(-np.log(true_N).mean()), brier, float(np.abs(gaps).sum() / len(classes_N)))


def _fit_temperature(p_NO: npt.NDArray[np.float64], classes_N: Classes) -> float:
    """Return the temperature with the least log loss, which is convex in its inverse, by bisection of the slope."""
    log_NO = np.log(np.clip(p_NO, 1e-7, 1.0))
    true_N = log_NO[np.arange(len(classes_N)), classes_N]

    def slope(inverse: float) -> float:
        weight_NO = np.exp(inverse * log_NO - (inverse * log_NO).max(axis=1, keepdims=True))
        expected_N = (weight_NO * log_NO).sum(axis=1) / weight_NO.sum(axis=1)
        return float(np.mean(expected_N - true_N))

    return 1.0 / _root(slope, 1.0 / _MAX_TEMPERATURE, _MAX_TEMPERATURE)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where an increasing function crosses zero, or the end that is closer to it."""
    for _ in range(80):
        middle = math.sqrt(low * high)
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def suitable_method(
    manifest: Manifest, method: CalibrationMethod | None = None, *, threshold: float | None = None
) -> CalibrationMethod:
    """Return the method, or the default one of the version's task. Raises ModelError if the version cannot be calibrated so."""
    place = f"{manifest.name}@{manifest.version}"
    task = manifest.signature.task
    methods = METHODS_OF_TASK[task]
    if not methods:
        raise _error(f"{place} is a {task}: it has no probabilities to calibrate", "calibrate a classification")
    if method is not None and method not in methods:
        raise _error(f"{place}: {method} is not for {task}", f"use {' or '.join(methods)}")
    if manifest.calibration is not None:
        parent = manifest.provenance.parent
        raise _error(f"{place} is calibrated already", f"calibrate the version that it was made from, {parent}")
    if threshold is not None and task != "binary":
        raise _error(f"{place}: a threshold is for a binary model; the task is {task}", "leave --threshold out")
    return methods[0] if method is None else method


def _check_labels(manifest: Manifest, scores_NO: FloatArray, classes_N: Classes, place: str) -> None:
    signature = manifest.signature
    if scores_NO.ndim != 2 or scores_NO.shape[1] != signature.output_dim or len(scores_NO) != len(classes_N):
        raise _error(
            f"{place}: the scores have the shape {list(scores_NO.shape)}; its predictions have {signature.output_dim} numbers",
            "give predictions of this version",
        )
    if len(classes_N) < MIN_LABELS:
        raise _error(
            f"{place}: there are {len(classes_N)} labelled predictions; at least {MIN_LABELS} are needed", _MORE
        )
    if not (np.isfinite(scores_NO) & (scores_NO >= 0) & (scores_NO <= 1)).all():
        raise _error(f"{place}: some scores are not probabilities from 0 to 1", "give predictions of this version")
    counts = np.bincount(classes_N, minlength=signature.num_classes)
    rare = int(counts.argmin())
    if counts[rare] < MIN_OF_CLASS and signature.task == "binary":
        raise _error(f"{place}: {counts[rare]} labels are of class {rare}; at least {MIN_OF_CLASS} are needed", _MORE)


_MORE: Final = "collect more labels, or take them from a longer time"


def _metrics(when: str, metrics: CalibrationMetrics) -> dict[str, float]:
    return {f"{name}_{when}_calibration": value for name, value in metrics._asdict().items()}


def _draft(stored: StoredVersion, calibration: Calibration, created_at: datetime) -> Draft:
    """Return the version with the calibration, as a new version with it as its parent."""
    manifest = stored.manifest
    written = {GOLDEN_FILE, CARD_FILE, BOM_FILE}  # by the publication
    return Draft(
        manifest.name,
        manifest.backend,
        files={file: data for file, data in read_all_files(stored).items() if file not in written},
        signature=manifest.signature,
        preprocessing=manifest.preprocessing,
        provenance=replace(
            manifest.provenance,
            created_at=created_at,
            parent=manifest.version,
            reference_statistics=_reference(manifest, calibration),
            source=None,
        ),
        outputs=manifest.outputs,
        architecture=manifest.architecture,
        params=manifest.params,
        calibration=calibration,
        threshold=_threshold(manifest, calibration),
    )


def _threshold(manifest: Manifest, calibration: Calibration) -> float | None:
    """Return the calibrated threshold of the version. Classes stay, except of scores that become equal to it: class 1."""
    if manifest.threshold is None:
        return None
    mapped = float(calibration.apply(np.array([[manifest.threshold]], dtype=np.float32))[0, 0])
    return min(max(mapped, _EPSILON), 1 - _EPSILON)


def _golden(artefact: Artefact, calibration: Calibration, place: str) -> GoldenRows:
    """Return the golden rows with the outputs that the model gives for them here, and their calibrated scores.

    Raises ModelError if the outputs differ from those of the version.
    """
    manifest, golden = artefact.manifest, artefact.golden
    rows_RW = draw_golden_rows(
        manifest.name, manifest.signature, manifest.preprocessing, None if golden is None else golden.rows_RW
    )
    runner = find_backend(manifest.backend).build(artefact, RunOptions())
    outputs_RO = runner.run(shaped_rows(manifest.signature, manifest.preprocessing, rows_RW))
    check_finite(manifest.name, outputs_RO)
    if golden is not None and len(rows_RW) == len(golden.rows_RW):
        golden.check(outputs_RO, place)
    tolerance = Tolerance.suited_to(outputs_RO) if golden is None else golden.tolerance
    scores = scores_of(outputs_RO, manifest.signature.task, manifest.outputs)
    return GoldenRows(rows_RW, outputs_RO, tolerance, calibration.apply(scores.values_BO))


def _reference(manifest: Manifest, calibration: Calibration) -> dict[str, object] | None:
    """Return the reference statistics with the distribution of the calibrated scores, as far as it follows from the bins."""
    document = manifest.provenance.reference_statistics
    if document is None:
        return None
    statistics = ReferenceStatistics.from_dict(document)
    if statistics is None:
        return dict(document)
    one = len(statistics.outputs) == 1 and calibration.method != "temperature"
    outputs = (_calibrated(statistics.outputs[0], calibration),) if one else ()
    return replace(statistics, outputs=outputs).to_dict()


def _calibrated(output: NumberReference, calibration: Calibration) -> NumberReference:
    """Return the distribution after a monotone map: bins whose edges become equal are one."""
    mapped = calibration.apply(np.array(output.edges, dtype=np.float32)[:, None])[:, 0].tolist()
    edges: list[float] = []
    counts = [output.counts[0]]
    for edge, count in zip(mapped, output.counts[1:], strict=True):
        if edges and edge == edges[-1]:
            counts[-1] += count
        else:
            edges.append(edge)
            counts.append(count)
    return replace(output, mean=None, standard_deviation=None, edges=tuple(edges), counts=tuple(counts))


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="calibration", remedy=remedy)
