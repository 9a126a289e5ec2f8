"""Brokers and names for every test.

A test that uses the fixture `kafka`, `private_kafka`, `module_kafka` or `kafka_cluster` is automatically marked `kafka`, and a
test that uses `embedded_broker` is marked `embedded`. If no real Kafka is available, the tests that need one are left out and
the summary gives the reason; with CI=true, the run fails. `make test` distributes the tests to several processes, each with its
own brokers (see `tests/distribution.py`); the main process summarises their reports on brokers.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from tests.brokers.apache import ApacheKafka
from tests.brokers.jars import Unavailable
from tests.brokers.ready import answers
from tests.brokers.report import BrokerReport
from tests.brokers.resolve import Broker, RealKafka, Source, resolve, resolve_maven, resolve_own
from tests.brokers.shared import VARIABLE, SharedKafka, resolve_shared
from tests.distribution import Scheduling, check_that_they_share_nothing, slow_first
from tests.torch_exporter import remember_translations

pytest_plugins = ["tests.registry.fixtures", "tests.worker.fixtures"]

# The fixtures with a real Kafka, the most demanding first, and the functions that find one for them.
_NEEDS: Mapping[str, Callable[[Mapping[str, str]], Source]] = {
    "kafka_cluster": resolve_maven,
    "private_kafka": resolve_own,
    "module_kafka": resolve_own,
    "kafka": resolve,
}


# Unless this module is missing, jsonschema compiles its grammars as it is imported, which takes seconds in each process. They
# check IRIs, which only the bill of materials contains; a test of it starts a process.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

EXAMPLES = int(os.environ.get("FOREBAY_EXAMPLES", "40"))
"""The number of examples of properties that state none. Each run has others; use 1000 or more for a thorough run."""


def examples(count: int) -> int:
    """Return the number of examples of a property that needs `count` by default, in proportion to `EXAMPLES`."""
    return max(1, count * EXAMPLES // 40)


_REPORT = pytest.StashKey[BrokerReport]()
_SHARED = pytest.StashKey[str | None]()


def pytest_configure(config: pytest.Config) -> None:
    # The time of an example means nothing, because brokers and workers share the machine's cores.
    hypothesis.settings.register_profile(
        "forebay",
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("forebay")
    config.stash[_REPORT] = BrokerReport()
    # Brokers that run for about a minute are faster with only the quick compiler.
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
    if _is_one_of_several(config):
        # Keep this process and the workers that it starts from using all cores.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Not for a pytest that a test starts.
    config.stash[_SHARED] = os.environ.pop(VARIABLE, None)


def _is_one_of_several(config: pytest.Config) -> bool:
    """Return whether this process runs only a part of the tests, distributed by pytest-xdist."""
    return hasattr(config, "workerinput")


def _runs_everything_in_several(config: pytest.Config) -> bool:
    """Return whether this is the main process of a run of the whole suite by pytest-xdist."""
    several = bool(getattr(config.option, "numprocesses", None)) and not _is_one_of_several(config)
    return several and config.args_source is pytest.Config.ArgsSource.TESTPATHS


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, object, object]:
    config = session.config
    if not _runs_everything_in_several(config) or os.environ.get("FOREBAY_TEST_BOOTSTRAP"):
        return (yield)
    kafka = SharedKafka()
    config.add_cleanup(kafka.remove)
    result = yield  # starts the other processes
    kafka.start(os.environ)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from ten thousand tests and all modules: each pass over them takes a second."""
    gc.disable()
    try:
        result = yield
        remember_translations()
        return result
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if not fixtures.isdisjoint(_NEEDS):
            item.add_marker("kafka")
        if "embedded_broker" in fixtures:
            item.add_marker("embedded")
    check_that_they_share_nothing(items)
    if _is_one_of_several(config):
        slow_first(items)
    result = yield  # -m and -k deselect tests here, so that Kafka is downloaded only if a remaining test needs it
    if not config.option.collectonly:
        _leave_out_what_cannot_run(config, items)
    return result


def _leave_out_what_cannot_run(config: pytest.Config, items: list[pytest.Item]) -> None:
    report = config.stash[_REPORT]
    wanting: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("kafka"):
            fixtures = getattr(item, "fixturenames", ())
            need = next((need for need in _NEEDS if need in fixtures), "kafka")
            wanting.setdefault(need, []).append(item)
    left_out: list[pytest.Item] = []
    for need, tests in wanting.items():
        try:
            shared = config.stash[_SHARED] if need == "kafka" else None
            report.sources[need] = resolve_shared(Path(shared)) if shared else _NEEDS[need](os.environ)
        except Unavailable as error:
            report.left_out[str(error)] += len(tests)
            left_out += tests
    if left_out:
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # A crashed process has not sent a report.
    if document := getattr(node, "workeroutput", {}).get("brokers"):
        node.config.stash[_REPORT].add(document)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _is_one_of_several(session.config):
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        output["brokers"] = session.config.stash[_REPORT].as_document()
    elif session.config.stash[_REPORT].missing_in_ci():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if not report.used and not report.left_out:
        return
    terminalreporter.section("brokers")
    for line in report.used:
        terminalreporter.line(f"used: {line}")
    for reason, count in report.left_out.items():
        terminalreporter.line(
            f"LEFT OUT: {count} tests that need a real Apache Kafka; none is available: {reason}", yellow=True
        )
    if report.missing_in_ci():
        terminalreporter.line("FAILED: with CI=true a missing real Kafka is a failure", red=True, bold=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka, shared by the whole session: do not stop it, and use names from `names`."""
    report = request.config.stash[_REPORT]
    source = report.sources["kafka"]
    if source.named is not None:
        host, _, port = source.named.split(",")[0].rpartition(":")
        if not port.isdigit() or not answers(host, int(port)):
            pytest.fail(f"{source.description}, does not answer", pytrace=False)
        report.used[source.description] = None
        yield Broker("apache", source.named, source.description)
        return
    assert source.make is not None
    folder = tmp_path_factory.mktemp("kafka") / "nodes"
    server = source.make(folder, {})
    try:
        server.start()
        report.used[f"{source.description}, at {server.bootstrap}, logs under {folder}"] = None
        yield Broker("apache", server.bootstrap, source.description)
    finally:
        server.remove()


@pytest.fixture
def private_kafka(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Mapping[str, str]], RealKafka]]:
    """`private_kafka({"setting": "value"})` starts a real Kafka for this test only, which it may stop, kill and restart."""
    with _own_brokers(request.config.stash[_REPORT], "private_kafka", tmp_path, "a test") as start:
        yield start


@pytest.fixture(scope="module")
def module_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Mapping[str, str]], RealKafka]]:
    """As `private_kafka`, but shared by the tests of one module. Each test must leave the broker running."""
    with _own_brokers(
        request.config.stash[_REPORT], "module_kafka", tmp_path_factory.mktemp("module"), "the tests of a module"
    ) as start:
        yield start


@contextmanager
def _own_brokers(
    report: BrokerReport, need: str, folder: Path, owner: str
) -> Iterator[Callable[[Mapping[str, str]], RealKafka]]:
    source = report.sources[need]
    assert source.make is not None
    make = source.make
    servers: list[RealKafka] = []

    def start(settings: Mapping[str, str]) -> RealKafka:
        server = make(folder / f"kafka-{len(servers) + 1}", settings)
        servers.append(server)
        server.start()
        report.used[f"{source.description}, private to {owner}"] = None
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.remove()


@pytest.fixture
def kafka_cluster(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[int, Mapping[str, str]], ApacheKafka]]:
    """`kafka_cluster(3, {})` starts a cluster of three real brokers for this test; each can be killed by its index."""
    report = request.config.stash[_REPORT]
    source = report.sources["kafka_cluster"]
    assert source.make_cluster is not None
    make_cluster = source.make_cluster
    clusters: list[ApacheKafka] = []

    def start(brokers: int, settings: Mapping[str, str]) -> ApacheKafka:
        cluster = make_cluster(tmp_path / f"cluster-{len(clusters) + 1}", brokers, settings)
        clusters.append(cluster)
        cluster.start()
        report.used[f"{source.description}, {brokers} brokers for a test"] = None
        return cluster

    try:
        yield start
    finally:
        for cluster in clusters:
            cluster.remove()


@pytest.fixture(scope="session")
def embedded_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The embedded broker, one for the session."""
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        description = f"embedded {broker_version()}"
        request.config.stash[_REPORT].used[description] = None
        yield Broker("embedded", broker.bootstrap_servers, description)
    finally:
        asyncio.run(broker.stop())


@pytest.fixture(
    params=[
        pytest.param("embedded_broker", id="embedded", marks=pytest.mark.embedded),
        pytest.param("kafka", id="apache", marks=pytest.mark.kafka),
    ]
)
def broker(request: pytest.FixtureRequest) -> Broker:
    """The embedded broker and the real one in turn: the test runs on both."""
    running: Any = request.getfixturevalue(request.param)
    assert isinstance(running, Broker)
    return running


on_embedded = pytest.mark.parametrize(
    "broker", [pytest.param("embedded_broker", id="embedded", marks=pytest.mark.embedded)], indirect=True
)
"""For tests with `broker` of what does not depend on it: a second run on a real one would take long and show nothing new."""

on_apache = pytest.mark.parametrize(
    "broker", [pytest.param("kafka", id="apache", marks=pytest.mark.kafka)], indirect=True
)
"""For tests with `broker` of what a real Kafka decides, and which take long."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names that no other test uses: `names("features")` is always the same within a test."""

    prefix: str

    def __call__(self, name: str) -> str:
        return f"{self.prefix}-{name}"


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Names:
    """Names of topics, groups and transactional ids for this test only."""
    return Names(f"t{uuid.uuid4().hex[:10]}")
