"""What `forebay check` looks at, one thing after the other: cluster, topics, permissions, model.

Nothing is consumed or produced and no topic or group created, and no step on the network takes longer than its timeout. That
transactions are allowed only a producer can tell: one is started, and sends nothing, under an id of the check's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiokafka.errors import KafkaError, NotCoordinatorForGroupError

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import BrokerError, ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.admin.exposure import EXPOSURE_REMEDY, describe_exposure, exposure_of
from forebay.stream.aggregate.topics import check_aggregator_topics
from forebay.stream.config.sections import KafkaSection, Settings
from forebay.stream.core.retry import fixed, retry
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acl_check import ask_coordinator
from forebay.stream.kafka.cluster.advertised_listeners import unreachable_brokers
from forebay.stream.kafka.cluster.bootstrap import Broker, reach
from forebay.stream.kafka.cluster.topic_plan import output_specs
from forebay.stream.kafka.cluster.topic_timestamps import TIMESTAMPS
from forebay.stream.kafka.cluster.topics import TopicCheck, check_topics
from forebay.stream.kafka.producer.producer import OutputProducer, TransactionSettings
from forebay.stream.kafka.producer.producer import connect as connect_producer
from forebay.stream.kafka.producer.transaction import transactional_id
from forebay.stream.kafka.protocol.authorized_operations import (
    COORDINATOR_RETRY_S,
    Access,
    ClusterView,
    Operation,
    describe_cluster,
)
from forebay.stream.kafka.protocol.broker_release import describe_release

READ_INPUT: Final = (Operation.DESCRIBE, Operation.READ)
WRITE_OUTPUT: Final = (Operation.DESCRIBE, Operation.WRITE)
JOIN_GROUP: Final = (Operation.READ,)

_MISSING_TOPIC: Final = "UnknownTopicOrPartition"
AFTER_BROKER: Final = ("topics", "aggregator", "input", "output", "group", "transactions")
CHECK_INSTANCE: Final = "check"


class Status(StrEnum):
    """How a check ended. WARNING: a worker would run. UNKNOWN: the cluster does not tell. SKIPPED: what it needs failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list. problems: further lines, where one does not do."""

    name: str
    status: Status
    detail: str
    remedy: str | None = None
    problems: tuple[str, ...] = ()


OnCheck = Callable[[Check], None]
PlanWindows = Callable[[Settings, Signature], object]


async def check_cluster(settings: Settings, *, timeout_s: float, on_check: OnCheck) -> None:
    """Broker, topics of workers and aggregator, permissions. Each check goes to `tell` as soon as it is done; nothing that is
    wrong is raised."""
    kafka, prefix = settings.kafka, settings.topics.prefix
    inputs = [topic_name(prefix, topic) for topic in settings.input.topics]
    outputs = [topic_name(prefix, spec.name) for spec in output_specs(settings)]
    try:
        async with reach(kafka, timeout_s=timeout_s) as broker:
            # First of all: an older one does not know the requests that follow.
            if not broker.recent_enough:
                raise BrokerError(
                    f"{broker.address} is older than Kafka 2.5", remedy="upgrade it to Kafka 2.5 or later"
                )
            async with asyncio.timeout(timeout_s):
                seen = await describe_cluster(broker.connection, [*inputs, *outputs])
            check = await _check_brokers(broker, seen, kafka, timeout_s)
            on_check(check)
            if check.status is Status.OK:
                on_check(await _attempt("topics", _check_topics(settings, timeout_s), timeout_s))
                on_check(await _attempt("aggregator", _check_aggregator(settings, timeout_s), timeout_s))
                on_check(_judge("input", topics=inputs, seen=seen, wanted=READ_INPUT, done="read"))
                on_check(_judge("output", topics=outputs, seen=seen, wanted=WRITE_OUTPUT, done="written to"))
                on_check(await _attempt("group", _check_group(broker, kafka, timeout_s), timeout_s))
                on_check(await _attempt("transactions", _check_transactions(settings, timeout_s), timeout_s))
                return
    except (ForebayError, KafkaError, OSError) as error:
        on_check(_failure("broker", error, timeout_s))
    for name in AFTER_BROKER:
        on_check(Check(name, Status.SKIPPED, "the broker must be reached first"))


def check_admin(settings: Settings) -> Check:
    """Judge who may use the admin HTTP."""
    exposure = exposure_of(settings.admin)
    if exposure is not None:
        return Check("admin", Status.WARNING, exposure, EXPOSURE_REMEDY)
    return Check("admin", Status.OK, describe_exposure(settings.admin))


def check_model(settings: Settings, plan_windows: PlanWindows) -> Check:
    """Load the model, check that it fits the settings, and run it with one row and with a full batch.

    plan_windows: as the worker's assembly does it; raises ForebayError if the windows do not fit the model.
    """
    # Only now: torch, which these import, takes its time, and what was found before should be seen meanwhile.
    from forebay.models.artefacts.artefact import load_artefact
    from forebay.models.backends.torch_device import limit_threads, resolve_device
    from forebay.models.serving.served_model import ServedModel

    model, batch = settings.model, settings.batch
    started_s = time.monotonic()
    try:
        limit_threads(model.threads)
        artefact = load_artefact(model.repository, model.name, model.version)
        plan_windows(settings, artefact.manifest.signature)
        served = ServedModel.from_artefact(artefact, resolve_device(model.device))
        served.warm_up([1, batch.max_batch_size])
    except ForebayError as error:
        return Check("model", Status.FAILED, error.message, error.remedy)
    except Exception as error:  # whatever a model raises is the model's fault, and is told as that
        return Check(
            "model",
            Status.FAILED,
            f"{model.name}: the warm-up raised {type(error).__name__}: {error}",
            "publish a version that runs",
        )
    signature, took_s = served.signature, time.monotonic() - started_s
    return Check(
        "model",
        Status.OK,
        f"{served.name} version {served.version} ({signature.task}, {signature.num_features} features) "
        f"on {served.device}, warm in {took_s:.1f} s",
    )


async def _check_brokers(broker: Broker, seen: ClusterView, kafka: KafkaSection, timeout_s: float) -> Check:
    problems = await unreachable_brokers(broker, seen.brokers, client_options(kafka), timeout_s=timeout_s)
    if problems:
        return Check(
            "broker",
            Status.FAILED,
            detail=f"{broker.address} answers, but the cluster names brokers that do not",
            remedy=problems[0].remedy,
            problems=tuple(problem.message for problem in problems),
        )
    count = f"{len(seen.brokers)} broker{'' if len(seen.brokers) == 1 else 's'}"
    async with asyncio.timeout(timeout_s):
        release = await describe_release(broker.connection)
    login = "" if kafka.sasl_mechanism is None else f", logged in by {kafka.sasl_mechanism}"
    return Check("broker", Status.OK, f"{broker.address} ({kafka.security_protocol}{login}), {count}, {release}")


async def _check_topics(settings: Settings, timeout_s: float) -> Check:
    return _told("topics", await check_topics(settings, timeout_s=timeout_s))


async def _check_aggregator(settings: Settings, timeout_s: float) -> Check:
    return _told("aggregator", await check_aggregator_topics(settings, timeout_s=timeout_s))


def _told(name: str, checked: TopicCheck) -> Check:
    findings = [finding for finding in checked.findings if finding.severity != "note"]
    # Of the notes only what the worker's behaviour rests on; `forebay topics check` prints all of them.
    notes = [
        f"{one.topic}: {one.message}" for one in checked.findings if (one.severity, one.kind) == ("note", TIMESTAMPS)
    ]
    if not findings:
        good = f"{', '.join(topic.name for topic in checked.wanted)}: as they should be"
        return Check(name, Status.OK, good, problems=tuple(notes))
    remedies = {finding.remedy for finding in findings}
    shared = remedies.pop() if len(remedies) == 1 else None
    problems = (
        f"{finding.topic}: {finding.message}"
        + (f" ({finding.remedy})" if finding.remedy and finding.remedy != shared else "")
        for finding in findings
    )
    wrong = len({finding.topic for finding in findings})
    return Check(
        name,
        Status.FAILED if checked.errors else Status.WARNING,
        detail=f"{wrong} of {len(checked.wanted)} topics are not as they should be",
        remedy=shared,
        problems=(*problems, *notes),
    )


def _judge(name: str, topics: Sequence[str], seen: ClusterView, wanted: Collection[Operation], done: str) -> Check:
    """Whether those of these topics that are there may be used; that one is missing is another check's to tell."""
    accesses = {topic: seen.topics.get(topic, Access(_MISSING_TOPIC, None)) for topic in topics}
    there = {topic: access for topic, access in accesses.items() if access.error != _MISSING_TOPIC}
    problems = [problem for topic, access in there.items() if (problem := _problem(topic, access, wanted))]
    if problems:
        return Check(
            name,
            Status.FAILED,
            detail=f"{len(problems)} of {len(topics)} topics cannot be {done}",
            remedy=f"allow this client {' and '.join(operation.name for operation in wanted)} on them",
            problems=tuple(problems),
        )
    if len(there) < len(topics):
        return Check(name, Status.SKIPPED, f"{', '.join(topic for topic in topics if topic not in there)}: not there")
    told = ", ".join(topics)
    if any(access.allowed is None for access in there.values()):
        return Check(name, Status.UNKNOWN, f"{told}: the broker does not report whether they may be {done}")
    return Check(name, Status.OK, f"{told}: may be {done}")


def _problem(what: str, access: Access, wanted: Collection[Operation]) -> str | None:
    if access.error is not None:
        return f"{what}: {access.error}"
    missing = access.missing(wanted)
    return f"{what}: not allowed: {', '.join(operation.name for operation in missing)}" if missing else None


async def _check_group(broker: Broker, kafka: KafkaSection, timeout_s: float) -> Check:
    access = await retry(
        lambda: ask_coordinator(broker, kafka, kafka.group_id, timeout_s=timeout_s),
        should_retry=lambda error, _failures: isinstance(error, NotCoordinatorForGroupError),
        wait_s=fixed(COORDINATOR_RETRY_S),
    )
    problem = _problem(kafka.group_id, access, JOIN_GROUP)
    if problem is not None:
        return Check("group", Status.FAILED, problem, "allow this client READ on the group, or set kafka.group_id")
    if access.allowed is None:
        return Check("group", Status.UNKNOWN, f"{kafka.group_id}: the broker does not report whether it may be joined")
    return Check("group", Status.OK, f"{kafka.group_id}: may be joined")


async def _check_transactions(settings: Settings, timeout_s: float) -> Check:
    if settings.delivery.processing_guarantee == "at_least_once":
        return Check("transactions", Status.SKIPPED, "none: delivery.processing_guarantee is at_least_once")
    own = transactional_id(settings, CHECK_INSTANCE)
    producer = OutputProducer(
        client_options(settings.kafka),
        compression_type=None,
        max_batch_bytes=settings.output.max_request_size,
        transactional=TransactionSettings(own, settings.delivery.transaction_timeout_ms),
    )
    try:
        await connect_producer(producer, settings.kafka.bootstrap_servers, timeout_s=timeout_s)
    finally:
        await producer.stop(timeout_s=1.0)
    return Check("transactions", Status.OK, f"{own.removesuffix(CHECK_INSTANCE)}*: may be used as transactional ids")


async def _attempt(name: str, check: Awaitable[Check], timeout_s: float) -> Check:
    try:
        async with asyncio.timeout(timeout_s):
            return await check
    except (ForebayError, KafkaError, OSError) as error:
        return _failure(name, error, timeout_s)


def _failure(name: str, error: Exception, timeout_s: float) -> Check:
    if isinstance(error, ForebayError):
        return Check(name, Status.FAILED, error.message, error.remedy)
    if isinstance(error, TimeoutError):
        return Check(name, Status.FAILED, f"no answer within {timeout_s:g} s", "see that the cluster is healthy")
    return Check(name, Status.FAILED, str(error) or type(error).__name__, "see the broker's log")
