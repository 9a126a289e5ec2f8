"""Checkpoints in a folder: written atomically, verified when they are read, and the oldest ones removed.

    checkpoints/
      step-0000000120/
        checkpoint.json        step, number of ranks, fingerprint, and the size and SHA-256 of each file
        shared.safetensors     what all ranks have in common: weights, optimiser, position in the data
        rank-0000.safetensors  what belongs to one rank: random state, error feedback of the compression

Only rank 0 writes. A checkpoint is written into a hidden folder, synced and renamed, so that it exists as a whole or not at
all. Damage that happens later is found by the digests, and the checkpoint before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from forebay.models.artefacts.storage import sync_directory, write_synced
from forebay.schemas.errors import ModelError, StorageError

FORMAT: Final = 1
DESCRIPTION_FILE: Final = "checkpoint.json"
SHARED_FILE: Final = "shared.safetensors"
_MAX_DESCRIPTION_BYTES: Final = 4 * 1024 * 1024
_NAME: Final = re.compile(r"step-(\d{10})")
_TEMPORARY: Final = re.compile(r"\.step-\d{10}\.partial")

_LOGGER: Final = logging.getLogger("forebay.train")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint. ranks: a file for each rank, in their order."""

    step: int
    shared: bytes
    ranks: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A folder of checkpoints of one training.

    fingerprint: identifies the recipe, data and options; a checkpoint with another one belongs to another training.
    keep: how many of the newest checkpoints remain.
    """

    folder: Path
    fingerprint: str
    keep: int = 3

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ModelError(f"keep_checkpoints is {self.keep}; allowed is from 1", kind="params")

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, and then remove the oldest ones. Returns its folder. Raises StorageError."""
        target = self.folder / f"step-{checkpoint.step:010d}"
        temporary = self.folder / f".{target.name}.partial"
        files = {SHARED_FILE: checkpoint.shared}
        files |= {f"rank-{rank:04d}.safetensors": data for rank, data in enumerate(checkpoint.ranks)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_partial()
            temporary.mkdir()
            for name, data in files.items():
                write_synced(temporary / name, data)
            write_synced(temporary / DESCRIPTION_FILE, self._describe(checkpoint.step, files))
            sync_directory(temporary)
            if target.exists():  # damaged, or it would have been resumed
                shutil.rmtree(target)
            os.rename(temporary, target)
            sync_directory(self.folder)
            for _, old in self._found()[self.keep :]:
                shutil.rmtree(old)
        except OSError as error:
            raise StorageError(
                f"{target}: the checkpoint cannot be written: {error.strerror or error}",
                remedy="free space on the disk, or choose another folder for the checkpoints",
            ) from error
        return target

    def latest(self, world_size: int) -> Checkpoint | None:
        """Return the newest checkpoint that is undamaged; None if there is not any.

        Damaged ones are logged and passed over. Raises ModelError for an undamaged one of another training or another
        number of ranks.
        """
        for step, folder in self._found():
            try:
                return self._read(step, folder, world_size)
            except _Damaged as damage:
                _LOGGER.warning("%s: this checkpoint is damaged (%s); trying the one before it", folder, damage)
        return None

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it. Raises StorageError."""
        try:
            for _, folder in self._found():
                shutil.rmtree(folder)
            if self.folder.is_dir():
                self._remove_partial()
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
        except OSError as error:
            raise StorageError(
                f"{self.folder}: the checkpoints cannot be removed: {error.strerror or error}",
                remedy="remove the folder; the training has ended",
            ) from error

    def _describe(self, step: int, files: Mapping[str, bytes]) -> bytes:
        entries = {name: {"bytes": len(data), "sha256": _digest(data)} for name, data in files.items()}
        content = {
            "format": FORMAT,
            "step": step,
            "world_size": len(files) - 1,
            "fingerprint": self.fingerprint,
            "files": entries,
        }
        text = json.dumps(content, sort_keys=True)
        return json.dumps({"content": text, "sha256": _digest(text.encode())}, indent=1).encode()

    def _found(self) -> list[tuple[int, Path]]:
        """Return the checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        matches = [(match, path) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted(((int(match[1]), path) for match, path in matches), reverse=True)

    def _remove_partial(self) -> None:
        for path in list(self.folder.iterdir()):
            if _TEMPORARY.fullmatch(path.name):
                shutil.rmtree(path)

    def _read(self, step: int, folder: Path, world_size: int) -> Checkpoint:
        content = _read_description(folder / DESCRIPTION_FILE)
        if content.get("format") != FORMAT:
            raise ModelError(
                f"{folder}: the format is {content.get('format')!r}; this version of Forebay reads {FORMAT}",
                kind="checkpoint",
                remedy="continue with the version that wrote it, or choose another folder for the checkpoints",
            )
        if content["fingerprint"] != self.fingerprint:
            raise ModelError(
                f"{folder}: this checkpoint belongs to another recipe, data, strategy or compression",
                kind="checkpoint",
                remedy="choose another folder for the checkpoints, or remove this one",
            )
        if content["world_size"] != world_size:
            raise ModelError(
                f"{folder}: this checkpoint is of {content['world_size']} ranks, and this training has {world_size}",
                kind="checkpoint",
                remedy=f"continue with {content['world_size']} ranks, or choose another folder for the checkpoints",
            )
        if content["step"] != step:
            raise _Damaged(f"it is of step {content['step']}")
        shared, *ranks = (data for _, data in _read_files(folder, content, world_size))
        return Checkpoint(step, shared, ranks)


class _Damaged(Exception):
    """A checkpoint is incomplete or was changed."""


def _read_description(file: Path) -> dict[str, object]:
    try:
        with open(file, "rb") as stream:
            document = json.loads(stream.read(_MAX_DESCRIPTION_BYTES))
        text = document["content"]
        if _digest(text.encode()) != document["sha256"]:
            raise _Damaged(f"{DESCRIPTION_FILE} has another digest than it states")
        return cast("dict[str, object]", json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"{DESCRIPTION_FILE} cannot be read: {error}") from error


def _read_files(folder: Path, content: Mapping[str, object], world_size: int) -> Iterator[tuple[str, bytes]]:
    entries = cast("Mapping[str, Mapping[str, object]]", content["files"])
    for name in (SHARED_FILE, *(f"rank-{rank:04d}.safetensors" for rank in range(world_size))):
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise _Damaged(f"{name} cannot be read: {error.strerror or error}") from error
        if len(data) != entries[name]["bytes"] or _digest(data) != entries[name]["sha256"]:
            raise _Damaged(f"{name} was changed or is incomplete")
        yield name, data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
