"""The catalogue of all metrics: name, unit, labels and meaning. docs/metrics.md is generated from it.

Names are in OpenTelemetry's form, with dots; `prometheus_name` is the form of Prometheus: underscores for dots, then the unit
and, for counters, `_total`. Label values come from closed lists (outcomes, stages, kinds), from the configuration (models,
topics, columns of a model) or from the assignment (partitions): no event can add one.
"""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry import device_catalogue
from forebay.stream.telemetry.access_catalogue import ACCESS_METRICS
from forebay.stream.telemetry.lane_metrics import LANE_METRICS
from forebay.stream.telemetry.metric_types import FAST_S as FAST_S
from forebay.stream.telemetry.metric_types import LATENCY_S, LOADS_S, SIZES
from forebay.stream.telemetry.metric_types import Counter as Counter
from forebay.stream.telemetry.metric_types import Gauge as Gauge
from forebay.stream.telemetry.metric_types import Histogram as Histogram
from forebay.stream.telemetry.metric_types import Metric as Metric
from forebay.stream.telemetry.objective_catalogue import OBJECTIVE_METRICS
from forebay.stream.telemetry.privacy_catalogue import PRIVACY_METRICS
from forebay.stream.telemetry.supervisor_metrics import SUPERVISOR_METRICS

_MODEL: Final = ("model", "version")
_PARTITION: Final = ("topic", "partition")

# ---- events

EVENTS: Final = Counter("forebay.events", "{event}", "Events committed, by outcome", ("outcome", *_MODEL))
ERRORS: Final = Counter(
    "forebay.errors",
    "{event}",
    "Events that were rejected, late or failed, and windows that failed, by kind",
    ("kind", "stage", *_MODEL),
)
ABSTENTIONS: Final = Counter(
    "forebay.abstentions",
    "{event}",
    "Predicted events, and windows, whose predictions are in the topic review, because the model abstains",
    _MODEL,
)
RECEIVED_EVENTS: Final = Counter("forebay.received.events", "{event}", "Records read from an input topic", ("topic",))
RECEIVED_BYTES: Final = Counter("forebay.received", "By", "Bytes of the values of these records", ("topic",))
EVENT_LATENCY: Final = Histogram(
    name="forebay.event.latency",
    unit="s",
    description="Time from an event's record timestamp to the commit of its outcome, for every event",
    labels=_MODEL,
    bounds=LATENCY_S,
)

SCHEMA_WAIT: Final = Gauge(
    "forebay.schema.wait", "s", "How long a partition has waited for a schema; only partitions that wait", _PARTITION
)
SCHEMA_LOOKUPS: Final = Counter("forebay.schema.lookups", "{answer}", "Schemas looked up, by result", ("result",))

# ---- windows over event time, for models that take windows

WINDOWS: Final = Counter(
    "forebay.windows", "{window}", "Windows committed: window_predicted or window_failed", ("outcome", *_MODEL)
)
OPEN_WINDOWS: Final = Gauge("forebay.windows.open", "{window}", "Open windows", _PARTITION)
BUFFERED_ROWS: Final = Gauge("forebay.windows.buffered_rows", "{row}", "Events in open windows", _PARTITION)
WATERMARK_DELAY: Final = Gauge("forebay.watermark.delay", "s", "The current time minus the watermark", _PARTITION)

# ---- micro-batches

BATCHES: Final = Counter(
    "forebay.batches", "{batch}", "Micro-batches, by the reason for closing them", ("reason", *_MODEL)
)
BATCH_SIZE: Final = Histogram(
    name="forebay.batch.size", unit="{event}", description="Events in a micro-batch", labels=_MODEL, bounds=SIZES
)
DECODE_DURATION: Final = Histogram(
    "forebay.decode.duration",
    "s",
    "Duration of decoding one poll. If it has records for several models, each model's share by its number of records",
    _MODEL,
)
QUEUE_DURATION: Final = Histogram(
    "forebay.queue.duration",
    "s",
    "Time from reading a micro-batch's first event to the start of its model call",
    _MODEL,
)
PREPARE_DURATION: Final = Histogram(
    "forebay.prepare.duration", "s", "Duration of preprocessing one micro-batch; part of the model's duration", _MODEL
)
MODEL_DURATION: Final = Histogram(
    "forebay.model.duration",
    "s",
    "Duration of one micro-batch on the device, including preprocessing and bisecting",
    _MODEL,
)

# ---- commits

COMMITS: Final = Counter(
    "forebay.commits",
    "{commit}",
    "Commits by result: committed, refused, timeout, failed, or given_up at a rebalance",
    ("result",),
)
TRANSACTION_ABORTS: Final = Counter(
    "forebay.transaction.aborts",
    "{transaction}",
    "Transactions that did not commit, by the result of the commit. For timeout it is unknown whether the transaction "
    "committed; the worker then reads the committed offsets",
    ("result",),
)
COMMIT_DURATION: Final = Histogram(
    "forebay.commit.duration",
    "s",
    "Duration of one successful commit, from building its records to its end. A commit for several models counts once "
    "for each of them; forebay.commits counts commits",
    _MODEL,
)
COMMIT_STEP_DURATION: Final = Histogram(
    "forebay.commit.step.duration",
    "s",
    "Duration of each step of a commit: emit, begin, deliveries, positions, end",
    ("step",),
)
REWINDS: Final = Counter("forebay.rewinds", "{rewind}", "Returns to the committed offsets after a failed commit")

# ---- the group

REBALANCES: Final = Counter("forebay.rebalances", "{rebalance}", "Assignments of partitions to this worker")
ASSIGNED_PARTITIONS: Final = Gauge(
    "forebay.assigned.partitions", "{partition}", "Input partitions that are assigned to this worker"
)
CONSUMER_LAG_RECORDS: Final = Gauge(
    "forebay.consumer.lag.records",
    "{record}",
    "Last stable offset minus position: records that can be read and have not been. Aborted records and transaction "
    "markers at the end of a partition do not count",
    _PARTITION,
)
CONSUMER_LAG: Final = Gauge(
    "forebay.consumer.lag",
    "s",
    "How long the oldest unread record may have waited: since the last record that was read, or since nothing was left "
    "to read, whichever is later; 0 if there is no lag",
    _PARTITION,
)

# ---- the worker

READY: Final = Gauge("forebay.ready", "{worker}", "1 if the worker is ready, else 0")
PAUSED: Final = Gauge(
    "forebay.paused", "{worker}", "1 if reading is paused (backpressure, circuit breaker, operator), else 0"
)
IN_FLIGHT_EVENTS: Final = Gauge("forebay.in_flight.events", "{event}", "Events read and not yet committed")
IN_FLIGHT_BYTES: Final = Gauge("forebay.in_flight", "By", "Bytes of the events in flight")
IN_FLIGHT_BATCHES: Final = Gauge("forebay.in_flight.batches", "{batch}", "Micro-batches in flight")
IN_FLIGHT_LIMIT: Final = Gauge(
    "forebay.in_flight.limit", "{event}", "limits.max_in_flight_events, at which reading pauses"
)
BREAKER_STATE: Final = Gauge(
    "forebay.breaker.state",
    "{state}",
    "Circuit breaker of a model or the cluster: 0 closed, 1 half open, 2 open. The breaker is `cluster` or `model`; "
    "with several models it is `model:` and the name for each of them, and with several versions also the version",
    ("breaker",),
)
MODEL_INFO: Final = Gauge("forebay.model.info", "{model}", "1 for each served model version", (*_MODEL, "device"))
BUILD_INFO: Final = Gauge(
    "forebay.build.info", "{build}", "1 for the running release and Python", ("release", "python")
)

# ---- rollouts, if they are enabled

ROLLOUT_REVISION: Final = Gauge(
    "forebay.rollout.revision",
    "{revision}",
    "Number of a model's revision: `accepted` is the newest that the worker has read, `applied` the one that it serves",
    ("model", "state"),
)
ROLLOUT_SHARE: Final = Gauge(
    "forebay.rollout.share",
    "1",
    "Share of the keys that a version serves, by role: `stable` or `canary`. For `shadow`, the share of the events that it "
    "gets in addition",
    (*_MODEL, "role"),
)
ROLLOUT_RESIDENT: Final = Gauge("forebay.rollout.resident", "{version}", "Loaded versions of a model", ("model",))
ROLLOUT_LOADING: Final = Gauge(
    "forebay.rollout.loading", "{version}", "1 while a version is loaded, else 0", ("model",)
)
ROLLOUT_BLOCKED: Final = Gauge(
    "forebay.rollout.blocked",
    "{model}",
    "1 while the worker cannot apply the accepted revision and serves an older one, else 0. The status has the error",
    ("model",),
)
ROLLOUT_REVISIONS: Final = Counter(
    "forebay.rollout.revisions",
    "{revision}",
    "Revisions that were accepted since the worker started, by action and by author: `person`, or `automatic`",
    ("model", "action", "author"),
)
ROLLOUT_LOADS: Final = Counter(
    "forebay.rollout.loads", "{load}", "Loads of versions by result: loaded or failed", ("model", "result")
)
ROLLOUT_LOAD_DURATION: Final = Histogram(
    name="forebay.rollout.load.duration",
    unit="s",
    description="Duration of loading, checking and warming up a version",
    labels=("model",),
    bounds=LOADS_S,
)
ROLLOUT_SWITCHES: Final = Counter(
    "forebay.rollout.switches",
    "{partition}",
    "Switches of partitions to another revision, when they are written. After a failed commit they are written again",
    ("model",),
)
SHADOW_EVENTS: Final = Counter(
    "forebay.shadow.events",
    "{event}",
    "Events of a shadow's sample by result: `compared`, or why the shadow did not predict them: load, share, queue_full, "
    "deadline, stopped or error",
    (*_MODEL, "result"),
)
SHADOW_AGREEMENT: Final = Gauge(
    "forebay.shadow.agreement",
    "1",
    "Share of the compared events for which a shadow gave the class of the version that served",
    _MODEL,
)

# ---- the process and its GPU

PROCESS_CPU: Final = Counter("forebay.process.cpu", "s", "CPU time, user and system")
PROCESS_MEMORY: Final = Gauge("forebay.process.memory", "By", "Resident memory")
PROCESS_START: Final = Gauge("forebay.process.start_time", "s", "When the process started, seconds since 1970")
GPU_UTILIZATION: Final = Gauge(
    "forebay.gpu.utilization", "1", "Utilization of the GPU, 0 to 1, by all processes", ("gpu",)
)
GPU_MEMORY: Final = Gauge("forebay.gpu.memory", "By", "GPU memory in use, by all processes", ("gpu",))
GPU_MEMORY_LIMIT: Final = Gauge("forebay.gpu.memory.limit", "By", "Total GPU memory", ("gpu",))

# ---- the quality of models, by the evaluator. Every evaluator exports it for all partitions: take the maximum over instances

QUALITY_VALUE: Final = Gauge(
    "forebay.quality.value",
    "{value}",
    "Quality by labels, of the predictions of the last windows (evaluate.horizon_s). metric: accuracy, precision, recall, f1, "
    "log_loss, brier, roc_auc or calibration_error; for regression mean_absolute_error, root_mean_squared_error, r2 or bias",
    (*_MODEL, "metric"),
)
QUALITY_ESTIMATE: Final = Gauge(
    "forebay.quality.estimate",
    "{value}",
    "An estimate of the same for the newest complete window, before its labels come, from scores and earlier labels. It does "
    "not see that the relation of features and label has changed",
    (*_MODEL, "metric"),
)
QUALITY_PREDICTIONS: Final = Gauge(
    "forebay.quality.predictions", "{prediction}", "Predictions of these windows, with or without a label", _MODEL
)
QUALITY_MATCHED: Final = Gauge(
    "forebay.quality.matched", "1", "The share of these predictions that have a label", _MODEL
)
QUALITY_LABEL_DELAY: Final = Gauge(
    "forebay.quality.label_delay",
    "s",
    "Time from a prediction's event to its label, by quantile: 0.5, 0.9 or 0.99",
    (*_MODEL, "quantile"),
)
QUALITY_REJECTED: Final = Counter(
    "forebay.quality.rejected", "{record}", "Records of the topic quality that could not be read or added"
)

# ---- the aggregator

AGGREGATE_DELTAS: Final = Counter(
    "forebay.aggregate.deltas", "{delta}", "Outcome deltas that the aggregator has counted"
)
AGGREGATE_PARTITIONS: Final = Gauge(
    "forebay.aggregate.partitions", "{partition}", "Partitions of outcome-deltas that are assigned to this aggregator"
)
ROLLOUT_VERDICT: Final = Gauge(
    "forebay.rollout.verdict",
    "{verdict}",
    "1 for the judge's current verdict on a canary: hold, inconclusive, step, promote or roll_back. Only the aggregator that "
    "judges has it",
    (*_MODEL, "verdict"),
)
ALERTS_FIRING: Final = Gauge(
    "forebay.alerts.firing",
    "{alert}",
    "Firing alerts of a rule in aggregate.alerts, by the model that they are about (empty for a worker). Only the aggregator "
    "that evaluates the rules has it",
    ("rule", "category", "severity", "model"),
)
ALERT_ERRORS: Final = Counter(
    "forebay.alerts.errors", "{error}", "Failed evaluations of rules in aggregate.alerts, by their topic", ("topic",)
)
ROLLOUT_EVENTS_NEEDED: Final = Gauge(
    "forebay.rollout.events_needed",
    "{event}",
    "How many more events of a canary the judge needs at least: for its next step, or to decide a suspicion",
    _MODEL,
)
DRIFT_PSI: Final = Gauge(
    "forebay.drift.psi",
    "{index}",
    "Population stability index of a column against the training data, in the last judged window of all workers. Only the "
    "aggregator that judges has it, as all metrics of drift",
    (*_MODEL, "column", "column_kind"),
)
DRIFT_SHARE: Final = Gauge(
    "forebay.drift.share",
    "1",
    "Share of a column's rows in the last judged window that are missing, unseen or out_of_range",
    (*_MODEL, "column", "column_kind", "measure"),
)
DRIFT_ROWS: Final = Gauge("forebay.drift.rows", "{row}", "Rows that were counted in the last judged window", _MODEL)
DRIFT_FINDINGS: Final = Gauge(
    "forebay.drift.findings",
    "{finding}",
    "Measures of columns that are beyond a threshold, by level: warn or alarm",
    (*_MODEL, "level"),
)
ROLLOUT_JUDGE_ERRORS: Final = Counter(
    "forebay.rollout.judge.errors", "{error}", "Attempts to judge that failed, for example without permissions"
)

# ---- the evaluator

EVALUATE_PARTITIONS: Final = Gauge(
    "forebay.evaluate.partitions",
    "{partition}",
    "Partitions of predictions and labels that are assigned to this evaluator",
)
EVALUATE_RESTORING: Final = Gauge(
    "forebay.evaluate.restoring", "{partition}", "Partitions of this evaluator that are read again after an assignment"
)
EVALUATE_WAITING_PREDICTIONS: Final = Gauge(
    "forebay.evaluate.waiting.predictions",
    "{prediction}",
    "Predictions in memory that may still get a label, or another one",
)
EVALUATE_WAITING_LABELS: Final = Gauge(
    "forebay.evaluate.waiting.labels", "{label}", "Labels in memory whose prediction may still come"
)
EVALUATE_LABEL_TIME: Final = Gauge(
    "forebay.evaluate.label.time",
    "s",
    "The largest timestamp of a label so far, in seconds since the Unix epoch. Windows that end evaluate.horizon_s before it "
    "are final",
    ("partition",),
)
EVALUATE_PREDICTIONS: Final = Counter(
    "forebay.evaluate.predictions", "{prediction}", "Predictions that were counted", _MODEL
)
EVALUATE_MATCHED: Final = Counter("forebay.evaluate.matched", "{prediction}", "Predictions with a label", _MODEL)
EVALUATE_EVICTED: Final = Counter(
    "forebay.evaluate.evicted",
    "{prediction}",
    "Predictions that were dropped before their label came, because evaluate.max_waiting were waiting",
    _MODEL,
)
EVALUATE_LABELS: Final = Counter(
    "forebay.evaluate.labels",
    "{label}",
    "Labels by result: labels (all), used, repeated, corrected, early, refused. A label can have several",
    ("result",),
)
EVALUATE_REFUSED: Final = Counter(
    "forebay.evaluate.refused", "{record}", "Records that cannot be used as a label or prediction", ("topic", "reason")
)
EVALUATE_RECORDS: Final = Counter(
    "forebay.evaluate.records", "{record}", "Records that the evaluator has read, including those that it read again"
)
EVALUATE_COMMITS: Final = Counter(
    "forebay.evaluate.commits", "{commit}", "Commits of the evaluator, by result: committed or failed", ("result",)
)


def _all() -> tuple[Metric, ...]:
    return tuple(value for value in globals().values() if isinstance(value, Counter | Gauge | Histogram))


METRICS: Final = (
    *(*_all(), *LANE_METRICS, *device_catalogue.METRICS),
    *(*OBJECTIVE_METRICS, *SUPERVISOR_METRICS, *ACCESS_METRICS, *PRIVACY_METRICS),
)
"""Every metric, in the order of this file, then those of lanes, CUDA devices, an objective, a supervisor and privacy."""
