"""The error that ended a child, in a file of the supervisor's folder: it is printed once, by the supervisor."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from forebay.schemas.errors import BrokerError, ConfigError, DataError, ForebayError, ModelError, StorageError

_TYPES: Final = {error.__name__: error for error in (ConfigError, DataError, ModelError, BrokerError, StorageError)}


class _Document(msgspec.Struct):
    type: str
    message: str
    kind: str
    remedy: str | None = None
    problems: tuple[str, ...] = ()


def write_error(path: Path, error: ForebayError) -> None:
    """Write the error. Nothing is written if the disk does not allow it."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    # A subclass is read as the class of errors below `ForebayError` that it belongs to.
    name = next((name for name, base in _TYPES.items() if isinstance(error, base)), "ForebayError")
    document = _Document(name, error.message, error.kind, remedy=error.remedy, problems=problems)
    with contextlib.suppress(OSError):
        path.write_bytes(msgspec.json.encode(document))


def take_error(path: Path) -> ForebayError | None:
    """Return the error in a file, and remove the file; None if there is none."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
        path.unlink()
    except (OSError, ValueError):
        return None
    if document.type == "ConfigError":
        return ConfigError(document.message, problems=document.problems, kind=document.kind, remedy=document.remedy)
    return _TYPES.get(document.type, ForebayError)(document.message, kind=document.kind, remedy=document.remedy)
