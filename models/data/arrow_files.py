"""Arrow files: Feather, IPC files and IPC streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc as ipc

_MAGIC: Final = b"ARROW1"
_BATCH_ROWS: Final = 65_536


def open_arrow(stream: Any) -> Any:
    """Return a reader of an Arrow file or stream. Raises what Arrow raises."""
    start = stream.read(len(_MAGIC))
    stream.seek(0)
    return ipc.open_file(stream) if start == _MAGIC else ipc.open_stream(stream)


def arrow_batches(file: Any) -> Iterator[pa.RecordBatch]:
    """Yield the checked batches of a reader: damaged offsets would otherwise lead outside the memory of the file."""
    if isinstance(file, ipc.RecordBatchFileReader):
        found: Iterator[pa.RecordBatch] = (file.get_batch(index) for index in range(file.num_record_batches))
    else:
        found = iter(file)
    for batch in found:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            part.validate(full=True)
            yield part
