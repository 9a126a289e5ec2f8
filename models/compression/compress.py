"""Compress a version: apply each plan, measure what it gives against the original, and choose what keeps the limits.

Shapes: N rows.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.manifest import Provenance
from forebay.models.backends.protocol import RunOptions
from forebay.models.compression.accuracy import BoolArray, Float64Array, accuracy_loss, predict, slices_of
from forebay.models.compression.fine_tuning import TuningOptions
from forebay.models.compression.goals import Check, Goals, binding, check_goals, gain
from forebay.models.compression.measured import Measured, pareto
from forebay.models.compression.methods import Workshop
from forebay.models.compression.plans import Plan, Wishes, label_of, plans_for
from forebay.models.compression.subject import Subject, publish, subject_of
from forebay.models.compression.training_rows import CompressionData
from forebay.models.measurement.energy import EnergyMeter
from forebay.models.measurement.memory import PeakMemory, measure_peak_memory
from forebay.models.measurement.timing import TimingOptions, time_models
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ForebayError, ModelError

ORIGINAL = "original"
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
"""Of the versions in the scratch repository, which is deleted at the end."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What to compress, and how.

    slice_columns: the features by whose values the loss is measured too.
    with_memory: whether to measure the peak memory, in a process for each model.
    """

    artefact: Artefact
    data: CompressionData
    wishes: Wishes
    goals: Goals = field(default_factory=Goals)
    timing: TimingOptions = field(default_factory=TimingOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)
    slice_columns: tuple[str, ...] = ()
    with_memory: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What measurements need, and who follows the progress.

    clock_s: the CPU time of this thread.
    scratch: a folder for versions that are measured.
    on_stage: receives what is done now. should_stop: whether to end a training with its best epoch.
    """

    clock_s: Callable[[], float]
    energy: EnergyMeter
    scratch: Path
    on_stage: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A plan and what became of it.

    measured: None if a method refused. checks: of the limits. gains: in what it measures better than the original.
    problem: why a method refused.
    """

    label: str
    measured: Measured | None = None
    checks: tuple[Check, ...] = ()
    gains: tuple[str, ...] = ()
    problem: str = ""

    @property
    def missed(self) -> tuple[Check, ...]:
        """The limits that are missed."""
        return tuple(check for check in self.checks if not check.is_kept)

    @property
    def may_be_registered(self) -> bool:
        """Whether all limits are kept and something is better."""
        return self.measured is not None and not self.missed and bool(self.gains)

    @property
    def verdict(self) -> str:
        """Why it may be registered or not, for people."""
        if self.measured is None:
            return self.problem
        if self.missed:
            return "; ".join(check.text for check in self.missed)
        return ", ".join(self.gains) if self.gains else "keeps the limits, and nothing is better than before"

    def to_dict(self) -> dict[str, object]:
        """Return the outcome as JSON values."""
        return {
            "label": self.label,
            "may_be_registered": self.may_be_registered,
            "verdict": self.verdict,
            "gains": list(self.gains),
            "limits": [check.to_dict() for check in self.checks],
            "measured": None if self.measured is None else self.measured.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class CompressionReport:
    """All outcomes. best: the fastest of those that may be registered; None if there is none."""

    original: Measured
    outcomes: tuple[Outcome, ...]
    goals: Goals
    energy: str
    rows: Mapping[str, int]

    @property
    def best(self) -> Outcome | None:
        """What to register: the fastest, and the smallest of equally fast ones."""
        allowed = [outcome for outcome in self.outcomes if outcome.may_be_registered]
        return max(allowed, key=self._merit, default=None)

    def _merit(self, outcome: Outcome) -> tuple[float, int]:
        assert outcome.measured is not None
        return round(outcome.measured.at(self.goals.batch_size).speed_up.value, 1), -outcome.measured.num_bytes

    @property
    def binding(self) -> Check | None:
        """The limit that keeps the result from being smaller or faster, or that no model keeps."""
        if self.best is not None:
            return binding(self.best.checks)
        closest = [binding(outcome.checks) for outcome in self.outcomes if outcome.checks]
        return max((check for check in closest if check is not None), key=lambda check: check.slack, default=None)

    def pareto_labels(self) -> tuple[str, ...]:
        """Return the labels of the models that no other one beats in loss, size and time together."""
        measured = tuple(outcome.measured for outcome in self.outcomes if outcome.measured is not None)
        return tuple(one.label for one in pareto((self.original, *measured), self.goals.batch_size))

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON values."""
        best, bound = self.best, self.binding
        return {
            "original": self.original.to_dict(),
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "best": None if best is None else best.label,
            "binding": None if bound is None else bound.to_dict() | {"text": bound.text},
            "pareto": list(self.pareto_labels()),
            "batch_size": self.goals.batch_size,
            "energy": self.energy,
            "rows": dict(self.rows),
        }


def compress(job: Job, tools: Tools) -> CompressionReport:
    """Return what each plan gives. A method that does not suit the model is an outcome, too.

    Raises ForebayError if the original cannot be measured, or no method was asked for.
    """
    subject = subject_of(job.artefact)
    plans = plans_for(job.wishes, subject)
    signature = subject.draft.signature
    bench = _Bench(job, tools, slices_of(signature, job.data.held_out, job.slice_columns))
    tools.on_stage(ORIGINAL)
    original = bench.measure(ORIGINAL, subject)
    workshop = Workshop(job.data, signature.task, subject, job.tuning, should_stop=tools.should_stop)
    made: dict[str, Subject] = {}
    outcomes = []
    for plan in plans:
        tools.on_stage(label_of(plan))
        try:
            measured = bench.measure(label_of(plan), _apply(plan, subject, workshop, made))
        except ModelError as error:
            outcomes.append(Outcome(label_of(plan), problem=error.message))
            continue
        checks = check_goals(job.goals, measured)
        outcomes.append(Outcome(measured.label, measured, checks, gain(job.goals, measured, original)))
    parts = {"training": job.data.training, "validation": job.data.validation, "held_out": job.data.held_out}
    rows = {name: len(part) for name, part in parts.items()}
    return CompressionReport(original, tuple(outcomes), job.goals, tools.energy.description, rows=rows)


def register_best(report: CompressionReport, job: Job, repository: str, created_at: datetime) -> int:
    """Publish the best model as the next version, with the original as its parent; return the version.

    It passes the load gate afterwards, as in a worker. Raises ModelError if there is none, or it does not pass.
    """
    best = report.best
    if best is None or best.measured is None:
        raise ModelError("no model keeps the limits", kind="compression", remedy="change the limits or the methods")
    measured, manifest = best.measured, job.artefact.manifest
    about = manifest.provenance
    provenance = Provenance(
        created_at,
        metrics=_metrics(measured, report),
        note=describe(measured, report, f"{manifest.name}@{manifest.version}"),
        licence=about.licence,
        parent=manifest.version,
        reference_statistics=about.reference_statistics,
    )
    version = publish(measured.subject, repository, provenance, job.data.training.x_NW)
    load_model(repository, manifest.name, version, options=RunOptions())
    return version


def describe(measured: Measured, report: CompressionReport, parent: str) -> str:
    """Return the note of the manifest: what was done, and what is better and worse, at each batch size."""
    times = ", ".join(
        f"{timing.verdict} at {timing.batch_size} rows ({timing.speed_up.value:.2f}×)" for timing in measured.timings
    )
    loss = measured.loss
    return (
        f"{parent} compressed: {measured.label}. {measured.num_bytes / report.original.num_bytes:.2f} of its size; {times}; "
        f"{loss.metric} {loss.other:.4f} instead of {loss.original:.4f} on {report.rows['held_out']} held-out rows"
    )


def _metrics(measured: Measured, report: CompressionReport) -> dict[str, float]:
    loss = measured.loss
    found = {
        f"test_{loss.metric}": loss.other,
        f"test_{loss.metric}_of_parent": loss.original,
        "compression_loss": loss.loss.value,
        "compression_loss_high": loss.loss.high,
        "size_ratio": measured.num_bytes / report.original.num_bytes,
    }
    for timing in measured.timings:
        found[f"speed_up_{timing.batch_size}"] = timing.speed_up.value
        found[f"speed_up_{timing.batch_size}_low"] = timing.speed_up.low
    if measured.memory is not None:
        found["peak_memory_bytes"] = float(measured.memory.model)
    return found


def _apply(plan: Plan, subject: Subject, workshop: Workshop, made: dict[str, Subject]) -> Subject:
    """Return the subject after all methods. made: what beginnings of plans gave, so that nothing is trained twice."""
    for count, method in enumerate(plan, start=1):
        label = label_of(plan[:count])
        if label not in made:
            made[label] = method.apply(subject, workshop)
        subject = made[label]
    return subject


class _Bench:
    """Measures subjects as versions in a scratch repository, loaded as a worker loads them."""

    def __init__(self, job: Job, tools: Tools, slices: Mapping[str, BoolArray]) -> None:
        self._job = job
        self._tools = tools
        self._slices = slices
        self._original: ServedModel | None = None
        self._errors_N: Float64Array | None = None

    def measure(self, label: str, subject: Subject) -> Measured:
        """Return the measurements; the first subject is the original. Raises ModelError if it cannot be served."""
        job, tools = self._job, self._tools
        held_out = job.data.held_out
        repository = str(tools.scratch / "models")
        version = publish(
            subject, repository, replace(subject.draft.provenance, parent=None, created_at=_MOMENT), held_out.x_NW
        )
        try:
            model = load_model(repository, subject.draft.name, version, options=RunOptions())
            errors_N = predict(model, held_out)
        except ForebayError:
            raise
        except Exception as error:  # of the runtime: an operator that it does not have, for example
            reason = str(error).strip().partition("\n")[0][:300]
            raise ModelError(f"{label}: it cannot run: {reason}", kind="compression") from None
        if self._original is None or self._errors_N is None:
            self._original, self._errors_N = model, errors_N
        random = np.random.default_rng(job.seed)
        loss = accuracy_loss(
            self._errors_N,
            errors_N,
            is_classifier=subject.draft.signature.task != "regression",
            slices=self._slices,
            random=random,
        )
        timings = time_models(
            self._original,
            model,
            held_out.x_NW,
            job.timing,
            clock_s=tools.clock_s,
            energy=tools.energy,
            random=random,
        )
        return Measured(
            label,
            subject,
            subject.num_bytes,
            _zip_bytes(subject.draft.files),
            loss=loss,
            timings=timings,
            version=version,
            memory=self._memory(subject.draft.name, version),
        )

    def _memory(self, name: str, version: int) -> PeakMemory | None:
        if not (self._job.with_memory or self._job.goals.max_memory is not None):
            return None
        rows = max(self._job.timing.batch_sizes)
        return measure_peak_memory(self._tools.scratch / "models", name, version, max_rows=rows)


def _zip_bytes(files: Mapping[str, bytes]) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return len(buffer.getvalue())
