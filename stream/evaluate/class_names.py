"""The names of the classes of each version, from its manifest or its predictions, so that labels can name them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from forebay.schemas.errors import ForebayError, ModelError
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.columns import LabelValue

log = logging.getLogger("forebay.evaluate")

RETRY_S: Final = 60.0
"""How long after a manifest could not be read it is tried again."""

_ABSENT: Final = frozenset({"model_not_found", "version_not_found", "name"})
"""The kinds of errors of a repository that can be read, and has no such version."""

ReadNames = Callable[[ModelRef], Collection[str]]
"""Returns the names of a version's classes in order, none if they have no names. Raises ForebayError or OSError."""


class ClassNamesUnreadable(ModelError):
    """A label names a class of a version whose manifest cannot be read now.

    ref: the version.
    """

    default_kind = "class_names_unreadable"

    def __init__(self, ref: ModelRef, reason: str) -> None:
        super().__init__(
            f"labels name classes of {ref}, and its manifest cannot be read: {reason}",
            remedy="check that model.repository of the evaluator leads to the repository and that it may read there; labels "
            "that give the indices of classes need no repository",
        )
        self.ref = ref


class ClassNames:
    """Resolves labels. Names are known for the versions that were loaded.

    A version that a readable repository does not have has the names that its predictions carry, once they carry those of all
    classes. With some of them, only labels of classes that were predicted would count, and the version would seem too good.
    One whose manifest cannot be read may have names: what a label means is then unknown, and must not be decided.

    read: reads the names; may block, and is called in a thread (`run`).
    """

    def __init__(self, read: ReadNames, *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._index_of: dict[ModelRef, Mapping[str, int]] = {}
        self._failed_s: dict[ModelRef, float] = {}
        self._reasons: dict[ModelRef, str] = {}
        self._absent: set[ModelRef] = set()
        self._learned: dict[ModelRef, dict[str, int]] = {}
        self._complete: set[ModelRef] = set()

    def learn(self, ref: ModelRef, names: Mapping[str, int], num_classes: int) -> None:
        """Add names of classes that predictions carry, with their indices.

        What waits is read again after a restart, so names are known then too, even if the version was deleted meanwhile.
        """
        if not names or ref in self._index_of:
            return
        learned = self._learned.setdefault(ref, {})
        learned.update(names)
        if len(learned) == num_classes and set(learned.values()) == set(range(num_classes)):
            self._complete.add(ref)
        else:
            self._complete.discard(ref)

    def missing(self, refs: Collection[ModelRef]) -> list[ModelRef]:
        """Return the versions whose names are not known and should be loaded now."""
        now_s = self._clock.monotonic_s()
        return [
            ref for ref in refs if ref not in self._index_of and now_s - self._failed_s.get(ref, -RETRY_S) >= RETRY_S
        ]

    def load(self, refs: Collection[ModelRef]) -> None:
        """Read the names of versions. One that cannot be read is logged, and tried again later."""
        for ref in refs:
            try:
                names = self._read(ref)
            except (ForebayError, OSError) as error:
                self._record_failure(ref, error)
                continue
            self._failed_s.pop(ref, None)
            self._absent.discard(ref)
            self._index_of[ref] = {name: index for index, name in enumerate(names)}
            self._learned.pop(ref, None)
            self._complete.discard(ref)
            log.info("%s: labels can name the classes %s", ref, ", ".join(names) if names else "(none) by index only")

    def _record_failure(self, ref: ModelRef, error: ForebayError | OSError) -> None:
        is_absent = isinstance(error, ForebayError) and error.kind in _ABSENT
        if ref not in self._failed_s or is_absent != (ref in self._absent):
            effect = "cannot be counted until its manifest can be read"
            if is_absent:
                effect = "are refused, unless its predictions carry the names of all classes"
            log.warning("%s: labels that name classes, instead of giving their indices, %s: %s", ref, effect, error)
        self._failed_s[ref] = self._clock.monotonic_s()
        self._reasons[ref] = str(error)
        if is_absent:
            self._absent.add(ref)
        else:
            self._absent.discard(ref)

    def unreadable(self) -> list[ModelRef]:
        """Return the versions whose manifests could not be read."""
        return [ref for ref in self._failed_s if ref not in self._absent]

    def is_readable(self, ref: ModelRef) -> bool:
        """Return whether it is known which names the classes of a version have, if any."""
        return ref in self._index_of or ref in self._absent

    def resolve(self, ref: ModelRef, value: LabelValue) -> float | None:
        """Return the index of the class that a label means, or its number; None if it means none.

        Raises ClassNamesUnreadable if that is unknown.
        """
        if not isinstance(value, str):
            return float(value)
        if ref in self._complete:
            return self._learned[ref].get(value)
        if not self.is_readable(ref):
            raise ClassNamesUnreadable(ref, self._reasons.get(ref, "it was not read yet"))
        return self._index_of.get(ref, {}).get(value)


def manifest_names(repositories: Mapping[str, str]) -> ReadNames:
    """Return a reader of the manifests. repositories: folder or URL by model; "" for models that are not listed."""

    def read(ref: ModelRef) -> Collection[str]:
        from forebay.models.artefacts.artefact import read_version
        from forebay.models.artefacts.repository import list_models

        repository = repositories.get(ref.name, repositories[""])
        try:
            return read_version(repository, ref.name, ref.version).manifest.signature.labels
        except ModelError as error:
            if error.kind in _ABSENT and not list_models(repository):
                # Such as a volume that is not mounted.
                raise ModelError(
                    f"{repository}: the repository has no models", kind="repository_empty", remedy=error.remedy
                ) from error
            raise

    return read
