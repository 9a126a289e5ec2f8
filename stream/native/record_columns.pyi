from collections.abc import Sequence

from forebay.stream.core.record_columns import ByteColumn, Ints

def texts(column: ByteColumn) -> list[bytes | None]: ...
def read(
    data: bytes | memoryview,
    fields_7N: Ints,
    *,
    begin: int,
    first: int,
    lowest: int,
    room: int,
    first_timestamp: int,
    append_time: int | None,
) -> tuple[int, int, list[Sequence[tuple[str, bytes]]] | None]: ...
