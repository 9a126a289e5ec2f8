"""The distribution of tests to the processes of `make test`, by pytest-xdist with `--dist loadfile`.

Tests are distributed by file, so that the tests of a module share its fixtures. Only the tests of the longest files, which
share nothing and mostly wait, are distributed one by one. Slow tests come first, so that the run does not end with a wait for
one that began late.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ONE_BY_ONE: Final = frozenset(
    {
        "tests/aggregate/test_exact.py",
        "tests/contract/test_broker.py",
        "tests/contract/test_known_differences.py",
        "tests/dlq/test_dlq_command.py",
        "tests/exactness/test_refused.py",
        "tests/exactness/test_zombies.py",
        "tests/harness/test_resolve.py",
        "tests/worker/test_worker.py",
    }
)

TOGETHER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tests/config/test_acls.py": "tests/config/test_secure_kafka.py",  # one broker with access control lists
        "tests/test_code_size.py": "tests/test_language.py",  # one set of syntax trees
        "tests/test_architecture.py": "tests/test_language.py",
    }
)
"""Files whose tests run in the process of those of another file, whose fixtures or caches they share."""


class Scheduling(LoadScopeScheduling):
    """Distributes tests in the order of collection (see `slow_first`) instead of by the number of tests in a file."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return nodeid if file in ONE_BY_ONE else TOGETHER.get(file, file)


def slow_first(items: list[pytest.Item]) -> None:
    """Sort slow tests, and files that contain any, before all others, followed by tests that need a broker."""
    slow = {item.path for item in items if item.get_closest_marker("slow") and not _goes_alone(item)}

    def rank(item: pytest.Item) -> int:
        if item.path in slow or item.get_closest_marker("slow"):
            return 0
        return 1 if item.get_closest_marker("kafka") or item.get_closest_marker("embedded") else 2

    items.sort(key=rank)


def check_that_they_share_nothing(items: list[pytest.Item]) -> None:
    """Raise UsageError if tests that are distributed one by one use a module's fixture: each process would create it."""
    for item in items:
        info: Any = getattr(item, "_fixtureinfo", None)
        if info is None or not _goes_alone(item):
            continue
        for name, definitions in info.name2fixturedefs.items():
            # Names with a leading underscore belong to pytest and its plugins.
            if not name.startswith("_") and any(one.scope in ("class", "module", "package") for one in definitions):
                raise pytest.UsageError(
                    f"{item.nodeid} uses {name}, a fixture that its whole module shares: remove the file from "
                    "ONE_BY_ONE in tests/distribution.py"
                )


def _goes_alone(item: pytest.Item) -> bool:
    return item.nodeid.split("::", 1)[0] in ONE_BY_ONE
