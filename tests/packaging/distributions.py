"""What a distribution declares and contains, and environments that consist of exactly the declared distributions.

Such an environment links to what is installed here, so it takes neither a download nor disk space. Anything undeclared is
missing from it, as it would be after `pip install`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from email.parser import HeaderParser
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALLERS = frozenset({"pip", "setuptools"})


def wheel_requirements(wheel: Path) -> list[Requirement]:
    """Return the requirements in the metadata of a wheel, those of its extras included."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(name).decode())
    return [Requirement(line) for line in headers.get_all("Requires-Dist", [])]


def declared(requirements: Iterable[Requirement], extra: str = "") -> dict[str, Requirement]:
    """Return those that hold here with `extra`, or without any, by canonical name."""
    return {
        canonicalize_name(each.name): each
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": extra})
    }


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the canonical names of everything that these requirements bring with them."""
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(each.name), extra) for each in requirements for extra in ("", *each.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for needed in declared([Requirement(line) for line in distribution(name).requires or []], extra).values():
            waiting += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    return {name for name, _ in seen}


def link(names: Collection[str], site_packages: Path) -> None:
    """Link everything that the distributions `names` installed here into the folder `site_packages`.

    A folder shared by several distributions, such as `opentelemetry` or `google`, is created as a new folder with only the
    parts of the named ones.
    """
    owners = _owners()
    for path, owned_by in sorted(owners.items()):
        parent_is_linked = path.parent in owners and len(owners[path.parent]) == 1
        if parent_is_linked or owned_by.isdisjoint(names):
            continue
        target = site_packages / path
        if len(owned_by) == 1:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(_site(next(iter(owned_by))) / path)


def providers(modules: Iterable[str]) -> Mapping[str, str]:
    """Return the distribution that each module comes from, by the module's full name."""
    owners = _owners()
    found = {}
    for module in modules:
        path = Path(*module.split("."))
        candidates = (path / "__init__.py", path.with_suffix(".py"), path)
        for candidate in candidates:
            if len(owners.get(candidate, ())) == 1:
                (found[module],) = owners[candidate]
                break
    return found


@cache
def _owners() -> dict[Path, set[str]]:
    """Return every file and folder of site-packages, with the distributions that installed something there."""
    owners: defaultdict[Path, set[str]] = defaultdict(set)
    for installed in distributions():
        name = canonicalize_name(installed.name)
        for file in installed.files or []:
            path = Path(file)
            if path.parts[0] == "..":  # programs
                continue
            owners[path].add(name)
            for parent in path.parents[:-1]:
                owners[parent].add(name)
    return owners


def _site(name: str) -> Path:
    installed: Distribution = distribution(name)
    return Path(str(installed.locate_file("")))
