"""Read what the commands of `forebay models` show from a repository."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import (
    list_models,
    list_versions,
    read_manifest_file,
    resolve_version,
    split_reference,
)
from forebay.models.artefacts.signing import read_signature_file
from forebay.models.artefacts.signing_policy import SignatureState, SignatureVerdict
from forebay.models.artefacts.store import open_store
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.schemas.errors import ForebayError, ModelError

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress


@dataclass(frozen=True, slots=True)
class SignatureShown:
    """Whether a version has a signature file, and what the trust policy makes of it."""

    is_present: bool
    verdict: SignatureVerdict

    @property
    def text(self) -> str:
        """Both in words."""
        if self.verdict.state is not SignatureState.NOT_CHECKED:
            return self.verdict.text
        return f"{'present' if self.is_present else 'none'}, {self.verdict.text}"

    def to_dict(self) -> dict[str, object]:
        """Return both as JSON values."""
        return {
            "present": self.is_present,
            "state": self.verdict.state,
            "policy": self.verdict.policy,
            "key": self.verdict.key,
            "reason": self.verdict.reason,
        }


@dataclass(frozen=True, slots=True)
class Version:
    """A version as its manifest describes it.

    document: the manifest's JSON values.
    manifest_sha256: of the manifest's file, in hexadecimal digits; a trust policy names it.
    folder: the path or URL of the version.
    """

    manifest: Manifest
    document: Mapping[str, object]
    manifest_sha256: str
    folder: str
    aliases: tuple[str, ...]
    signed: SignatureShown

    @property
    def runs_code(self) -> bool:
        """Whether loading the version runs code that it brings."""
        return BACKENDS[self.manifest.backend].runs_code

    def to_dict(self) -> dict[str, object]:
        """Return the manifest with folder, aliases, digest and whether it runs code added, as JSON values."""
        return {
            **self.document,
            "folder": self.folder,
            "aliases": list(self.aliases),
            "manifest_sha256": self.manifest_sha256,
            "runs_code": self.runs_code,
            "signed": self.signed.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a version can be served. detail: what was loaded; error: why it cannot be served, None if it can."""

    reference: str
    detail: str
    error: ForebayError | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        return {
            "model": self.reference,
            "ok": self.error is None,
            "detail": self.detail,
            "kind": None if self.error is None else self.error.kind,
            "remedy": None if self.error is None else self.error.remedy,
        }


def list_all_models(repository: Path | str) -> list[dict[str, object]]:
    """Return a description of each model: its versions and aliases, and when the highest was published."""
    rows: list[dict[str, object]] = []
    for name in list_models(repository):
        versions = list_versions(repository, name)
        row: dict[str, object] = {"name": name, "versions": versions, "highest": versions[-1]}
        rows.append(row | {"aliases": {}, "created_at": None, "task": None, "error": None})
        try:
            rows[-1]["aliases"] = dict(read_aliases(repository, name).versions)
            manifest = _read(repository, name, versions[-1])[0]
            rows[-1] |= {"created_at": manifest.provenance.created_at.isoformat(), "task": manifest.signature.task}
        except ModelError as error:
            rows[-1]["error"] = error.message
    return rows


def list_all_versions(repository: Path | str, name: str) -> list[dict[str, object]]:
    """Return a description of each version of a model, highest first. Raises ModelError if there is no such model."""
    rows: list[dict[str, object]] = []
    versions = list_versions(repository, name)
    aliases = read_aliases(repository, name)
    for version in reversed(versions):
        row: dict[str, object] = {"version": version, "aliases": list(aliases.of_version(version))}
        rows.append(row | {"created_at": None, "parent": None, "licence": "", "metrics": {}, "note": "", "error": None})
        try:
            about = _read(repository, name, version)[0].provenance
        except ModelError as error:
            rows[-1]["error"] = error.message
            continue
        rows[-1] |= {
            "created_at": about.created_at.isoformat(),
            "parent": about.parent,
            "licence": about.licence,
            "metrics": dict(about.metrics),
            "note": about.note,
        }
    return rows


def read_version(repository: Path | str, reference: str, trust: TrustPolicy = TRUST_NOTHING) -> Version:
    """Return the version that a reference names.

    trust: what judges the signature.

    Raises ModelError if it does not exist or its manifest is wrong.
    """
    name, chosen = split_reference(reference)
    version = resolve_version(repository, name, chosen)
    folder = open_store(repository).place(name, str(version))
    manifest, document, sha256 = _read(repository, name, version)
    aliases = read_aliases(repository, name).of_version(version)
    signature = read_signature_file(repository, name, version)
    verdict = trust.inspect(
        manifest, repository=str(repository), manifest_sha256=sha256, read_signature=lambda: signature
    )
    signed = SignatureShown(signature is not None, verdict)
    return Version(manifest, document, manifest_sha256=sha256, folder=folder, aliases=aliases, signed=signed)


def all_versions(repository: Path | str) -> list[str]:
    """Return a reference to every version of every model, lowest first."""
    return [f"{name}@{version}" for name in list_models(repository) for version in list_versions(repository, name)]


def validate_version(
    repository: Path | str,
    reference: str,
    device: str,
    trust: TrustPolicy,
    *,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Load a version on a device as a worker with this trust policy does, and run it with one row.

    on_progress: called while the version is downloaded.
    """
    from forebay.models.artefacts.artefact import read_version as read_stored_version
    from forebay.models.backends.protocol import RunOptions
    from forebay.models.serving.load_gate import load_version

    started_s = time.monotonic()
    try:
        name, chosen = split_reference(reference)
        stored = read_stored_version(repository, name, chosen)
        served = load_version(stored, options=RunOptions(device), trust=trust, on_progress=on_progress)
        served.warm_up([1])
    except ForebayError as error:
        return Validation(reference, error.message, error)
    golden = f"{served.num_golden_rows} golden rows agree" if served.num_golden_rows else "no golden rows (format 1)"
    took_s = time.monotonic() - started_s
    what = stored.manifest.architecture or stored.manifest.backend
    return Validation(f"{name}@{served.version}", f"{what} on {served.device}, {golden}, {took_s:.1f} s")


def _read(repository: Path | str, name: str, version: int) -> tuple[Manifest, Mapping[str, object], str]:
    """Return the manifest of a version, its JSON values and its SHA-256."""
    _, data, file = read_manifest_file(repository, name, version)
    manifest = Manifest.from_json(data, file)
    document = json.loads(data)
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name[:128]} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    return manifest, document, hashlib.sha256(data).hexdigest()
