"""The interface of tables: every reader of training data yields record batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class TableSource(Protocol):
    """A table that is read lazily, such as files or a topic."""

    @property
    def name(self) -> str:
        """The name of the source, as messages show it."""
        ...

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, in batches of at most `rows`. Raises DataError.

        All batches have the same schema. There is at least one batch, which may have no rows. Each call reads the source from
        its beginning, unless it is a pipe: a pipe is read once.
        """
        ...
