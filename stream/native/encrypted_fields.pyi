from collections.abc import Callable, Sequence

_Template = tuple[int, bytes, bytes, bytes]
_Values = Sequence[bytes | None]
_Decrypt = Callable[[bytes, bytes, bytes], bytes]

class Tokens:
    decrypts: list[_Decrypt]
    nonces: list[bytes]
    texts: list[bytes]
    headers: list[bytes]
    def document_values(self, plains: list[bytes | None]) -> tuple[list[bytes | None], list[int]]: ...

class Texts:
    texts: list[bytes]
    headers: list[bytes]
    def document_values(self, nonces: list[bytes], encrypted: list[bytes]) -> tuple[list[bytes | None], list[int]]: ...

class FieldReader:
    def __init__(self, id_path: tuple[bytes, ...], paths: list[tuple[bytes, ...]]) -> None: ...
    def tokens(self, values: _Values, templates: list[_Template], decrypts: list[_Decrypt]) -> Tokens: ...
    def texts(self, values: _Values, templates: list[_Template]) -> Texts: ...
