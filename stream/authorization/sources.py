"""The files from which the policies of access are built."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from forebay.schemas.errors import ConfigError
from forebay.stream.config.access_section import AccessSection

MAX_FILE_BYTES: Final = 1_048_576


class SourceTexts(NamedTuple):
    """What keys and rules are read from. rules: None without a file for them."""

    keys: bytes
    rules: bytes | None


def read_sources(section: AccessSection, fetched: bytes | None = None) -> SourceTexts:
    """Read the files of a section. Blocks. Raises ConfigError if one of them cannot be read.

    fetched: the keys that were fetched; None if they are in a file.
    """
    rules = None if section.rules_file is None else _read("rules_file", section.rules_file)
    return SourceTexts(_read("keys_file", section.keys_file or "") if fetched is None else fetched, rules)


def _read(name: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"access.{name}, {path}, cannot be read: {error.strerror}",
            kind="access_file",
            remedy="correct the path or the permissions of the file",
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(
            f"access.{name}, {path}, is larger than {MAX_FILE_BYTES:,} bytes",
            kind="access_file",
            remedy="name a JWK set" if name == "keys_file" else "name a file with rules",
        )
    return text
