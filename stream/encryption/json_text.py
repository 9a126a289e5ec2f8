"""JSON documents that are read and written again, with a limit on their levels. Pure.

The parser reads 1,024 levels of arrays and objects, and the writer writes 254. The lower limit holds for all documents,
also for those whose bytes are kept.
"""

from __future__ import annotations

import json
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


def may_repeat_names(value: bytes) -> bool:
    """Return whether an object in a JSON text has a name twice, so that parsers see one of the values only.

    Also for what is nested so deeply that this parser does not read it.
    """
    try:
        json.loads(value.decode(), object_pairs_hook=_check_names, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return True
    return False


def _check_names(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("a name is repeated")
