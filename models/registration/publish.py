"""Publish a candidate as the next version of a model, after its backend has built and run it."""

from __future__ import annotations

from pathlib import Path

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.draft_checks import check_preprocessing, check_provenance, check_signature
from forebay.models.artefacts.golden import GoldenRows, Tolerance, check_finite
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preparation import shaped_rows
from forebay.models.artefacts.progress import OnProgress
from forebay.models.artefacts.publication import Draft, publish_version
from forebay.models.artefacts.repository import check_name
from forebay.models.artefacts.store import open_store
from forebay.models.backends.catalogue import find_backend
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.candidate import Candidate
from forebay.schemas.errors import ModelError


def publish_candidate(
    candidate: Candidate,
    *,
    repository: Path | str,
    name: str,
    provenance: Provenance,
    golden_rows: FloatArray | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Publish the candidate as the next version of `name`; return the version's directory.

    golden_rows: float32 [N, row_width] as events give them, before preprocessing; a few are drawn. None to make rows.
    on_progress: called while the files are written.

    Raises ModelError if it cannot be stored or built, or does not agree with the original on the golden rows; StorageError
    if the files cannot be written. Runs the code of a candidate that brings some.
    """
    check_name(name)
    check_signature(name, candidate.signature)
    check_preprocessing(name, candidate.preprocessing)
    check_provenance(name, metrics=provenance.metrics, created_at=provenance.created_at)
    draft = Draft(
        name,
        candidate.backend,
        files=candidate.files,
        signature=candidate.signature,
        preprocessing=candidate.preprocessing,
        provenance=provenance,
        outputs=candidate.outputs,
        params=candidate.params,
        architecture=candidate.architecture,
    )
    rows_RW = draw_golden_rows(name, candidate.signature, candidate.preprocessing, golden_rows)
    place = Path(open_store(repository).place(name))
    manifest = draft.manifest(GoldenRows(rows_RW, rows_RW[:, :0], candidate.tolerance or Tolerance(0.0, 0.0)))
    backend = find_backend(candidate.backend)
    backend.check(manifest, open_store(repository).place(name))
    runner = backend.build(Artefact(manifest, place, candidate.files, golden=None), RunOptions())
    outputs_RO = runner.run(shaped_rows(candidate.signature, candidate.preprocessing, rows_RW))
    if outputs_RO.shape != (len(rows_RW), candidate.signature.output_dim):
        raise ModelError(
            f"model {name!r}: returns {list(outputs_RO.shape)} for {len(rows_RW)} rows instead of "
            f"[{len(rows_RW)}, {candidate.signature.output_dim}]",
            kind="output_shape",
            remedy="correct the model or the number of outputs in its signature; a binary model has one output",
        )
    check_finite(name, outputs_RO)
    tolerance = candidate.tolerance or Tolerance.suited_to(outputs_RO)
    if candidate.expected is not None:
        original = GoldenRows(rows_RW, candidate.expected(rows_RW), tolerance)
        original.check(outputs_RO, f"model {name!r}: converted to {candidate.backend}")
    return publish_version(repository, draft, GoldenRows(rows_RW, outputs_RO, tolerance), on_progress)
