"""Models on disk: `<repository>/<name>/<version>/` with a manifest, weights and golden rows.

Versions are whole numbers from 1 and never change. A version appears completely or not at all. Loading runs no
code from the files.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from forebay.models.artefacts.architectures import Net, outline
from forebay.models.artefacts.argument_checks import describe
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.files import (
    GOLDEN_FILE,
    MAX_WEIGHTS_BYTES,
    WEIGHTS_FILE,
    FileEntry,
    check_own_file,
    read_verified,
)
from forebay.models.artefacts.golden import GoldenRows, Tolerance, dump_golden, load_golden
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.manifest import FORMAT, Manifest, Provenance, check_fit
from forebay.models.artefacts.preparation import prepare
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.repository import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    check_name,
    find_version,
)
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.storage import read_bounded, sync_directory, write_synced
from forebay.models.artefacts.validation import (
    check_arguments,
    check_manifest_reads_back,
    golden_outputs,
    read_back_net,
)
from forebay.models.artefacts.weights import dump_weights, load_weights
from forebay.schemas.errors import ModelError, StorageError


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A loaded model: its manifest, its net (in evaluation mode, on the CPU), and its directory.

    golden: rows with the outputs that the net must give; None in format 1.
    """

    manifest: Manifest
    net: Net
    directory: Path
    golden: GoldenRows | None


def save_artefact(
    repository: Path | str,
    name: str,
    net: Net,
    *,
    signature: Signature,
    preprocessing: Preprocessing | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    created_at: datetime,
    note: str = "",
    licence: str = "",
    parent: int | None = None,
    golden_rows: FloatArray | None = None,
    tolerance: Tolerance | None = None,
    reference_statistics: Mapping[str, object] | None = None,
) -> Path:
    """Publish `net` as the next version of `name`; return the version's directory.

    A published version can be loaded and gives the same predictions: it is read back before it appears. It is written to a
    temporary directory, synced and renamed into place, so that readers see all of it or nothing, and processes that publish
    at the same time each get a version of their own. The repository is created if it is missing.

    A few golden rows are stored with the outputs that the net gives for them on the CPU. Every worker compares them when it
    loads the model, on its own device.

    net: a net made by `build_net`.
    preprocessing: None for the identity.
    created_at: a time with a time zone.
    licence: the terms under which the model may be used, such as an SPDX expression.
    parent: the version of this model that this one was made from.
    golden_rows: float32 [N, row_width], rows as events give them, before preprocessing: the training rows, for example. At
        most 32 are drawn, evenly over all of them. None to make rows from what the preprocessing was fitted to.
    tolerance: the allowed difference from the golden outputs; None for 1 % of an output plus 0.1 % of the largest.
    reference_statistics: JSON values with a whole number `version`; stored unchanged and not interpreted.

    Raises ModelError if an argument cannot be stored, the parts do not fit together, the weights are not finite float32 or
    an output for a golden row is not finite; StorageError if the files cannot be written.
    """
    preprocessing = Preprocessing.identity() if preprocessing is None else preprocessing
    check_name(name)
    check_arguments(name, net, signature=signature, preprocessing=preprocessing, metrics=metrics, created_at=created_at)
    repository = Path(repository)
    check_fit(net, signature, preprocessing, f"model {name!r}")
    _check_parent(repository, name, parent)
    _check_tolerance(name, tolerance)
    weights = dump_weights(name, net, MAX_WEIGHTS_BYTES)
    loaded = read_back_net(name, net, weights)
    rows_RW = draw_golden_rows(name, signature, preprocessing, golden_rows)
    outputs_RO = golden_outputs(name, loaded, prepare(signature, preprocessing, rows_RW))
    golden = GoldenRows(rows_RW, outputs_RO, Tolerance.suited_to(outputs_RO) if tolerance is None else tolerance)
    files = {WEIGHTS_FILE: weights, GOLDEN_FILE: dump_golden(golden)}
    manifest = Manifest(
        name=name,
        version=1 if parent is None else parent + 1,  # replaced when it is known
        architecture=net.architecture,
        params=net.params,
        signature=signature,
        preprocessing=preprocessing,
        files={name: FileEntry.of(data) for name, data in files.items()},
        tolerance=golden.tolerance,
        provenance=Provenance(
            created_at, metrics, note, licence, parent=parent, reference_statistics=reference_statistics
        ),
    )
    check_manifest_reads_back(manifest, max_bytes=MAX_MANIFEST_BYTES)
    return _write(repository, manifest, files)


def load_artefact(
    repository: Path | str,
    name: str,
    version: int | str | None = None,
    *,
    max_weights_bytes: int = MAX_WEIGHTS_BYTES,
) -> Artefact:
    """Return a version of a model, loaded.

    version: a number, an alias, or None for the highest.

    Before any file but the manifest is interpreted, all files that the manifest lists are found to be in place, with the
    stated size and SHA-256. Whether the golden rows agree is not known before the net is on its device: `ServedModel`
    checks it.

    Raises ModelError for every fault; it names the file, what is wrong with it and the remedy.
    """
    repository = Path(repository)
    version, directory = find_version(repository, name, version)
    file = directory / MANIFEST_FILE
    manifest = Manifest.from_json(read_bounded(repository, file, MAX_MANIFEST_BYTES), str(file))
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"{file}: this is the manifest of {manifest.name[:128]} version {manifest.version}",
            kind="manifest",
            remedy="keep a version under the name and number that it was published with",
        )
    try:
        net = outline(manifest.architecture, manifest.params)
    except ModelError as error:
        raise ModelError(f"{file}: {error.message}", kind=error.kind, remedy=error.remedy) from None
    check_fit(net, manifest.signature, manifest.preprocessing, str(file))
    is_own = manifest.format == FORMAT
    if is_own:
        check_own_file(directory, file)
    contents = read_verified(repository, directory, manifest.files, is_own=is_own, max_weights_bytes=max_weights_bytes)
    golden = None
    if manifest.tolerance is not None:
        place = str(directory / GOLDEN_FILE)
        golden = load_golden(contents[GOLDEN_FILE], manifest.signature, manifest.tolerance, place)
    return Artefact(
        manifest, load_weights(net, contents[WEIGHTS_FILE], str(directory / WEIGHTS_FILE)), directory, golden
    )


def _check_parent(repository: Path, name: str, parent: object) -> None:
    if parent is None:
        return
    if isinstance(parent, bool) or not isinstance(parent, int):
        raise ModelError(
            f"model {name!r}: parent is {describe(parent)}", kind="manifest", remedy="give the number of a version"
        )
    find_version(repository, name, parent)


def _check_tolerance(name: str, tolerance: object) -> None:
    if tolerance is not None and not isinstance(tolerance, Tolerance):
        raise ModelError(
            f"model {name!r}: tolerance is {describe(tolerance)}",
            kind="golden",
            remedy="give a forebay.Tolerance, or omit it",
        )


def _write(repository: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    try:
        model_directory = repository / manifest.name
        model_directory.mkdir(parents=True, exist_ok=True)
        # On the repository's own disk, because a rename is atomic only there; hidden, so that it is not a
        # model's name.
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=repository) as scratch:
            staged = Path(scratch, "version")
            staged.mkdir()
            for file, data in files.items():
                write_synced(staged / file, data)
            return _publish(staged, model_directory, manifest)
    except OSError as error:
        raise StorageError(
            f"{error.filename or repository}: cannot write the model: {error.strerror or error}",
            remedy="check the repository's path, its permissions and the free space",
        ) from error


def _publish(staged: Path, model_directory: Path, manifest: Manifest) -> Path:
    while True:
        # Any entry whose name is a number counts as taken, even a stray file.
        taken = [int(entry) for entry in os.listdir(model_directory) if VERSION_NAME.fullmatch(entry)]
        version = max(taken, default=0) + 1
        write_synced(staged / MANIFEST_FILE, replace(manifest, version=version).to_json())
        sync_directory(staged)
        target = model_directory / str(version)
        try:
            os.rename(staged, target)
        except OSError as error:
            # Another process has taken the number meanwhile: list the versions again.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        sync_directory(model_directory)
        sync_directory(model_directory.parent)
        return target
