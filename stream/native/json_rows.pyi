from collections.abc import Sequence

from forebay.stream.core.records import FloatMatrix

class RowReader:
    def __init__(self, shape: tuple[int, ...], names: tuple[bytes, ...], nullable: bytes) -> None: ...
    def read(self, values: Sequence[bytes | None], x_BF: FloatMatrix) -> tuple[list[str], list[int], list[int]]: ...
