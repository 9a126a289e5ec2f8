"""The names of the classes of each version, from its manifest, so that labels can name them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from forebay.schemas.errors import ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.columns import LabelValue

log = logging.getLogger("forebay.evaluate")

RETRY_S: Final = 60.0
"""How long after a manifest could not be read it is tried again."""

ReadNames = Callable[[ModelRef], Collection[str]]
"""Returns the names of a version's classes in order, none if they have no names. Raises ForebayError or OSError."""


class ClassNames:
    """Resolves labels. Names are known for the versions that were loaded.

    read: reads the names; may block, and is called in a thread (`run`).
    """

    def __init__(self, read: ReadNames, *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._index_of: dict[ModelRef, Mapping[str, int]] = {}
        self._failed_s: dict[ModelRef, float] = {}

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
                if ref not in self._failed_s:
                    log.warning("%s: labels cannot name classes, only give their indices: %s", ref, error)
                self._failed_s[ref] = self._clock.monotonic_s()
                continue
            self._index_of[ref] = {name: index for index, name in enumerate(names)}
            log.info("%s: labels can name the classes %s", ref, ", ".join(names) if names else "(none) by index only")

    def resolve(self, ref: ModelRef, value: LabelValue) -> float | None:
        """Return the index of the class that a label means, or its number; None if it means none."""
        if isinstance(value, str):
            return self._index_of.get(ref, {}).get(value)
        return float(value)


def manifest_names(repositories: Mapping[str, str]) -> ReadNames:
    """Return a reader of the manifests. repositories: folder or URL by model; "" for models that are not listed."""

    def read(ref: ModelRef) -> Collection[str]:
        from forebay.models.artefacts.artefact import read_version

        repository = repositories.get(ref.name, repositories[""])
        return read_version(repository, ref.name, ref.version).manifest.signature.labels

    return read
