from collections.abc import Sequence

from forebay.stream.core.outputs import Headers

def write(
    keys: list[bytes | None],
    values: list[bytes | None],
    headers: Sequence[Headers],
    start: int,
    max_bytes: int,
) -> tuple[bytes, int]: ...
