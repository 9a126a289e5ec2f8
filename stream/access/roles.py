"""Roles of the admin API: what a principal may do there besides asking models. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from forebay.stream.access.rules import Pattern, principal_problem


class Role(StrEnum):
    """A role of the admin API.

    LOOK: read status, metrics and reports.
    PREDICT: ask models that the rules permit.
    OPERATE: pause and resume.
    REPORT: send the counts of a device at the edge.
    """

    LOOK = "look"
    PREDICT = "predict"
    OPERATE = "operate"
    REPORT = "report"


class RoleRules:
    """The roles of principals. roles_of: names of roles by pattern of principals, as in `Rules`."""

    def __init__(self, roles_of: Mapping[str, Iterable[str]]) -> None:
        self._roles: list[tuple[Pattern, frozenset[Role]]] = []
        for principals, names in roles_of.items():
            if (problem := principal_problem(principals)) is not None:
                raise ValueError(f"{principals!r} {problem}")
            self._roles.append((Pattern.parse(principals), frozenset(map(Role, names))))

    def roles_of(self, principal: str) -> frozenset[Role]:
        """Return the roles of all rules that match the principal."""
        return frozenset().union(*(roles for pattern, roles in self._roles if pattern.matches(principal)))
