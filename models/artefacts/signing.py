"""Sign a version in a repository, and read its signature. The signature file stands beside the files that it covers."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.models.artefacts.artefact import StoredVersion, read_all_files
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.repository import check_name
from forebay.models.artefacts.signed_bundle import MAX_BUNDLE_BYTES, sign_files, signed_files
from forebay.models.artefacts.signing_certificates import read_chain
from forebay.models.artefacts.signing_keys import fingerprint_of
from forebay.models.artefacts.storage import check_contained, sync_directory, write_synced
from forebay.models.artefacts.store import SIGNATURE_FILE, open_store
from forebay.schemas.errors import ModelError, StorageError

if TYPE_CHECKING:
    from forebay.models.artefacts.progress import OnProgress
    from forebay.models.artefacts.signing_keys import PrivateKey


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """A version that has been signed. fingerprint: of the key; place: path or URL of the signature file."""

    name: str
    version: int
    fingerprint: str
    place: str


def read_signature_file(repository: Path | str, name: str, version: int) -> bytes | None:
    """Return the content of the signature file of a version; None if there is none. Raises ModelError if it cannot be read."""
    check_name(name)
    store = open_store(repository)
    names = (name, str(version), SIGNATURE_FILE)
    return store.read(*names, max_bytes=MAX_BUNDLE_BYTES) if store.has_file(*names) else None


def sign_version(
    stored: StoredVersion,
    key: PrivateKey,
    *,
    certificates: str | None = None,
    replace: bool = False,
    on_progress: OnProgress | None = None,
) -> SignedVersion:
    """Sign a version and write the signature beside its files, which are verified first.

    key: see `read_private_key`.
    certificates: file with the certificate of the key, then those between it and its authority, in PEM.
    replace: whether an existing signature is replaced.

    Raises ModelError if the version is damaged or signed already; StorageError if it cannot be written.
    """
    manifest = stored.manifest
    store = open_store(stored.repository)
    names = (manifest.name, str(manifest.version), SIGNATURE_FILE)
    place = store.place(*names)
    if store.has_file(*names) and not replace:
        raise ModelError(
            f"{place}: the version is signed already", kind="signature", remedy="replace the signature with --replace"
        )
    read_all_files(stored, on_progress)
    files = signed_files(manifest, stored.manifest_sha256)
    chain = () if certificates is None else read_chain(certificates, key)
    data = sign_files(files, f"{manifest.name}@{manifest.version}", key, chain)
    if is_url(stored.repository):
        from forebay.models.artefacts.remote_store import RemoteStore  # imports fsspec

        RemoteStore(str(stored.repository)).write(*names, data=data)
    else:
        _write(local_folder(stored.repository), stored.directory, data)
    return SignedVersion(manifest.name, manifest.version, fingerprint_of(key.public_key()), place)


def _write(repository: Path, directory: Path, data: bytes) -> None:
    """Write the file and rename it into place, so that readers see the old signature or the new one."""
    check_contained(repository, directory)
    try:
        with tempfile.TemporaryDirectory(prefix=".sign-", dir=repository) as scratch:
            staged = Path(scratch, SIGNATURE_FILE)
            write_synced(staged, data)
            os.replace(staged, directory / SIGNATURE_FILE)
        sync_directory(directory)
    except OSError as error:
        raise StorageError(
            f"{error.filename or directory}: cannot write the signature: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error
