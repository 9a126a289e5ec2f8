"""Allocations for tests, which are easier to predict than a hash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.stream.pipeline.served_revision import ServedRevision


class ByLastByte:
    """Gives a key to the version that its last byte chooses; an empty key to the first."""

    def __init__(self, *versions: int) -> None:
        self.versions = versions

    def version_of(self, key: bytes) -> int:
        return self.versions[(key[-1] if key else 0) % len(self.versions)]

    def versions_of(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        return np.array([self.version_of(key) for key in keys], dtype=np.int64)


def revision(
    *versions: int, model: str = "m", number: int = 1, stable: int | None = None, route_by: str | None = None
) -> ServedRevision:
    """Return a revision with these versions. stable: the first one if it is None."""
    return ServedRevision(
        model=model,
        number=number,
        stable=versions[0] if stable is None else stable,
        allocation=ByLastByte(*versions),
        route_by=route_by,
    )
