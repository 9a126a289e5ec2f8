"""Aliases of a model's versions, such as `champion`, with the history of their moves: `<repository>/<name>/aliases.json`.

A version never changes; an alias moves from one version to another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.store import open_store
from forebay.schemas.errors import ModelError

ALIASES_FILE: Final = "aliases.json"
MAX_ALIASES_BYTES: Final = 16 * 1024 * 1024
RESERVED: Final = "latest"
"""Not an alias: the highest version is meant where no version is given, and does not move by decision."""

_FORMAT: Final = 1
_ALIAS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias.

    at: when, with a time zone.
    by: who moved it.
    before: the version from which it moved; None if the alias is new.
    after: the version to which it moved; None if the alias was removed.
    """

    at: datetime
    by: str
    alias: str
    before: int | None
    after: int | None
    reason: str

    def to_dict(self) -> dict[str, object]:
        """Return the move as JSON values."""
        return {
            "at": self.at.isoformat(),
            "by": self.by,
            "alias": self.alias,
            "from": self.before,
            "to": self.after,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class VersionCopy:
    """A version that was copied from a registry.

    at: when, with a time zone.
    by: who copied it.
    source: what the manifest of the version states too: JSON values with `uri`.
    """

    at: datetime
    by: str
    version: int
    source: Mapping[str, object]

    @property
    def uri(self) -> str:
        """What was copied: the name that was given, and the version of the registry that it led to."""
        given, resolved = str(self.source["uri"]), str(self.source.get("resolved", ""))
        return given if resolved in ("", given) else f"{given} ({resolved})"

    def to_dict(self) -> dict[str, object]:
        """Return the copy as JSON values."""
        return {"at": self.at.isoformat(), "by": self.by, "version": self.version, "source": dict(self.source)}


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases of a model.

    history: all moves, oldest first.
    copies: all versions that were copied from a registry, oldest first.
    """

    history: tuple[AliasMove, ...] = ()
    copies: tuple[VersionCopy, ...] = ()

    @property
    def versions(self) -> Mapping[str, int]:
        """The version of each alias, in alphabetical order: where its last move led."""
        last = {move.alias: move.after for move in self.history}
        return MappingProxyType({alias: version for alias, version in sorted(last.items()) if version is not None})

    def of_version(self, version: int) -> tuple[str, ...]:
        """Return the aliases of a version."""
        return tuple(alias for alias, aliased in self.versions.items() if aliased == version)

    def to_json(self) -> bytes:
        """Return the bytes of the file."""
        document = {
            "format": _FORMAT,
            "aliases": dict(self.versions),
            "history": [move.to_dict() for move in self.history],
            **({"copies": [copy.to_dict() for copy in self.copies]} if self.copies else {}),
        }
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, file: str) -> Aliases:
        """Return the aliases in the bytes of a file. Raises ModelError that names `file`, the key and what is allowed."""
        fields = JsonObject(decode_json(data, file), file)
        number = fields.integer("format", minimum=1)
        if number != _FORMAT:
            raise ModelError(
                f"{file}: the format is {number}; this version of Forebay reads format {_FORMAT}",
                kind="format",
                remedy="upgrade Forebay here",
            )
        fields.reject_unknown_keys({"format", "aliases", "history", "copies"})
        copies = fields.children("copies") if fields.has("copies") else []
        aliases = cls(tuple(map(_read_move, fields.children("history"))), tuple(map(_read_copy, copies)))
        stated = fields.mapping("aliases")
        if stated != aliases.versions or any(isinstance(version, bool) for version in stated.values()):
            raise _damaged(f"{file}: the aliases are not those to which the history leads")
        current: dict[str, int | None] = {}
        for index, move in enumerate(aliases.history):
            if move.before != current.get(move.alias):
                raise _damaged(
                    f"{file}: history[{index}].from is {move.before}, but {move.alias} was at {current.get(move.alias)}"
                )
            current[move.alias] = move.after
        return aliases


def read_aliases(repository: Path | str, name: str) -> Aliases:
    """Return the aliases of a model that exists; none if they were never set. Raises ModelError that names the file."""
    store = open_store(repository)
    if not store.has_file(name, ALIASES_FILE):
        return Aliases()
    data = store.read(name, ALIASES_FILE, max_bytes=MAX_ALIASES_BYTES)
    return Aliases.from_json(data, store.place(name, ALIASES_FILE))


def check_alias(alias: object) -> str:
    """Return the alias. Raises ModelError(kind="alias") unless it is a valid one."""
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or alias == RESERVED:
        reserved = f" ({RESERVED} is not an alias: leave the version out for the highest)" if alias == RESERVED else ""
        raise ModelError(
            f"the alias is {alias!r:.80}{reserved}",
            kind="alias",
            remedy="use letters, digits, '_' and '-', at most 64, starting with a letter, such as champion",
        )
    return alias


def _read_move(fields: JsonObject) -> AliasMove:
    fields.reject_unknown_keys({"at", "by", "alias", "from", "to", "reason"})
    alias = fields.text("alias")
    try:
        check_alias(alias)
    except ModelError as error:
        fields.fail("alias", alias, str(error.remedy).removeprefix("use "))
    return AliasMove(
        at=_read_time(fields),
        by=fields.text("by"),
        alias=alias,
        before=_read_version(fields, "from"),
        after=_read_version(fields, "to"),
        reason=fields.text("reason"),
    )


def _read_copy(fields: JsonObject) -> VersionCopy:
    fields.reject_unknown_keys({"at", "by", "version", "source"})
    fields.child("source").text("uri")
    return VersionCopy(
        _read_time(fields), fields.text("by"), fields.integer("version", minimum=1), fields.mapping("source")
    )


def _read_time(fields: JsonObject) -> datetime:
    at = fields.text("at")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        fields.fail("at", at, "a time such as 2026-11-02T09:30:00+00:00")
    return moment


def _read_version(fields: JsonObject, key: str) -> int | None:
    return None if fields.value(key) is None else fields.integer(key, minimum=1)


def _damaged(problem: str) -> ModelError:
    return ModelError(
        problem,
        kind="manifest",
        remedy="restore the file from a copy, or delete it and set the aliases again; do not edit it by hand",
    )
