"""The files of a version: the manifest lists each with its size and SHA-256, and nothing reads a file before it is verified."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.artefacts.storage import COPY_AGAIN, check_contained, read_bounded, unreadable
from forebay.models.artefacts.store import SIGNATURE_FILE
from forebay.schemas.errors import ModelError

GOLDEN_FILE: Final = "golden.safetensors"
MAX_GOLDEN_BYTES: Final = 64 * 1024 * 1024
# Of a file that only people and other tools read, such as a description of the model.
MAX_OTHER_BYTES: Final = 16 * 1024 * 1024
MAX_FILES: Final = 64

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What the manifest states about a file. sha256: in hexadecimal digits."""

    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileEntry:
        """Return the entry for a file with this content."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def to_dict(self) -> dict[str, object]:
        """Return the entry as JSON values."""
        return {"bytes": self.num_bytes, "sha256": self.sha256}

    @classmethod
    def read(cls, fields: JsonObject) -> FileEntry:
        """Return the entry in one object of a manifest. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"sha256", "bytes"})
        return cls(fields.integer("bytes"), fields.text("sha256"))


def read_entries(fields: JsonObject, required: Collection[str]) -> Mapping[str, FileEntry]:
    """Return the files that a manifest of format 2 lists under `files`. Raises ModelError that names the manifest and the key.

    A name is that of a file in the version's own folder: it cannot be a path.
    """
    table = fields.child("files")
    names = table.keys()
    if len(names) > MAX_FILES:
        raise fields.error(f"files lists {len(names)} files; allowed are at most {MAX_FILES}")
    for name in names:
        if not _FILE_NAME.fullmatch(name) or name in (MANIFEST_FILE, SIGNATURE_FILE):
            fields.fail(
                "a name in files",
                name,
                f"the name of a file in the same folder, not {MANIFEST_FILE} or {SIGNATURE_FILE}: "
                "letters, digits, '.', '_' and '-', at most 128, not starting with a dot",
            )
    for name in sorted(required):
        if name not in names:
            raise fields.error(f"files does not list {name}")
    return {name: _read_entry(table, name) for name in names}


def read_verified(
    repository: Path, directory: Path, entries: Mapping[str, FileEntry], *, is_own: bool, limits: Mapping[str, int]
) -> dict[str, bytes]:
    """Return the content of the files in `limits`, after every listed file has been found as its entry states.

    Each file is read once: the bytes that are verified are those that are returned, even if the file changes meanwhile.

    directory: the version's folder, which is in the repository.
    is_own: whether each file must be in the version's own folder, under one name, as format 2 demands; otherwise
        symbolic links within the repository and hard links are allowed.
    limits: how many bytes each of the wanted files may have. Other listed files are verified too, but not returned.

    Raises ModelError that names the file.
    """
    contents: dict[str, bytes] = {}
    for name, entry in entries.items():
        file = directory / name
        if is_own:
            check_own_file(directory, file)
        data = _read(directory if is_own else repository, file, entry, limits.get(name, MAX_OTHER_BYTES))
        if name in limits:
            contents[name] = data
    return contents


def check_own_file(directory: Path, file: Path) -> None:
    """Raise ModelError if the file is outside the version's folder or has another name (a hard link), there or elsewhere.

    Symbolic links within the folder are allowed: mounted volumes consist of them.
    """
    check_contained(directory, file, "the version's folder")
    try:
        links = file.stat().st_nlink
    except OSError as error:
        raise unreadable(file, error) from error
    if links > 1 and file.is_file():
        raise ModelError(
            f"{file}: this file has {links} names (hard links); allowed is one, in the version's folder",
            kind="path",
            remedy="copy the version into the repository instead of linking to its files",
        )


def _read(root: Path, file: Path, entry: FileEntry, max_bytes: int) -> bytes:
    check_contained(root, file, "the repository")
    try:
        size = file.stat().st_size if file.is_file() else entry.num_bytes
    except OSError as error:
        raise unreadable(file, error) from error
    if size <= max_bytes and size != entry.num_bytes:  # not read at all
        raise _differs(file, f"{size} bytes", f"{entry.num_bytes} bytes")
    data = read_bounded(root, file, max_bytes)
    found = FileEntry.of(data)
    if found != entry:
        raise _differs(
            file,
            f"sha256 {found.sha256} and {found.num_bytes} bytes",
            f"{entry.sha256} and {entry.num_bytes}",
        )
    return data


def _differs(file: Path, found: str, stated: str) -> ModelError:
    return ModelError(
        f"{file}: the file has {found}, but {MANIFEST_FILE} states {stated}", kind="digest", remedy=COPY_AGAIN
    )


def _read_entry(table: JsonObject, name: str) -> FileEntry:
    fields = table.child(name)
    entry = FileEntry.read(fields)
    if not _SHA256.fullmatch(entry.sha256):
        fields.fail("sha256", entry.sha256, "64 hexadecimal digits in lower case")
    return entry
