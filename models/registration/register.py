"""Register a trained model: read it, compare it with its original on golden rows, publish it as the next version."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import numpy as np

from forebay.models.artefacts.alias_moves import check_by, record_copy
from forebay.models.artefacts.argument_checks import describe, texts
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.draft_checks import check_parent, check_provenance, check_tolerance
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.manifest import OUTPUT_KINDS, Manifest, OutputKind, Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.progress import OnProgress
from forebay.models.artefacts.repository import MANIFEST_FILE, check_name
from forebay.models.artefacts.signature import TASKS, Feature, Signature, Task
from forebay.models.artefacts.user_module import MODULE_BACKEND
from forebay.models.registration.candidate import Candidate, ConversionNote, conversion_table
from forebay.models.registration.hints import Hints
from forebay.models.registration.mlflow_registry import SCHEME, fetch_mlflow_model
from forebay.models.registration.publish import publish_candidate
from forebay.models.registration.readers import find_reader, imported, missing_library
from forebay.models.registration.sample import Sample, read_sample
from forebay.models.registration.signature_file import SUFFIX, read_signature_file
from forebay.models.registration.user_name import user_name
from forebay.schemas.errors import ForebayError, ModelError

_MAX_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Registration:
    """A version that was registered.

    folder: of the version; for a repository behind a URL, of its copy on this machine.
    backend: what runs the model.
    manifest_sha256: the digest of the manifest, in hexadecimal digits; a trust policy can name it.
    notes: what became of each part of the original model.
    compared: whether the model was compared with the original library, rather than stored as it is.
    golden_rows_given: whether the golden rows are rows of the data, rather than made from the preprocessing.
    module: the module that the version names instead of holding code; empty for none.
    """

    name: str
    version: int
    folder: Path
    backend: str
    manifest_sha256: str
    notes: tuple[ConversionNote, ...]
    compared: bool
    golden_rows_given: bool
    module: str = ""

    def report(self) -> str:
        """Return what was published and what became of each part of the model, as text for people."""
        check = "agrees with the original" if self.compared else "stored its outputs"
        rows = "rows of the sample" if self.golden_rows_given else "made rows"
        first = f"{self.name}@{self.version}: backend {self.backend}, {check} for golden rows ({rows})"
        return "\n".join(filter(None, (first, conversion_table(self.notes))))

    @property
    def runs_code(self) -> bool:
        """Whether the version contains or names code, so that a worker loads it only if its trust policy allows it."""
        return BACKENDS[self.backend].runs_code


def register(
    model: Any,
    *,
    name: str,
    repository: Path | str = "models",
    signature: Any = None,
    target: str | None = None,
    task: Task | None = None,
    labels: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    outputs: OutputKind | None = None,
    golden_rows: Any = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    note: str = "",
    licence: str = "",
    parent: int | None = None,
    by: str | None = None,
    tolerance: Tolerance | None = None,
    backend: str | None = None,
    arguments: Mapping[str, object] = MappingProxyType({}),
    output: str | None = None,
    on_progress: OnProgress | None = None,
    created_at: datetime | None = None,
    reference_statistics: Mapping[str, object] | None = None,
) -> Registration:
    """Publish a trained model as the next version of `name`, if it gives the original library's outputs for golden rows.

        x, y = sklearn.datasets.load_wine(return_X_y=True, as_frame=True)
        forebay.register(RandomForestClassifier().fit(x, y), name="wine", signature=x)

    repository: a folder, or a URL such as s3://bucket/models.
    model: a fitted object of a supported library, what `forebay.model` declares (or its name, `shop.scoring:risk`), the path of
        a file that is safe to read (not a pickle), or one of an MLflow registry: `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
    signature: a Signature or a JSON file with one; or a sample: a CSV file with a header, or a pandas.DataFrame [N, F]. Numbers
        are float32 features, texts categories, columns with empty cells nullable. None if the model knows it.
    target: the sample's column with the labels, which is not a feature.
    task: "regression", "binary" or "multiclass". labels: of the classes, in order. Left out: what the model or the target says.
    preprocessing: is applied to rows before the model; None for what the model brings.
    outputs: "logits", "probabilities" or "values"; None for what the model says.
    golden_rows: [N, F] as events give them; at most 32 are stored. None for rows of the sample, or made ones.
    by: who copies it from a registry, for the history; None for the user's name on this machine.
    tolerance: the allowed difference of outputs; None for one that suits the model.
    backend: what shall run the model; None to choose. arguments: of the constructor of a torch module of your own, by name.
    output: the name of the output to serve, of an ONNX graph with several; None for the only one that can be.
    on_progress: called while large files are read and written, with the path or URL, the bytes until now, and those of all.
    created_at: a time with a time zone; None for now. The other arguments: as in `save_artefact`.

    Raises ModelError if the model cannot be read, or its outputs differ; StorageError if the files cannot be written.
    """
    moment = datetime.now(UTC) if created_at is None else created_at
    check_name(name)
    check_provenance(name, metrics=metrics, created_at=moment)
    check_parent(repository, name, parent)
    check_tolerance(name, tolerance)
    stated, features, sample = _input(signature, target)
    hints = Hints(
        name,
        signature=stated,
        **{**_from_sample(sample, task, labels), **({"features": features} if features else {})},
        preprocessing=preprocessing,
        outputs=_one_of("outputs", outputs, OUTPUT_KINDS),
        golden_rows=None if golden_rows is None else _rows(name, golden_rows),
        backend=_one_of("backend", backend, tuple(BACKENDS)),
        arguments=arguments,
        output=output,
        on_progress=on_progress,
    )
    about = Provenance(moment, metrics, note, licence, parent=parent, reference_statistics=reference_statistics)
    publish = partial(_register, hints=hints, sample=sample, tolerance=tolerance, repository=repository)
    return _from_registry(model, publish, about, by) if _is_in_registry(model) else publish(model, provenance=about)


def _is_in_registry(model: object) -> bool:
    return isinstance(model, str | Path) and str(model).startswith(SCHEME)


def _from_registry(
    model: object, publish: partial[Registration], provenance: Provenance, by: str | None
) -> Registration:
    """Register a model of an MLflow registry, and write the copy into the history of the model."""
    by = user_name() if by is None else by
    check_by(by)
    with tempfile.TemporaryDirectory() as scratch:
        fetched = fetch_mlflow_model(str(model), Path(scratch))
        done = publish(fetched.file, provenance=replace(provenance, source=fetched.source))
    record_copy(
        publish.keywords["repository"], done.name, done.version, fetched.source, by=by, at=provenance.created_at
    )
    return done


def _register(
    model: object,
    *,
    hints: Hints,
    sample: Sample | None,
    tolerance: Tolerance | None,
    repository: Path | str,
    provenance: Provenance,
) -> Registration:
    model = imported(model)
    what, entry = find_reader(model)
    if hints.output is not None and not entry.chooses_output:
        raise ModelError(
            f"{what}: output is {hints.output!r}, but only an ONNX graph has outputs to choose from",
            kind="registration",
            remedy="leave output out",
        )
    reader = entry.load(what)
    try:
        candidate = reader(Path(model) if isinstance(model, str) else model, hints)
        rows = hints.golden_rows
        if rows is None and sample is not None:
            rows = sample.rows(candidate.signature)
        candidate = _completed(candidate, hints, sample, tolerance)
        folder = publish_candidate(
            candidate,
            repository=repository,
            name=hints.name,
            provenance=provenance,
            golden_rows=rows,
            on_progress=hints.on_progress,
        )
    except ForebayError:
        raise
    except ImportError as error:
        raise missing_library(what, entry.extra, error) from error
    except Exception as error:  # of the library, or of the user's own code
        raise ModelError(
            f"{what}: it cannot be read or run: {type(error).__name__}: {error}",
            kind="registration",
            remedy="check that the model predicts these rows in its own library: the cause is the exception above this one",
        ) from error
    data = (folder / MANIFEST_FILE).read_bytes()
    return Registration(
        hints.name,
        Manifest.from_json(data, str(folder / MANIFEST_FILE)).version,
        folder,
        backend=candidate.backend,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        notes=candidate.notes,
        compared=candidate.expected is not None,
        golden_rows_given=rows is not None,
        module=str(candidate.params["module"]) if candidate.backend == MODULE_BACKEND else "",
    )


def _completed(candidate: Candidate, hints: Hints, sample: Sample | None, tolerance: Tolerance | None) -> Candidate:
    """Return the candidate with the stated tolerance, and notes about codes that only the sample says."""
    notes = list(candidate.notes)
    if hints.backend is not None and hints.backend != candidate.backend:
        raise ModelError(
            f"model {hints.name!r}: the backend {hints.backend} does not run this model",
            kind="backend",
            remedy=f"choose {candidate.backend}, or leave the backend out",
        )
    if sample is not None:
        notes += _renamed(candidate)
    sampled = () if sample is None else hints.features
    for feature in candidate.signature.features:
        if feature.is_text and feature in sampled:
            codes = "its bucket" if feature.dtype == "hashed" else "its index in the sorted texts of the sample"
            notes.append(
                ConversionNote(
                    f"feature {feature.name}",
                    "approximated",
                    f"a text becomes {codes}; if the model was trained with other codes, give a Signature",
                )
            )
    return replace(candidate, tolerance=tolerance or candidate.tolerance, notes=tuple(notes))


def _renamed(candidate: Candidate) -> list[ConversionNote]:
    """Return a note if the sample gives the model's own columns other names."""
    own, names = candidate.own_names, candidate.signature.column_names
    # Numbered names are what libraries give to columns without any.
    if not own or names == own or all(re.fullmatch(r"(f|x|Column_)\d+", name) for name in own):
        return []
    pairs = [f"{old} is called {new}" for old, new in zip(own, names, strict=True) if old != new]
    shown = ", ".join(pairs[:_MAX_SHOWN]) + (f" and {len(pairs) - _MAX_SHOWN} more" if len(pairs) > _MAX_SHOWN else "")
    reason = f"the sample does not have the model's own columns, so its columns are taken in their order: {shown}"
    return [ConversionNote("features", "approximated", reason)]


def _input(signature: object, target: str | None) -> tuple[Signature | None, tuple[Feature, ...], Sample | None]:
    """Return the signature that is stated, or only its features, or a sample."""
    if isinstance(signature, str | Path) and Path(signature).suffix.lower() == SUFFIX:
        signature = read_signature_file(Path(signature))
    if isinstance(signature, Signature):
        return signature, (), None
    if isinstance(signature, tuple):
        return None, signature, None
    return None, (), None if signature is None else read_sample(signature, target)


def _from_sample(sample: Sample | None, task: str | None, labels: Sequence[str]) -> dict[str, Any]:
    """Return the hints that a sample completes."""
    return {
        "features": () if sample is None else sample.features(),
        "task": _task(task, sample),
        "labels": _labels(labels, task, sample),
    }


def _task(task: str | None, sample: Sample | None) -> Task | None:
    if task is not None:
        return cast("Task", _one_of("task", task, TASKS))
    if sample is None or not sample.has_text_target():
        return None
    return "binary" if len(sample.labels()) == 2 else "multiclass"


def _labels(labels: Sequence[str], task: str | None, sample: Sample | None) -> tuple[str, ...]:
    given = texts(labels, "labels", lambda message: ModelError(message, kind="signature", remedy="give texts"))
    if given or sample is None or task == "regression":
        return given
    return sample.labels() if task is not None or sample.has_text_target() else ()


Value = TypeVar("Value", bound=str)


def _one_of(what: str, value: Value | None, allowed: Sequence[str]) -> Value | None:
    if value is not None and value not in allowed:
        raise ModelError(
            f"{what} is {describe(value)}", kind="registration", remedy=f"choose {', '.join(allowed)}, or leave it out"
        )
    return value


def _rows(name: str, golden_rows: object) -> FloatArray:
    try:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(np.asarray(golden_rows, dtype=np.float32))
    except (TypeError, ValueError):
        raise ModelError(
            f"model {name!r}: golden_rows is {describe(golden_rows)}",
            kind="golden",
            remedy="give an array [N, F] of numbers: categories as codes, missing values as NaN",
        ) from None
    return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows
