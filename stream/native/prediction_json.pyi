class Template:
    def __init__(self, model: bytes, endings: list[bytes], source: bytes) -> None: ...
    def documents(
        self,
        ids: list[str],
        offsets: list[int],
        timestamps: list[int],
        classes: list[int],
        scores: bytes,
        confidences: bytes | None,
    ) -> list[bytes] | None: ...
