"""The valid revisions, decided from the order of the records on the topic `rollouts` alone.

The first record that follows the current revision of its model is valid; all others that were based on the same revision
came too late. Every reader of the log therefore comes to the same result without any coordination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.schemas.errors import DataError
from forebay.stream.rollouts.revision import Revision, decode_revision
from forebay.stream.rollouts.wire import NEWER_FORMAT
from forebay.stream.rollouts.wire import InvalidRecord as InvalidRecord


@dataclass(frozen=True, slots=True)
class Entry:
    """A revision as found in the log.

    accepted: whether it is valid. False: another revision came first.
    """

    revision: Revision
    offset: int
    timestamp_ms: int
    accepted: bool


class RevisionLog:
    """The revisions of all models, fed with the records in log order."""

    def __init__(self) -> None:
        self._current: dict[str, Entry] = {}
        self._history: dict[str, list[Entry]] = {}
        self._invalid: list[InvalidRecord] = []
        self._last_offset = -1

    def add(self, key: bytes | None, value: bytes | None, *, offset: int, timestamp_ms: int) -> Revision | None:
        """Add the next record. Return its revision if it is the new current one of its model, otherwise None.

        A record that was added before changes nothing. A record that is not a revision is kept in `invalid`.

        Raises DataError for a record in a later format: skipping it could leave this reader at an outdated revision.
        """
        if offset <= self._last_offset:
            return None
        try:
            revision = decode_revision(key, value)
        except DataError as error:
            if error.kind == NEWER_FORMAT:
                raise DataError(
                    f"record at offset {offset} of the rollouts topic: {error.message}",
                    kind=error.kind,
                    remedy=error.remedy,
                ) from None
            self._last_offset = offset
            self._invalid.append(InvalidRecord(offset, timestamp_ms, error.message))
            return None
        self._last_offset = offset
        accepted = revision.based_on == self.number(revision.model) == revision.number - 1
        entry = Entry(revision, offset, timestamp_ms, accepted)
        self._history.setdefault(revision.model, []).append(entry)
        if not accepted:
            return None
        self._current[revision.model] = entry
        return revision

    @property
    def invalid(self) -> Sequence[InvalidRecord]:
        """The records that are not revisions, in log order."""
        return self._invalid

    def models(self) -> list[str]:
        """Return the names of the models that have a revision."""
        return sorted(self._current)

    def number(self, model: str) -> int:
        """Return the number of the model's current revision; 0 if only its configuration applies."""
        entry = self._current.get(model)
        return 0 if entry is None else entry.revision.number

    def current(self, model: str) -> Revision | None:
        """Return the model's current revision; None if only its configuration applies."""
        entry = self._current.get(model)
        return None if entry is None else entry.revision

    def revision(self, model: str, number: int) -> Revision | None:
        """Return the model's valid revision with this number; None if it does not exist."""
        accepted = (entry.revision for entry in self.history(model) if entry.accepted)
        return next((revision for revision in accepted if revision.number == number), None)

    def history(self, model: str) -> list[Entry]:
        """Return all revisions of the model in log order, also those that came too late."""
        return list(self._history.get(model, ()))
