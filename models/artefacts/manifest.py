"""The manifest of an artefact: everything about a model except what is in its other files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

from forebay.models.artefacts.backend_files import BACKENDS, WEIGHTS_FILE
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.files import GOLDEN_FILE, FileEntry, read_entries
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.models.artefacts.signature import Signature, Task
from forebay.schemas.errors import ModelError

OutputKind = Literal["logits", "probabilities", "values"]

FORMAT: Final = 2
OLD_FORMAT: Final = 1
"""Without golden rows, licence, parent and reference statistics; one file, the weights. Read, but no longer written."""
OUTPUT_KINDS: Final = ("logits", "probabilities", "values")

_OWN_ARCHITECTURES: Final = "torch"
"""The backend for which `architecture` names one of Forebay's nets. Other backends have no such key."""
_COMMON_KEYS: Final = frozenset(
    {
        "format",
        "name",
        "version",
        "architecture",
        "params",
        "signature",
        "preprocessing",
        "metrics",
        "created_at",
        "note",
    }
)
_KEYS: Final = {
    OLD_FORMAT: _COMMON_KEYS | {"weights"},
    FORMAT: _COMMON_KEYS
    | {"backend", "outputs", "files", "tolerance", "parent", "licence", "reference_statistics", "source"}
    | {"calibration", "threshold"},
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from: what the manifest states for people and tools, and no prediction depends on.

    created_at: a time with a time zone.
    metrics: metrics of the training.
    note: a note for people about how the model was made.
    licence: the terms under which the model may be used, such as an SPDX expression; empty if not stated.
    parent: the version of the same model that this one was made from; None if not stated.
    reference_statistics: statistics of the training data as `ReferenceStatistics.to_dict` gives them, with a `version` of
        their own; a version that is not known here is carried unchanged. None if there are none.
    source: the registry that the model was copied from, an object with its `uri`; carried unchanged. None for no registry.
    """

    created_at: datetime
    metrics: Mapping[str, float]
    note: str = ""
    licence: str = ""
    parent: int | None = None
    reference_statistics: Mapping[str, object] | None = None
    source: Mapping[str, object] | None = None

    @classmethod
    def read(cls, fields: JsonObject, number: int, version: int) -> Provenance:
        """Return the provenance in a manifest. Raises ModelError that names the file and the key.

        number: the manifest's format.
        version: the version that the manifest is of.
        """
        created_at = fields.text("created_at")
        try:
            moment = datetime.fromisoformat(created_at)
        except ValueError:
            fields.fail("created_at", created_at, "a time such as 2026-11-02T09:30:00+00:00")
        metrics, note = fields.number_mapping("metrics"), fields.text("note")
        if number == OLD_FORMAT:
            return cls(created_at=moment, metrics=metrics, note=note)
        parent = None if fields.value("parent") is None else fields.integer("parent", minimum=1)
        if parent is not None and parent >= version:
            fields.fail("parent", parent, f"a version before this one, which is {version}, or null")
        statistics = None
        if fields.value("reference_statistics") is not None:
            ReferenceStatistics.read(fields.child("reference_statistics"))
            statistics = fields.mapping("reference_statistics")
        source = None
        if fields.has("source"):
            fields.child("source").text("uri")
            source = fields.mapping("source")
        return cls(
            moment,
            metrics,
            note,
            licence=fields.text("licence"),
            parent=parent,
            reference_statistics=statistics,
            source=source,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json.

    backend: what runs the model.
    architecture: one of Forebay's nets; empty unless the backend is "torch".
    params: what else the backend needs to know; parameters of the architecture, for example.
    outputs: what the model returns: "logits" become probabilities by sigmoid (binary) or softmax; "probabilities" are used
        as they are, for binary that of class 1; "values" for regression.
    files: all other files of the version, by name.
    calibration: of the scores that the outputs become; None to serve them as they are.
    threshold: for binary, the smallest served score of class 1; None for 0.5.
    tolerance: of the outputs for the golden rows; None in format 1, which has no golden rows.
    """

    name: str
    version: int
    architecture: str
    params: Mapping[str, object]
    signature: Signature
    preprocessing: Preprocessing
    files: Mapping[str, FileEntry]
    tolerance: Tolerance | None
    provenance: Provenance
    outputs: OutputKind
    backend: str = "torch"
    calibration: Calibration | None = None
    threshold: float | None = None

    @property
    def format(self) -> int:
        """The format in which the manifest is stored."""
        return OLD_FORMAT if self.tolerance is None else FORMAT

    def to_json(self) -> bytes:
        """Return the bytes of the file in format 2.

        Raises ModelError(kind="manifest") for what JSON cannot hold, such as NaN.
        """
        assert self.tolerance is not None, "format 1 is not written"
        about = self.provenance
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "parent": about.parent,
            "created_at": about.created_at.isoformat(),
            "note": about.note,
            "licence": about.licence,
            "metrics": {name: float(value) for name, value in about.metrics.items()},
            "backend": self.backend,
            **({"architecture": self.architecture} if self.architecture else {}),
            "outputs": self.outputs,
            "params": dict(self.params),
            "files": {name: entry.to_dict() for name, entry in self.files.items()},
            "tolerance": self.tolerance.to_dict(),
            "signature": self.signature.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "reference_statistics": about.reference_statistics,
            **({} if about.source is None else {"source": dict(about.source)}),
            # Only where they are used, so that other models can be read by earlier versions.
            **({} if self.calibration is None else {"calibration": self.calibration.to_dict()}),
            **({} if self.threshold is None else {"threshold": self.threshold}),
        }
        try:
            return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(
                f"the manifest of {self.name!r} cannot be written as JSON: {error}",
                kind="manifest",
                remedy="give metrics that are finite numbers, names and notes that are valid Unicode, and reference "
                "statistics of plain JSON values",
            ) from None

    @classmethod
    def from_json(cls, data: bytes, file: str) -> Manifest:
        """Return the manifest in the bytes of a file. Raises ModelError that names `file`, the key and what is allowed."""
        fields = JsonObject(decode_json(data, file), file)
        number = fields.integer("format", minimum=1)
        if number not in _KEYS:
            raise ModelError(
                f"{file}: the format is {number}; this version of Forebay reads formats {OLD_FORMAT} and {FORMAT}",
                kind="format",
                remedy="upgrade Forebay here, or publish the model again with this version",
            )
        fields.reject_unknown_keys(_KEYS[number])
        version = fields.integer("version", minimum=1)
        files: Mapping[str, FileEntry]
        if number == OLD_FORMAT:
            files, tolerance, backend = (
                {WEIGHTS_FILE: FileEntry.read(fields.child("weights"))},
                None,
                _OWN_ARCHITECTURES,
            )
        else:
            backend = _read_backend(fields)
            files = read_entries(fields, {*BACKENDS[backend].max_bytes, GOLDEN_FILE})
            tolerance = Tolerance.read(fields.child("tolerance"))
        has_architecture = backend == _OWN_ARCHITECTURES
        if fields.has("architecture") and not has_architecture:
            raise fields.error(f"architecture is set, but the backend {backend} has none")
        signature = Signature.read(fields.child("signature"))
        return cls(
            name=fields.text("name"),
            version=version,
            architecture=fields.text("architecture") if has_architecture else "",
            params=fields.mapping("params"),
            signature=signature,
            preprocessing=Preprocessing.read(fields.child("preprocessing")),
            files=files,
            tolerance=tolerance,
            provenance=Provenance.read(fields, number, version),
            outputs=_read_outputs(fields, signature.task),
            backend=backend,
            calibration=Calibration.read(fields.child("calibration"), signature.task)
            if fields.has("calibration")
            else None,
            threshold=_read_threshold(fields, signature.task),
        )


def _read_threshold(fields: JsonObject, task: Task) -> float | None:
    if not fields.has("threshold"):
        return None
    threshold = fields.number("threshold")
    if task != "binary" or not 0 < threshold < 1:
        fields.fail("threshold", threshold, "a number above 0 and below 1, for a binary model only")
    return threshold


def _read_backend(fields: JsonObject) -> str:
    backend = fields.text("backend")
    if backend not in BACKENDS:
        raise ModelError(
            f"{fields.file}: the backend is {backend[:80]!r}; this version of Forebay has {', '.join(BACKENDS)}",
            kind="backend",
            remedy="upgrade Forebay here, or publish the model again with this version",
        )
    return backend


def default_outputs(task: Task) -> OutputKind:
    """Return what a model returns for a task unless its manifest states otherwise."""
    return "values" if task == "regression" else "logits"


def _read_outputs(fields: JsonObject, task: Task) -> OutputKind:
    if not fields.has("outputs"):
        return default_outputs(task)
    allowed = ("values",) if task == "regression" else ("logits", "probabilities")
    return cast("OutputKind", fields.text("outputs", allowed))
