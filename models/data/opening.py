"""The opening of tables, for all commands that read data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.models.data.locations import find_files
from forebay.models.data.streams import pyarrow_missing
from forebay.models.data.table_options import TableOptions

if TYPE_CHECKING:
    from forebay.models.data.file_table import FileTable
    from forebay.models.data.table_cache import CachedTable, TableCache


def open_source(location: str, options: TableOptions | None = None) -> FileTable:
    """Return the table at a location: a path, a pattern such as `data/*.csv`, a URL such as s3://bucket/*.parquet, or `-`.

    Many files are one table, in the order of their names.

    Raises DataError if there is no such file; ConfigError if a package that is needed is not installed.
    """
    try:
        from forebay.models.data.file_table import FileTable
    except ImportError:
        raise pyarrow_missing("tables") from None
    return FileTable(location, find_files(location), options or TableOptions())


def open_cached(location: str, options: TableOptions | None, cache: TableCache) -> CachedTable:
    """Return the table at a location as `open_source` does, and keep what is parsed, for commands that read a table often.

    Only text is kept: Parquet and Arrow files are read as fast as the cache.
    """
    source = open_source(location, options)
    from forebay.models.data.table_cache import CachedTable

    return CachedTable(source, cache)
