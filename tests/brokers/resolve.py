"""The choice of a real Kafka for this session: a configured one, one from Maven, or one in a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tests.brokers.apache import ApacheKafka
from tests.brokers.jars import KAFKA_VERSION, Unavailable, cache_folder, fetch_jars, find_java
from tests.brokers.prepared import prepare


class RealKafka(Protocol):
    """A Kafka of this session, which tests may stop and kill."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def version(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def remove(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a real Kafka. named: the address of a running one; then `make` is None."""

    description: str
    named: str | None = None
    make: Callable[[Path, Mapping[str, str]], RealKafka] | None = None
    make_cluster: Callable[[Path, int, Mapping[str, str]], ApacheKafka] | None = None


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker for tests."""

    kind: Literal["apache", "embedded"]
    bootstrap: str
    description: str


def resolve_named(environ: Mapping[str, str]) -> Source:
    """Return the Kafka at `FOREBAY_TEST_BOOTSTRAP`. Raises Unavailable if it is not set."""
    named = environ.get("FOREBAY_TEST_BOOTSTRAP", "").strip()
    if not named:
        raise Unavailable("FOREBAY_TEST_BOOTSTRAP is not set")
    return Source(f"the Kafka at {named}, from FOREBAY_TEST_BOOTSTRAP", named=named)


def resolve_maven(environ: Mapping[str, str]) -> Source:
    """Return Kafka from its Maven artefacts, which are fetched the first time. Raises Unavailable."""
    java, java_version = find_java(environ)
    cache = cache_folder(environ)
    jars = fetch_jars(cache)
    prepared = prepare(cache, jars, java=java, java_version=java_version)

    def make_cluster(folder: Path, brokers: int, settings: Mapping[str, str]) -> ApacheKafka:
        return ApacheKafka(jars, folder, java=java, brokers=brokers, settings=settings, prepared=prepared)

    return Source(
        f"Apache Kafka {KAFKA_VERSION} from its Maven artefacts, Java {java_version}",
        make=lambda folder, settings: make_cluster(folder, 1, settings),
        make_cluster=make_cluster,
    )


def resolve_docker(environ: Mapping[str, str]) -> Source:
    """Return Kafka in a container. Raises Unavailable."""
    # Imported only here: the import searches for an engine's configuration and takes half a second.
    from tests.brokers.containers import ContainerKafka, require_engine

    require_engine()
    return Source(
        f"Apache Kafka {KAFKA_VERSION} in a container",
        make=lambda _folder, settings: ContainerKafka(settings=settings),
    )


def resolve_own(environ: Mapping[str, str]) -> Source:
    """Start a Kafka for this session. Raises Unavailable with all reasons if that is not possible."""
    return _first(environ, resolve_maven, resolve_docker)


def resolve(environ: Mapping[str, str]) -> Source:
    """Return the real Kafka for tests. Raises Unavailable with all reasons if none is available."""
    return _first(environ, resolve_named, resolve_maven, resolve_docker)


def _first(environ: Mapping[str, str], *resolvers: Callable[[Mapping[str, str]], Source]) -> Source:
    reasons = []
    for resolver in resolvers:
        try:
            return resolver(environ)
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable("; ".join(reasons))
