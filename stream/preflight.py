"""The checks of `forebay check`: cluster, topics, permissions, admin API and models.

The checks consume and produce nothing, create no topics or groups, and limit each step on the network by a timeout. Only a
producer can find out whether transactions are permitted, so one is started with an id for checks; it sends nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError, NotCoordinatorForGroupError

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import BrokerError, ForebayError
from forebay.schemas.topics import FEATURES, ROLLOUTS, topic_name
from forebay.stream.admin.exposure import EXPOSURE_REMEDY, describe_exposure, exposure_of
from forebay.stream.aggregate.rule_subjects import rules_without_subject
from forebay.stream.aggregate.topics import check_aggregator_topics
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import KafkaSection, SchemaRegistrySection, Settings, WindowSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.quantities import quantity
from forebay.stream.core.retry import fixed, retry
from forebay.stream.evaluate.topics import check_evaluator_topics
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acl_check import ask_coordinator
from forebay.stream.kafka.cluster.advertised_listeners import unreachable_brokers
from forebay.stream.kafka.cluster.bootstrap import Broker, bootstrap_connection
from forebay.stream.kafka.cluster.topic_plan import plan_topics
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
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.subjects import refuse_rules

if TYPE_CHECKING:
    from forebay.stream.inference.loading import ModelLoader

READ_INPUT: Final = (Operation.DESCRIBE, Operation.READ)
WRITE_OUTPUT: Final = (Operation.DESCRIBE, Operation.WRITE)
JOIN_GROUP: Final = (Operation.READ,)

_MISSING_TOPIC: Final = "UnknownTopicOrPartition"
AFTER_BROKER: Final = ("topics", "aggregator", "input", "output", "group", "transactions")
CHECK_INSTANCE: Final = "check"


class Status(StrEnum):
    """The result of a check.

    WARNING: a worker would run.
    UNKNOWN: the cluster does not report it.
    SKIPPED: an earlier check that it depends on failed.
    """

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, shown as one line. problems: further lines."""

    name: str
    status: Status
    detail: str
    remedy: str | None = None
    problems: tuple[str, ...] = ()


OnCheck = Callable[[Check], None]
PlanWindows = Callable[[WindowSection, Signature, ModelRef, str], object]


async def check_cluster(settings: Settings, *, timeout_s: float, on_check: OnCheck) -> None:
    """Check the brokers, the topics of workers, aggregator and evaluator, and the permissions. Never raises for what it finds.

    on_check: called with each result as soon as it is known.
    """
    kafka, prefix = settings.kafka, settings.topics.prefix
    inputs = [topic_name(prefix, topic) for topic in settings.input.topics]
    if settings.rollouts.enabled:
        inputs.append(topic_name(prefix, ROLLOUTS.name))  # a worker also follows its revisions
    outputs = [topic.name for topic in plan_topics(settings) if topic.spec is not FEATURES]
    try:
        async with bootstrap_connection(kafka, timeout_s=timeout_s) as broker:
            # Check this first: older brokers do not support the requests that follow.
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
                on_check(_check_access("input", topics=inputs, seen=seen, wanted=READ_INPUT, done="read"))
                on_check(_check_access("output", topics=outputs, seen=seen, wanted=WRITE_OUTPUT, done="written to"))
                on_check(await _attempt("group", _check_group(broker, kafka, timeout_s), timeout_s))
                on_check(await _attempt("transactions", _check_transactions(settings, timeout_s), timeout_s))
                if settings.evaluate.enabled:
                    on_check(await _attempt("evaluator", _check_evaluator(settings, timeout_s), timeout_s))
                return
    except (ForebayError, KafkaError, OSError) as error:
        on_check(_failure("broker", error, timeout_s))
    for name in (*AFTER_BROKER, *["evaluator"] * settings.evaluate.enabled):
        on_check(Check(name, Status.SKIPPED, "the broker must be reached first"))


def check_admin(settings: Settings) -> Check:
    """Check who can use the admin API."""
    exposure = exposure_of(settings.admin, has_roles=settings.access.admin)
    if exposure is not None:
        return Check("admin", Status.WARNING, exposure, EXPOSURE_REMEDY)
    return Check("admin", Status.OK, describe_exposure(settings.admin, has_roles=settings.access.admin))


async def check_schema_registry(section: SchemaRegistrySection) -> Check | None:
    """Check that the schema registry answers, and that the configured subjects can be read; None without a registry."""
    name = "schemas"
    if not section.urls:
        return None
    try:
        async with open_registry(section) as client:
            num_subjects = len(await client.subjects())
            found, problems = [], []
            for subject in section.subjects:
                try:
                    schema = await client.latest(subject)
                    refuse_rules(schema, subject)
                    found.append(f"{subject} version {schema.version} ({schema.type})")
                except (SchemaNotFound, SchemaInvalid) as error:
                    problems.append(error.description)
            answer = f"{client.shown_urls} answers, with {quantity(num_subjects, 'subject')}"
    except ForebayError as error:
        return Check(name, Status.FAILED, error.message, error.remedy)
    if problems:
        remedy = "correct schema_registry.subjects, or register the schemas"
        return Check(name, Status.FAILED, answer, remedy=remedy, problems=tuple(problems))
    return Check(name, Status.OK, "; ".join([answer, *found]))


def check_alert_rules(settings: Settings) -> Check:
    """Check that alert rules are about slices, columns and models that there are."""
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.artefacts.reference_statistics import ReferenceStatistics
    from forebay.stream.drift.bins import model_bins

    rules = settings.aggregate.alerts
    columns: dict[str, Collection[str]] = {}
    for served in settings.models_to_serve() if any(rule.column is not None for rule in rules) else ():
        model = served.model
        try:
            manifest = read_version(model.repository, model.name, model.version).manifest
        except ForebayError:
            continue  # a finding of another check
        statistics = manifest.provenance.reference_statistics
        reference = None if statistics is None else ReferenceStatistics.from_dict(statistics)
        bins = model_bins(manifest.signature, reference, ignored=settings.drift.ignored_columns)
        columns[model.name] = [column.name for column in bins.columns]
    problems = tuple(rules_without_subject(settings, columns))
    if problems:
        detail = f"{quantity(len(rules), 'rule')}; these can never fire:"
        remedy = "correct aggregate.alerts, or the settings"
        return Check("alerts", Status.WARNING, detail, remedy=remedy, problems=problems)
    return Check("alerts", Status.OK, quantity(len(rules), "rule"))


def check_models(settings: Settings, plan_windows: PlanWindows) -> Iterator[Check]:
    """Load each model, check that it fits its settings, and warm it up with micro-batches of all sizes.

    plan_windows: as in the worker's assembly; raises ForebayError if the windows do not fit the model.
    """
    from forebay.stream.inference.loading import ModelLoader
    from forebay.stream.telemetry.load_meter import load_meter

    models = settings.models_to_serve()
    loader = ModelLoader(models, settings.trust, load_meter())

    def checked(name: str, served: ServedModelSettings) -> Check:
        return _check_model(name, served, plan_windows, loader=loader, counts_drift=settings.drift.enabled)

    for index, served in enumerate(models):
        if not settings.models:
            yield checked("model", served)
            continue
        check = checked(f"models[{index}]", served)
        topics = ", ".join(topic_name(settings.topics.prefix, topic) for topic in served.topics)
        default = "; the default model" if index == 0 else ""
        takes = f"; takes the events of {topics}" if topics else "; takes only events that name it"
        yield replace(check, detail=f"{check.detail}{default}{takes}") if check.status is Status.OK else check


def _check_model(
    name: str, settings: ServedModelSettings, plan_windows: PlanWindows, *, loader: ModelLoader, counts_drift: bool
) -> Check:
    from forebay.models.artefacts.artefact import read_version
    from forebay.models.serving.warm_up import warm_up_sizes
    from forebay.stream.inference.decision import decision_layer

    model, batch = settings.model, settings.batch
    started_s = time.monotonic()
    try:
        stored = read_version(model.repository, model.name, model.version)
        ref = ModelRef(model.name, stored.manifest.version)
        plan_windows(settings.window, stored.manifest.signature, ref, settings.window_section)
        own_threshold = stored.manifest.threshold
        decision_layer(
            settings.decision,
            stored.manifest.signature,
            ref,
            settings.decision_section,
            own_threshold=own_threshold,
        )
        served = loader.load_version(stored, settings)
        if not model.has_budget:  # which has been measured after a warm-up
            served.warm_up(warm_up_sizes(batch.max_batch_size))
    except ForebayError as error:
        return Check(name, Status.FAILED, error.message, error.remedy)
    except Exception as error:  # every error that a model raises is reported as the model's
        return Check(
            name,
            Status.FAILED,
            f"{model.name}: the warm-up raised {type(error).__name__}: {error}",
            "publish a version that runs",
        )
    signature, took_s = served.signature, time.monotonic() - started_s
    drift = ""
    if counts_drift and (signature.window is not None or settings.window.kind != "none"):
        drift = "; its rows are windows, which are not counted for drift"
    elif counts_drift and served.reference is None:
        drift = "; without reference statistics, so only its scores are counted for drift"
    return Check(
        name,
        Status.OK,
        f"{served.name} version {served.version} ({signature.task}, {signature.num_features} features) "
        f"on {served.device}, warm in {took_s:.1f} s{drift}",
    )


async def _check_brokers(broker: Broker, seen: ClusterView, kafka: KafkaSection, timeout_s: float) -> Check:
    problems = await unreachable_brokers(broker, seen.brokers, client_options(kafka), timeout_s=timeout_s)
    if problems:
        return Check(
            "broker",
            Status.FAILED,
            detail=f"{broker.address} answers, but the cluster lists brokers that do not",
            remedy=problems[0].remedy,
            problems=tuple(problem.message for problem in problems),
        )
    count = f"{len(seen.brokers)} broker{'' if len(seen.brokers) == 1 else 's'}"
    async with asyncio.timeout(timeout_s):
        release = await describe_release(broker.connection)
    login = "" if kafka.sasl_mechanism is None else f", logged in by {kafka.sasl_mechanism}"
    return Check("broker", Status.OK, f"{broker.address} ({kafka.security_protocol}{login}), {count}, {release}")


async def _check_topics(settings: Settings, timeout_s: float) -> Check:
    return _summarise("topics", await check_topics(settings, timeout_s=timeout_s))


async def _check_aggregator(settings: Settings, timeout_s: float) -> Check:
    return _summarise("aggregator", await check_aggregator_topics(settings, timeout_s=timeout_s))


async def _check_evaluator(settings: Settings, timeout_s: float) -> Check:
    return _summarise("evaluator", await check_evaluator_topics(settings, timeout_s=timeout_s))


def _summarise(name: str, checked: TopicCheck) -> Check:
    findings = [finding for finding in checked.findings if finding.severity != "note"]
    # Only the notes that affect the worker's behaviour; `forebay topics check` prints all of them.
    notes = [
        f"{finding.topic}: {finding.message}"
        for finding in checked.findings
        if (finding.severity, finding.kind) == ("note", TIMESTAMPS)
    ]
    if not findings:
        detail = f"{', '.join(topic.name for topic in checked.wanted)}: as they should be"
        return Check(name, Status.OK, detail, problems=tuple(notes))
    remedies = {finding.remedy for finding in findings}
    common_remedy = remedies.pop() if len(remedies) == 1 else None
    problems = (
        f"{finding.topic}: {finding.message}"
        + (f" ({finding.remedy})" if finding.remedy and finding.remedy != common_remedy else "")
        for finding in findings
    )
    wrong = len({finding.topic for finding in findings})
    return Check(
        name,
        Status.FAILED if checked.errors else Status.WARNING,
        detail=f"{wrong} of {len(checked.wanted)} topics are not as they should be",
        remedy=common_remedy,
        problems=(*problems, *notes),
    )


def _check_access(
    name: str, topics: Sequence[str], seen: ClusterView, wanted: Collection[Operation], done: str
) -> Check:
    """Check the permissions for existing topics. Missing topics are the subject of another check.

    done: participle for messages, such as `read`.
    """
    accesses = {topic: seen.topics.get(topic, Access(_MISSING_TOPIC, None)) for topic in topics}
    existing = {topic: access for topic, access in accesses.items() if access.error != _MISSING_TOPIC}
    problems = [problem for topic, access in existing.items() if (problem := _problem(topic, access, wanted))]
    if problems:
        return Check(
            name,
            Status.FAILED,
            detail=f"{len(problems)} of {len(topics)} topics cannot be {done}",
            remedy=f"allow this client {' and '.join(operation.name for operation in wanted)} on them",
            problems=tuple(problems),
        )
    if len(existing) < len(topics):
        missing = ", ".join(topic for topic in topics if topic not in existing)
        return Check(name, Status.SKIPPED, f"{missing}: missing")
    topic_names = ", ".join(topics)
    if any(access.allowed is None for access in existing.values()):
        return Check(name, Status.UNKNOWN, f"{topic_names}: the broker does not report whether they may be {done}")
    return Check(name, Status.OK, f"{topic_names}: may be {done}")


def _problem(resource: str, access: Access, wanted: Collection[Operation]) -> str | None:
    if access.error is not None:
        return f"{resource}: {access.error}"
    missing = access.missing(wanted)
    return f"{resource}: not allowed: {', '.join(operation.name for operation in missing)}" if missing else None


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
        return Check(name, Status.FAILED, f"no answer within {timeout_s:g} s", "check the health of the cluster")
    return Check(name, Status.FAILED, str(error) or type(error).__name__, "see the broker's log")
