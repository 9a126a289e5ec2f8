"""Members whose events have schemas of a registry, which answers late, is down for a while, or has them only later."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from forebay.stream.core.records import Record
from forebay.stream.pipeline.schema_admission import SchemaAdmission
from forebay.stream.schema_registry.schema import SchemaRef
from tests.simulation.lanes import ONE_LANE, LaneOptions
from tests.simulation.member import Member
from tests.simulation.simulation import KEYS, Simulation
from tests.simulation.world import World

ALL: Final = frozenset(range(KEYS))
ANSWER_S: Final = 0.2
RETRY_S: Final = 0.5


class SimulatedRegistry:
    """The schemas that are registered, and whether the registry answers. An event has the schema of its key.

    Events have a header, because only for such records the schema of each one is determined.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.registered: frozenset[int] = frozenset({0})


class SimulatedLookups:
    """Asks the registry for the schemas that are wanted, again and again. What a process knows is lost at its end."""

    def __init__(self, registry: SimulatedRegistry, world: World) -> None:
        self._registry = registry
        self._world = world
        self._known: set[SchemaRef] = set()
        self._wanted: set[SchemaRef] = set()

    def is_resolved(self, ref: SchemaRef) -> bool:
        return ref in self._known

    def is_rejected(self, ref: SchemaRef) -> bool:
        return False

    def problem(self, ref: SchemaRef) -> str | None:
        return None

    def want(self, refs: Collection[SchemaRef]) -> None:
        new = set(refs) - self._wanted
        self._wanted = set(refs)
        for ref in sorted(new, key=str):
            self._later(ref, ANSWER_S)

    def _later(self, ref: SchemaRef, within_s: float) -> None:
        asyncio.get_running_loop().call_later(self._world.rng.random() * within_s, self._ask, ref)

    def _ask(self, ref: SchemaRef) -> None:
        if ref not in self._wanted or ref in self._known:
            return
        if self._registry.is_up and ref.id in self._registry.registered:
            self._known.add(ref)
        else:
            self._later(ref, RETRY_S)


def schema_of(record: Record, _topic: str) -> SchemaRef:
    """Return the schema of a record's key."""
    assert record.key is not None
    return SchemaRef(id=int(record.key[1:]))


class SchemaMember(Member):
    """A member that holds partitions whose schemas it does not know."""

    def _admission(self) -> SchemaAdmission:
        registry = self.cluster.registry
        assert isinstance(registry, SimulatedRegistry)
        lookups = SimulatedLookups(registry, self._world)
        return SchemaAdmission(self.source.held, lookups, ref_of=schema_of, clock=self._world)


class SchemaSimulation(Simulation):
    """Two members with a registry of schemas."""

    member_type = SchemaMember

    def __init__(self, seed: int, lineup: Sequence[LaneOptions] = ONE_LANE, *, has_rollouts: bool = False) -> None:
        super().__init__(seed, lineup, has_rollouts=has_rollouts)
        self.registry = self.cluster.registry = SimulatedRegistry()
        self.cluster.input_headers = (("schema", b""),)

    def heal(self) -> None:
        """Let the registry answer and have all schemas, too."""
        self.registry.is_up, self.registry.registered = True, ALL
        super().heal()
