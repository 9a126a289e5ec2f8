"""JSON documents that are read and written again, with a limit on their levels. Pure.

The parser reads 1,024 levels of arrays and objects, and the writer writes 254. The lower limit holds for all documents,
also for those whose bytes are kept.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from forebay.stream.encryption.jwe import CannotDecrypt, Reason

MAX_NESTING: Final = 254
_TOO_DEEP: Final = f"the value is nested too deeply: more than {MAX_NESTING} levels"


def from_json(value: bytes) -> Any:
    """Return the content of a JSON text. Raises ValueError, and CannotDecrypt if it has more levels than the parser reads."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg or "ecursion" in error.msg:
            raise CannotDecrypt(Reason.MALFORMED, _TOO_DEEP) from None
        raise


def to_json(content: object) -> bytes:
    """Return JSON of what `from_json` returned. Raises CannotDecrypt if it has more than `MAX_NESTING` levels."""
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        raise CannotDecrypt(Reason.MALFORMED, _TOO_DEEP) from None
