"""The opening of tables for commands that read files or topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from forebay.models.data.opening import open_source
from forebay.models.data.streams import pyarrow_missing
from forebay.models.data.table_options import TableOptions
from forebay.stream.core.clock import Clock
from forebay.stream.tables.topic_location import is_topic

if TYPE_CHECKING:
    from forebay.models.data.file_table import FileTable
    from forebay.stream.tables.topic_table import TopicTable


def open_location(
    location: str,
    options: TableOptions | None = None,
    *,
    client_options: Callable[[], Mapping[str, object]],
    clock: Clock,
) -> FileTable | TopicTable:
    """Return the table at a location: `topic://NAME?from=...&to=...`, or what `open_source` opens.

    client_options: returns the options of the Kafka client; called only for a topic.

    Raises ConfigError for a location that is not valid or needs a package that is not installed; DataError for files that do
    not exist.
    """
    if not is_topic(location):
        return open_source(location, options)
    try:
        from forebay.stream.tables.topic_table import TopicTable
    except ImportError:
        raise pyarrow_missing("a topic as a table") from None
    return TopicTable(location, client_options(), clock=clock, table=options)
