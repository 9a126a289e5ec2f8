"""The load gate: every check between the files of a version and a model that may serve.

It runs when a worker starts, off the path of the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay.models.artefacts.artefact import Artefact, StoredVersion, read_artefact, read_version
from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.signing import read_signature_file
from forebay.models.artefacts.signing_policy import SignatureVerdict
from forebay.models.artefacts.store import MANIFEST_FILE
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.models.backends.catalogue import find_backend
from forebay.models.backends.protocol import Backend, PipelinedRunner, Runner, RunOptions
from forebay.models.serving.load_budget import LoadBudget
from forebay.models.serving.pipelined_model import PipelinedServedModel
from forebay.models.serving.served_model import ModelDescription, ServedModel
from forebay.schemas.errors import ForebayError, ModelError

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress

_MAX_REASON: Final = 500


def load_model(
    repository: Path | str,
    name: str,
    version: int | str | None = None,
    *,
    options: RunOptions,
    trust: TrustPolicy = TRUST_NOTHING,
    budget: LoadBudget | None = None,
) -> ServedModel:
    """Return a version of a model, loaded and checked.

    version: a number, an alias, or None for the highest.
    budget: None to measure nothing.

    Raises ModelError for every fault; it names the file, what is wrong with it and the remedy.
    """
    return load_version(read_version(repository, name, version), options=options, trust=trust, budget=budget)


def load_version(
    stored: StoredVersion,
    *,
    options: RunOptions,
    trust: TrustPolicy = TRUST_NOTHING,
    budget: LoadBudget | None = None,
    on_progress: OnProgress | None = None,
    num_instances: int = 1,
) -> ServedModel:
    """Return the model of a version whose manifest has been read. Raises like `load_model`.

    on_progress: called while a version behind a URL is downloaded.
    num_instances: how many runners to build (see `ServedModel.instances`). The first one is checked with the golden rows, and
        the memory of the budget is that of all.

    1. The trust policy allows the version: it is signed as the policy demands, and its backend may run code from the
       model if it does that.
    2. The manifest describes a model of its backend that fits the signature.
    3. All files are in place, with the stated size and SHA-256.
    4. The backend builds the model on the device.
    5. The model gives its golden outputs there, within their tolerance.
    6. It stays within its budget, if that has limits; for this it is warmed up.
    """
    stored, verdict = _trusted(stored, trust)
    backend = find_backend(stored.manifest.backend)  # imports the backend's libraries, which the budget does not count
    backend.check(stored.manifest, f"{stored.place}/{MANIFEST_FILE}")
    limits = budget if budget is not None and budget.has_limits else None
    resident_bytes = limits.meter.resident_bytes() if limits is not None else 0
    model = _build(backend, read_artefact(stored, on_progress), options, stored.place, num_instances=num_instances)
    if limits is not None:
        with _as_model_error(f"{stored.place} on {model.device}", "micro-batches"):
            limits.check(model, resident_bytes_before=resident_bytes)
    model.manifest_sha256, model.signature_state = stored.manifest_sha256, verdict.state.value
    return model


def _trusted(stored: StoredVersion, trust: TrustPolicy) -> tuple[StoredVersion, SignatureVerdict]:
    """Return the version and the verdict on its signature, if the trust policy allows it.

    A version that brings code is read again at the path without symbolic links, which the policy decides about: so no link
    can lead elsewhere once the decision is made.
    """
    manifest = stored.manifest
    if BACKENDS[manifest.backend].runs_code and isinstance(stored.repository, Path):
        stored = read_version(stored.repository.resolve(), manifest.name, manifest.version)
    verdict = trust.admit(
        stored.manifest,
        repository=str(stored.repository),
        manifest_sha256=stored.manifest_sha256,
        place=f"{stored.place}/{MANIFEST_FILE}",
        read_signature=partial(read_signature_file, stored.repository, manifest.name, manifest.version),
    )
    return stored, verdict


@contextmanager
def _as_model_error(place: str, rows: str) -> Iterator[None]:
    """Raise ModelError for an exception that a model raises when it runs. place, rows: for the message."""
    try:
        yield
    except ForebayError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:_MAX_REASON]
        raise ModelError(
            f"{place}: the model cannot run {rows}: {type(error).__name__}: {reason}",
            kind="golden",
            remedy="serve it with the libraries that it was published with, or correct the model and publish it again",
        ) from error


def _served(description: ModelDescription, runner: Runner) -> ServedModel:
    if isinstance(runner, PipelinedRunner):
        return PipelinedServedModel(description, runner)
    return ServedModel(description, runner)


def _build(backend: Backend, artefact: Artefact, options: RunOptions, place: str, *, num_instances: int) -> ServedModel:
    manifest = artefact.manifest
    try:
        runner, *others = [backend.build(artefact, options) for _ in range(num_instances)]
    except ModelError as error:
        if error.kind != "out_of_memory":
            raise
        failed = error
    else:
        description = ModelDescription.of(manifest)
        model = _served(description, runner)
        model.add_instances([_served(description, other) for other in others])
        if artefact.golden is not None:
            golden_place = f"{place}/{GOLDEN_FILE} on {runner.device}"
            with _as_model_error(golden_place, "its golden rows"):
                model.check_golden(artefact.golden, golden_place)
        return model
    raise ModelError(
        f"model {manifest.name} version {manifest.version}: {failed.message}",
        kind="out_of_memory",
        remedy="use a smaller model, or a device with more memory",
    )
