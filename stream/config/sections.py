"""All settings with their types, ranges, defaults and descriptions. Units are in the names.

Each section is a frozen model. A component takes its own section and no other.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from forebay.schemas.topics import PREDICTIONS, REVIEW, topic_name
from forebay.stream.config.access_section import AccessSection as AccessSection
from forebay.stream.config.admin_section import AdminSection as AdminSection
from forebay.stream.config.alert_rule import AlertRules
from forebay.stream.config.audit_section import AuditSection as AuditSection
from forebay.stream.config.decision_section import DecisionSection as DecisionSection
from forebay.stream.config.drift_section import DriftSection as DriftSection
from forebay.stream.config.edge_section import EdgeSection as EdgeSection
from forebay.stream.config.encryption_section import EncryptionSection as EncryptionSection
from forebay.stream.config.evaluate_section import EvaluateSection as EvaluateSection
from forebay.stream.config.input_section import InputSection as InputSection
from forebay.stream.config.kafka_section import KafkaSection as KafkaSection
from forebay.stream.config.models_section import BatchSection as BatchSection
from forebay.stream.config.models_section import ModelEntry as ModelEntry
from forebay.stream.config.models_section import ModelSection as ModelSection
from forebay.stream.config.models_section import ServedModelSettings, derived_topics, served_models
from forebay.stream.config.objective_section import ObjectiveSection as ObjectiveSection
from forebay.stream.config.output_section import OutputSection as OutputSection
from forebay.stream.config.priorities_section import PrioritiesSection as PrioritiesSection
from forebay.stream.config.privacy_section import PrivacySection as PrivacySection
from forebay.stream.config.rollouts_section import RolloutsSection as RolloutsSection
from forebay.stream.config.schema_registry_section import SchemaRegistrySection as SchemaRegistrySection
from forebay.stream.config.section import DAY_MS
from forebay.stream.config.section import Section as Section
from forebay.stream.config.telemetry_section import LogSection as LogSection
from forebay.stream.config.telemetry_section import TelemetrySection as TelemetrySection
from forebay.stream.config.trust_section import TrustSection as TrustSection
from forebay.stream.config.values import Name, Prefix, WebhookUrl
from forebay.stream.config.window_section import WindowSection as WindowSection
from forebay.stream.config.worker_section import WorkerSection as WorkerSection

_GIB = 1 << 30


class DeliverySection(Section):
    """The processing guarantee, and the timeouts of commits."""

    processing_guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="exactly_once: outputs and offsets are committed in one transaction. at_least_once: a crash may "
        "repeat outputs.",
    )
    transactional_id_prefix: Name = Field(
        default="forebay", description="The worker's transactional id is <prefix>-<group_id>-<instance_id>."
    )
    instance_id: Name | None = Field(
        default=None,
        description="A stable name for this worker, such as the pod name. After a restart it ends the transaction "
        "that the worker left open. Default: random.",
    )
    transaction_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=900_000,
        description="The cluster aborts the open transaction of a killed worker after this long. Until then, "
        "read_committed consumers of the outputs wait.",
    )
    commit_timeout_ms: int = Field(
        default=10_000, ge=100, le=DAY_MS, description="Time limit for one commit with all its steps."
    )
    drain_timeout_ms: int = Field(
        default=20_000, ge=100, le=DAY_MS, description="Time limit for finishing the events in flight after SIGTERM."
    )
    revoke_timeout_ms: int = Field(
        default=10_000,
        ge=0,
        le=DAY_MS,
        description="Time limit for finishing the events in flight when partitions are revoked.",
    )
    retry_backoff_ms: int = Field(
        default=100, ge=1, le=DAY_MS, description="Wait before the first retry. It doubles with each further retry."
    )
    retry_backoff_max_ms: int = Field(default=5_000, ge=1, le=DAY_MS, description="Longest wait between two retries.")


class BreakerSection(Section):
    """Circuit breakers for the model and the cluster. Reading pauses while one is open; nothing is lost."""

    failure_threshold: int = Field(
        default=5, ge=1, le=1_000_000, description="Number of consecutive failures that opens the circuit breaker."
    )
    reset_timeout_ms: int = Field(
        default=30_000, ge=1, le=DAY_MS, description="An open circuit breaker allows one attempt after this long."
    )


class LimitsSection(Section):
    """Limits on events in flight, at which reading pauses, and on dead letters, at which the worker stops."""

    max_in_flight_events: int = Field(
        default=32_768, ge=1, le=16_777_216, description="Maximum number of events that are read and not yet committed."
    )
    max_in_flight_bytes: int = Field(
        default=67_108_864,
        ge=1,
        le=64 * _GIB,
        description="Maximum bytes of events that are read and not yet committed.",
    )
    max_in_flight_batches: int = Field(
        default=32,
        ge=2,
        le=65_536,
        description="Maximum number of micro-batches that are not yet committed. With several models: of those that wait "
        "for one model.",
    )
    max_dead_letter_ratio: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="If more than this share of the last dead_letter_window_events events are dead letters, the "
        "worker stops. 1: never.",
    )
    dead_letter_window_events: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000_000,
        description="Number of events over which max_dead_letter_ratio is measured.",
    )
    max_dead_letters_in_a_row: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="More consecutive dead letters than this stop the worker. Default: no limit.",
    )


class AggregateSection(Section):
    """The aggregator (`forebay aggregate`): outcome counts of all workers in buckets of a minute, and alerts."""

    group_id: Name | None = Field(
        default=None,
        description="The aggregators' consumer group. Aggregators with the same group share the outcome deltas. "
        "Default: <kafka.group_id>-aggregate.",
    )
    emit_interval_ms: int = Field(
        default=1_000,
        ge=100,
        le=60_000,
        description="Time between two updates of the aggregates, and between two evaluations of the alert rules.",
    )
    final_after_ms: int = Field(
        default=60_000,
        ge=0,
        le=DAY_MS,
        description="A one-minute bucket of counts is marked final this long after its end.",
    )
    closed_after_ms: int = Field(
        default=3_600_000,
        ge=60_000,
        le=7 * DAY_MS,
        description="A one-minute bucket is removed this long after its end. Deltas that arrive later are counted as "
        "late.",
    )
    max_batch_size: int = Field(
        default=500, ge=1, le=10_000, description="Maximum number of deltas that are written together."
    )
    confirm_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=600_000, description="A write that takes longer than this stops the aggregator."
    )
    webhook_url: WebhookUrl | None = Field(
        default=None,
        repr=False,
        description="URL that receives alerts as JSON (POST). Prefer the environment variable "
        "FOREBAY_AGGREGATE__WEBHOOK_URL to a file.",
    )
    webhook_timeout_ms: int = Field(
        default=5_000, ge=100, le=60_000, description="Time limit for one request to the webhook."
    )
    webhook_attempts: int = Field(
        default=5, ge=1, le=100, description="Number of attempts per alert, with increasing waits between them."
    )
    report_performance: bool = Field(
        default=False,
        description="Workers report latency, CPU time and memory with every commit, in outcome-deltas. They also do so if "
        "rollouts.enabled is set, or if the rules in their own configuration need it.",
    )
    alerts: AlertRules = Field(default=(), description="Rules that raise alerts.")


class TopicsSection(Section):
    """How `forebay topics create` names and creates the topics."""

    prefix: Prefix = Field(default="", description="Prepended to the name of each topic.")
    partitions: int = Field(
        default=4,
        ge=1,
        le=100_000,
        description="Number of partitions of each topic for which the catalogue does not fix one.",
    )
    replication_factor: int = Field(
        default=1, ge=1, le=32, description="Number of replicas of each partition. Use 3 on a production cluster."
    )


class Settings(Section):
    """All settings, by section. `load_settings` also checks the sections against each other.

    models: the entries of [[models]]; empty with the short form, [model], [batch] and [window]. Components read
    `models_to_serve()`, which is the same for both forms.
    """

    kafka: KafkaSection = KafkaSection()
    worker: WorkerSection = WorkerSection()
    schema_registry: SchemaRegistrySection = SchemaRegistrySection()
    input: InputSection = InputSection()
    batch: BatchSection = BatchSection()
    objective: ObjectiveSection = ObjectiveSection()
    window: WindowSection = WindowSection()
    decision: DecisionSection = DecisionSection()
    model: ModelSection = ModelSection()
    models: tuple[ModelEntry, ...] = ()
    trust: TrustSection = TrustSection()
    access: AccessSection = AccessSection()
    encryption: EncryptionSection = EncryptionSection()
    output: OutputSection = OutputSection()
    delivery: DeliverySection = DeliverySection()
    breaker: BreakerSection = BreakerSection()
    limits: LimitsSection = LimitsSection()
    priorities: PrioritiesSection = PrioritiesSection()
    rollouts: RolloutsSection = RolloutsSection()
    evaluate: EvaluateSection = EvaluateSection()
    drift: DriftSection = DriftSection()
    audit: AuditSection = AuditSection()
    edge: EdgeSection = EdgeSection()
    privacy: PrivacySection = PrivacySection()
    aggregate: AggregateSection = AggregateSection()
    topics: TopicsSection = TopicsSection()
    admin: AdminSection = AdminSection()
    log: LogSection = LogSection()
    telemetry: TelemetrySection = TelemetrySection()

    @model_validator(mode="after")
    def _read_topics_of_models(self) -> Self:
        """Take the topics of the models as the input topics, where none are configured."""
        if self.models and "topics" not in self.input.model_fields_set:
            topics = derived_topics(self.models, self.input.topics)
            # The instance is frozen, and a validator must not return another one.
            object.__setattr__(self, "input", self.input.model_copy(update={"topics": topics}))
        return self

    def models_to_serve(self) -> tuple[ServedModelSettings, ...]:
        """Return the settings of each model to serve, at least one. The first is the default model."""
        return served_models(
            self.models,
            self.model,
            self.batch,
            self.window,
            decision=self.decision,
            input_topics=self.input.topics,
        )

    def reports_performance(self) -> bool:
        """Return whether workers put the performance of the models' calls into outcome deltas."""
        section = self.aggregate
        return (
            self.rollouts.enabled
            or section.report_performance
            or any(rule.needs_performance for rule in section.alerts)
        )

    def has_late_events_topic(self) -> bool:
        """Return whether a model also writes late events to a topic."""
        return any(served.window.late_events_topic for served in self.models_to_serve())

    def has_review_topic(self) -> bool:
        """Return whether predictions of a model can go to the topic review."""
        return any(served.decision.abstains for served in self.models_to_serve())

    def routed_topics(self) -> tuple[str, ...]:
        """Return the topics besides predictions that routes of models name, without the prefix, in order."""
        return tuple(
            dict.fromkeys(route.topic for served in self.models_to_serve() for route in served.decision.routes)
        )

    def topics_beside_predictions(self) -> tuple[str, ...]:
        """Return all topics besides predictions that have predictions, also abstentions, without the prefix."""
        return (*self.routed_topics(), *((REVIEW.name,) if self.has_review_topic() else ()))

    def prediction_topics(self) -> tuple[str, ...]:
        """Return the full names of all topics with predictions that subscribers act on: predictions, and those of routes.

        The topic review is not among them: what it has is not decided yet.
        """
        return tuple(topic_name(self.topics.prefix, name) for name in (PREDICTIONS.name, *self.routed_topics()))

    def all_prediction_topics(self) -> tuple[str, ...]:
        """Return the full names of all topics with predictions, also of the topic review."""
        review = (topic_name(self.topics.prefix, REVIEW.name),) if self.has_review_topic() else ()
        return (*self.prediction_topics(), *review)

    def with_default_model_only(self) -> Settings:
        """Return settings in the short form, with the default model as the only one."""
        served = self.models_to_serve()[0]
        only = {
            "models": (),
            "model": served.model,
            "batch": served.batch,
            "window": served.window,
            "decision": served.decision,
        }
        return self.model_copy(update=only)


def section_types() -> dict[str, type[Section]]:
    """Return the section types by name, in display order. [[models]] is not a section but a list."""
    types: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        if name == "models":
            continue
        assert isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        types[name] = field.annotation
    return types
