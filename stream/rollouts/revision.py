"""A revision: the complete state of one model's rollout, as a record on the topic `rollouts`.

Revision 0 is the configuration and is not a record. Each later revision names the one that it is based on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from forebay.schemas.errors import DataError
from forebay.schemas.rollouts import (
    MAX_AUTHOR_CHARS,
    MAX_ID_CHARS,
    MAX_MODEL_VERSION,
    MAX_REASON_CHARS,
    MAX_SEED,
    MODEL_NAME,
    ROLLOUT_FORMAT,
)
from forebay.schemas.rollouts import SLOTS as SLOTS
from forebay.schemas.rollouts import Action as Action
from forebay.schemas.shapes import MAX_TIMESTAMP_MS
from forebay.stream.rollouts.wire import decode_json, decode_key, require_format

_Version = Annotated[int, Meta(ge=1, le=MAX_MODEL_VERSION)]
_Count = Annotated[int, Meta(ge=0, le=MAX_SEED)]
_Slot = Annotated[int, Meta(ge=0, le=SLOTS)]
_Percent = Annotated[float, Meta(gt=0, le=100)]


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that predicts the keys of some slots.

    slots: ranges [start, end), ascending and disjoint.
    """

    version: _Version
    slots: tuple[tuple[_Slot, _Slot], ...]

    @property
    def weight(self) -> float:
        """The share of the slots, in percent."""
        return sum(end - start for start, end in self.slots) * 100 / SLOTS


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that predicts a share of the events in addition, without any effect on predictions.

    sample: the share, greater than 0 and at most 1.
    """

    version: _Version
    sample: Annotated[float, Meta(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """The steps in which a canary grows without further commands, and what each step needs.

    weights: percent, ascending. After the last, the canary is promoted.
    every_s: the least time of a step.
    min_events: the least number of the canary's predictions in a step.
    """

    weights: Annotated[tuple[_Percent, ...], Meta(min_length=1, max_length=100)]
    every_s: Annotated[float, Meta(ge=0, le=1e9)]
    min_events: _Count


@dataclass(frozen=True, slots=True)
class Revision:
    """The complete state of one model's rollout after a change.

    number, based_on: this revision, and the revision that it changes.
    id: identifies the record, so that its author recognises it in the log.
    previous: the version that a rollback without a version returns to.
    seed, route_by: seed of the hash, and the event field that is the routing key; None: the record key, the field `key`,
    or the event's id, the first that exists.
    step: index of the current step's weight.
    rejected: versions that were rolled back. Only a person may use them again.
    digests: manifest digests of the versions.
    automatic: whether Forebay made the change without a person.
    evidence: figures that led to an automatic change.
    """

    model: Annotated[str, Meta(pattern=MODEL_NAME)]
    number: Annotated[int, Meta(ge=1, le=MAX_SEED)]
    based_on: _Count
    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    action: Action
    stable: _Version
    previous: _Version | None
    canaries: tuple[Canary, ...]
    shadows: tuple[Shadow, ...]
    seed: _Count
    route_by: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS * 4)] | None
    steps: StepPolicy | None
    step: _Count
    paused: bool
    rejected: tuple[_Version, ...]
    digests: Mapping[_Version, str]
    author: Annotated[str, Meta(max_length=MAX_AUTHOR_CHARS)]
    automatic: bool
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
    evidence: Mapping[str, object]
    created_ms: Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]

    def versions(self) -> frozenset[int]:
        """Return the versions that this revision needs: stable, canaries and shadows."""
        return frozenset(
            {self.stable, *(canary.version for canary in self.canaries), *(shadow.version for shadow in self.shadows)}
        )

    def encode(self) -> tuple[bytes, bytes]:
        """Return the record's key and value."""
        return self.model.encode(), msgspec.json.encode({"format": ROLLOUT_FORMAT} | msgspec.to_builtins(self))


def initial_revision(model: str, version: int) -> Revision:
    """Return revision 0: the configured version predicts everything."""
    return Revision(
        model=model,
        number=0,
        based_on=0,
        id="",
        action=Action.PROMOTE,
        stable=version,
        previous=None,
        canaries=(),
        shadows=(),
        seed=0,
        route_by=None,
        steps=None,
        step=0,
        paused=False,
        rejected=(),
        digests={},
        author="configuration",
        automatic=False,
        reason="",
        evidence={},
        created_ms=0,
    )


def decode_revision(key: bytes | None, value: bytes | None) -> Revision:
    """Decode a record of the topic `rollouts`. Raises DataError with the place, and nothing else."""
    model = decode_key(key, "revision")
    record = f"revision of model {model[:200]!r}"
    revision = decode_json(require_format(value, ROLLOUT_FORMAT, record), Revision, record)
    if revision.model != model:
        raise DataError(f"{record}: model: {revision.model!r} differs from the record key")
    for problem in _contradictions(revision):
        raise DataError(f"{record}: {problem}")
    return revision


def _contradictions(revision: Revision) -> Iterator[str]:
    """Yield how the fields contradict each other."""
    taken: list[tuple[int, int]] = []
    for index, canary in enumerate(revision.canaries):
        place = f"canaries[{index}]"
        if not canary.slots:
            yield f"{place}.slots: it is empty; a canary needs at least one slot"
        for start, end in canary.slots:
            if start >= end:
                yield f"{place}.slots: [{start}, {end}) is empty; the end must be greater than the start"
        if any(left[1] > right[0] for left, right in pairwise(canary.slots)):
            yield f"{place}.slots: the ranges are not ascending and disjoint"
        taken.extend(canary.slots)
    for left, right in pairwise(sorted(taken)):
        if left[1] > right[0]:
            yield f"canaries: slot {right[0]} belongs to two canaries"
    roles = [("stable", revision.stable)]
    roles += [(f"canaries[{index}]", canary.version) for index, canary in enumerate(revision.canaries)]
    roles += [(f"shadows[{index}]", shadow.version) for index, shadow in enumerate(revision.shadows)]
    first: dict[int, str] = {}
    for place, version in roles:
        if version in first:
            yield f"{place}: version {version} is {first[version]} too"
        first.setdefault(version, place)
    if revision.steps is not None:
        weights = revision.steps.weights
        if any(left >= right for left, right in pairwise(weights)):
            yield "steps.weights: they must be ascending"
        if revision.step >= len(weights):
            yield f"step: {revision.step} is not the index of one of the {len(weights)} weights"
        if len(revision.canaries) != 1:
            yield f"steps: they need exactly one canary, and there are {len(revision.canaries)}"
