"""A cache of parsed tables on disk, keyed by the content of their files: Arrow IPC files that are mapped into memory.

An entry is a folder named by its key, with the table and a description that holds its digest. It is written under another
name and renamed when it is complete. An entry that is damaged is detected by the digest, deleted, and parsed again. The least
recently used entries are deleted when all together become too large.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc as ipc

from forebay.models.artefacts.version_cache import cache_folder
from forebay.models.data.blocks import rebatch
from forebay.models.data.file_table import FileTable
from forebay.models.data.input_row import InvalidRow
from forebay.models.data.table_options import SkippedRows

MAX_BYTES: Final = 20 * 1024**3
_VERSION: Final = 1
_TABLE: Final = "table.arrow"
_DESCRIPTION: Final = "table.json"
_TEMPORARY: Final = ".write-"
_ABANDONED_S: Final = 24 * 3600

log = logging.getLogger("forebay.data")


def tables_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the cache: in $FOREBAY_CACHE_DIR, or else in the user's cache. Raises StorageError."""
    return cache_folder(environ).with_name("tables")


class TableCache:
    """Parsed tables in a folder. max_bytes: the size of all of them together."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def open(self, key: str) -> _Entry | None:
        """Return an entry; None if there is none or it is damaged."""
        folder = self.folder / key
        try:
            description = json.loads((folder / _DESCRIPTION).read_bytes())
            with open(folder / _TABLE, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != description["sha256"]:
                raise ValueError("its content has changed")
            os.utime(folder / _DESCRIPTION)
            return _Entry(ipc.open_file(pa.memory_map(str(folder / _TABLE))), description)
        except FileNotFoundError:
            if not folder.exists():
                return None
            problem: object = "a file is missing"
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            problem = error
        log.warning("the cached table %s is damaged and parsed again: %s", folder, problem)
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def write(self, key: str, schema: pa.Schema) -> _Writer | None:
        """Begin an entry; None if the folder cannot be written."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_abandoned()
            return _Writer(self, key, Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.folder)), schema)
        except OSError as error:
            log.warning("tables cannot be cached in %s: %s", self.folder, error)
            return None

    def evict(self, kept: str) -> None:
        """Delete the least recently used entries, except one, until all together are small enough."""
        entries = []
        for folder in self.folder.iterdir():
            with suppress(OSError):
                if not folder.name.startswith("."):
                    used = (folder / _DESCRIPTION).stat().st_mtime
                    entries.append((used, (folder / _TABLE).stat().st_size, folder))
        total = sum(size for _, size, _ in entries)
        for _, size, folder in sorted(entries):
            if total <= self.max_bytes:
                return
            if folder.name != kept:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size

    def _remove_abandoned(self) -> None:
        for folder in self.folder.glob(f"{_TEMPORARY}*"):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(folder, ignore_errors=True)


class _Entry:
    """A table in the cache, and the rows that were skipped when it was parsed."""

    def __init__(self, table: Any, description: Mapping[str, Any]) -> None:
        self._table = table
        self.by_file: dict[str, int] = dict(description["skipped"])
        self.first = [InvalidRow(*row) for row in description["first"]]

    def batches(self) -> Iterator[pa.RecordBatch]:
        for index in range(self._table.num_record_batches):
            yield self._table.get_batch(index)


class _Writer:
    """An entry that is being written."""

    def __init__(self, cache: TableCache, key: str, folder: Path, schema: pa.Schema) -> None:
        self._cache = cache
        self._key = key
        self._folder = folder
        self._file = open(folder / _TABLE, "wb")  # noqa: SIM115 - closed by `finish` and `discard`
        self._writer = ipc.new_file(self._file, schema)

    def add(self, batch: pa.RecordBatch) -> bool:
        """Write a batch; return whether the entry can still be written."""
        try:
            self._writer.write_batch(batch)
            if self._file.tell() <= self._cache.max_bytes:
                return True
            log.info("the table is larger than the cache of %d bytes and is not kept", self._cache.max_bytes)
        except OSError as error:
            log.warning("tables cannot be cached in %s: %s", self._cache.folder, error)
        return False

    def finish(self, skipped: SkippedRows) -> None:
        """Complete the entry, and make room for it."""
        try:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with open(self._folder / _TABLE, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            description = {
                "sha256": digest,
                "skipped": skipped.by_file,
                "first": [[row.place, row.reason, row.remedy] for row in skipped.first],
            }
            (self._folder / _DESCRIPTION).write_text(json.dumps(description))
            self._folder.rename(self._cache.folder / self._key)
            self._cache.evict(self._key)
        except OSError as error:  # also if another process has written the same entry
            log.debug("the table was not cached: %s", error)
            self.discard()

    def discard(self) -> None:
        """Delete what was written."""
        with suppress(OSError):
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class CachedTable:
    """A table of text files that is parsed once; later it is read from the cache. See `FileTable`."""

    def __init__(self, source: FileTable, cache: TableCache) -> None:
        self._source = source
        self._cache = cache
        self._entry_fraction: float | None = None

    @property
    def name(self) -> str:
        """The path, pattern or URL."""
        return self._source.name

    @property
    def skipped(self) -> SkippedRows:
        """The rows that were skipped, complete when all batches were read."""
        return self._source.skipped

    def fraction(self) -> float | None:
        """Return the part that was read, from 0 to 1; None if it is not known."""
        return self._source.fraction() if self._entry_fraction is None else self._entry_fraction

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the rows, from the cache if the files and options are those of an earlier reading."""
        stamps = self._source.stamps()
        version = self._source.content_key()
        if version is None:
            yield from self._source.batches(rows)
            return
        key = hashlib.sha256(f"{_VERSION} {pa.__version__} {version}".encode()).hexdigest()
        entry = self._cache.open(key)
        if entry is None:
            with closing(self._parsed(key, rows, stamps)) as batches:
                yield from batches
            return
        skipped = self._source.skipped
        skipped.clear()
        skipped.by_file.update(entry.by_file)
        skipped.first.extend(entry.first)
        self._entry_fraction = 0.0
        yield from rebatch(entry.batches(), rows)
        self._entry_fraction = 1.0

    def _parsed(
        self, key: str, rows: int, stamps: list[tuple[int, int] | None]
    ) -> Generator[pa.RecordBatch, None, None]:
        writer: _Writer | None = None
        is_complete = False
        try:
            for number, batch in enumerate(self._source.batches(rows)):
                if number == 0:
                    writer = self._cache.write(key, batch.schema)
                if writer is not None and not writer.add(batch):
                    writer.discard()
                    writer = None
                yield batch
            # A file that was changed while it was read must not be found under its earlier content.
            is_complete = writer is not None and self._source.stamps() == stamps
        finally:
            if writer is not None:
                if is_complete:
                    writer.finish(self._source.skipped)
                else:
                    writer.discard()
