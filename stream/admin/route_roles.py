"""Which roles open which paths of the admin API. A path that is not listed here is closed to every principal. Pure."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from forebay.stream.access.roles import Role

_OF_A_PROCESS: Final = re.compile(r"^/processes/[0-9]{1,4}/", re.ASCII)
"""The prefix of the paths of one of several workers (see `supervisor`), which are protected like those of a single one."""
PAGE_PREFIX: Final = "/page/"
_PAGE_FILE: Final = re.compile("/page/[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_OPEN_PATHS: Final = frozenset(("/", "/healthz", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"))
_READING: Final = frozenset(("GET", "HEAD"))
_MODEL: Final = "/v2/models/[^/]+(?:/versions/[^/]+)?"
_ROLES: Final = tuple(
    (methods, re.compile(path), roles)
    for methods, path, roles in (
        (_READING, "/(?:metrics|status|models|rollouts|drift|quality|quality[.]html)", {Role.LOOK}),
        (_READING, f"/v2|{_MODEL}(?:/ready)?", {Role.LOOK, Role.PREDICT}),
        ({"POST"}, f"/predict|{_MODEL}/infer", {Role.PREDICT}),
        ({"POST"}, "/pause|/resume", {Role.OPERATE}),
        ({"POST"}, "/edge/reports", {Role.REPORT}),
    )
)


def is_open(path: str) -> bool:
    """Return whether a path needs no token: the probes, and the page with its files, which contain no data themselves."""
    path = _OF_A_PROCESS.sub("/", path)
    # A supervisor passes paths on, so `/page/../pause` must not be open.
    return path in _OPEN_PATHS or _PAGE_FILE.fullmatch(path) is not None


def roles_for(method: str, path: str) -> Set[Role]:
    """Return the roles that open a path to a principal, who needs one of them; none if no role does. path: decoded."""
    path = _OF_A_PROCESS.sub("/", path)
    for methods, pattern, roles in _ROLES:
        if method in methods and pattern.fullmatch(path):
            return roles
    return frozenset()
