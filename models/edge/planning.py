"""Build the graphs of versions and plan them: the part of planning that reads models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from forebay.models.artefacts.artefact import StoredVersion, read_artefact, read_version
from forebay.models.artefacts.repository import list_versions, split_reference
from forebay.models.edge.limits import Limits
from forebay.models.edge.operation_counts import count_operations
from forebay.models.edge.plan import Load, PlannedVersion, plan_version
from forebay.models.edge.single_graph import single_graph
from forebay.models.edge.unit_costs import UnitCosts
from forebay.schemas.errors import ModelError


def chosen_versions(repository: Path | str, references: Iterable[str]) -> list[StoredVersion]:
    """Return all versions of each NAME, and the one of each NAME@VERSION or NAME@ALIAS. Raises ModelError."""
    found: dict[tuple[str, int], StoredVersion] = {}
    for reference in references:
        name, version = split_reference(reference)
        numbers: list[int | str | None] = [version] if version is not None else [*list_versions(repository, name)]
        for number in numbers or [None]:
            stored = read_version(repository, name, number)
            found.setdefault((name, stored.manifest.version), stored)
    return list(found.values())


def plan_versions(
    versions: Iterable[StoredVersion],
    costs: UnitCosts,
    *,
    limits: Limits,
    load: Load,
    on_version: Callable[[str], None] | None = None,
) -> list[PlannedVersion]:
    """Return the plan of each version. on_version: called with each reference before its graph is built."""
    planned = []
    for stored in versions:
        manifest = stored.manifest
        about = manifest.provenance
        reference = f"{manifest.name}@{manifest.version}"
        if on_version is not None:
            on_version(reference)
        version = PlannedVersion(manifest.name, manifest.version, about.parent, dict(about.metrics))
        try:
            graph = single_graph(read_artefact(stored))
        except ModelError as error:
            planned.append(replace(version, refused=error.message))
            continue
        version = replace(version, model_bytes=len(graph))
        planned.append(plan_version(version, count_operations(graph), costs, limits=limits, load=load))
    return planned
