"""The contestants of `benchmarks.compare`, by name and by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from forebay.schemas.topics import FEATURES
from forebay.stream.bench.setup import MODEL_NAME

Runtime = Literal["python", "java", "rust", "quix"]

SHORT_TOPIC: Final = "features-short"
BRIEF_TOPIC: Final = "features-brief"
DIVISORS: Final = {SHORT_TOPIC: 4, BRIEF_TOPIC: 16}
"""Slow contestants drain a topic whose number of events is divided by this, so that a comparison takes minutes."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A worker in the comparison.

    name: the name in tables.
    module: the Python module to run, the Java class, or the Rust program.
    what: a description in one line.
    processing_guarantee: the guarantee that it provides.
    config: name of the configuration file of the worker, in the folder of the field.
    model: name of the model of a hand-written worker.
    topic: the topic that it drains, without the prefix.
    runtime: what runs the module. All but `python` are set up by `benchmarks.rivals.toolchains`.
    warmed: whether it drains the topic once before it measures, in the same process.
    predicts: whether its outputs are predictions.
    parallelism: the number of processes or threads that compute.
    """

    name: str
    module: str
    what: str
    processing_guarantee: str = "at_least_once"
    config: str = "forebay.toml"
    model: str = MODEL_NAME
    topic: str = FEATURES.name
    runtime: Runtime = "python"
    warmed: bool = False
    predicts: bool = True
    parallelism: int = 1

    @property
    def divisor(self) -> int:
        """What the number of events is divided by."""
        return DIVISORS.get(self.topic, 1)


FOREBAY: Final = Contestant(
    "forebay", "benchmarks.contestants.forebay_worker", "Forebay's worker, at least once like the others"
)
FOREBAY_EXACTLY_ONCE: Final = Contestant(
    "forebay exactly once",
    "benchmarks.contestants.forebay_worker",
    "the same with one transaction per commit, the default",
    "exactly_once",
)
_PLAIN: Final = "forebay.rivals.PlainWorker"
_STREAMS: Final = "forebay.rivals.StreamsWorker"

PYTHON: Final = (
    Contestant(
        "aiokafka",
        "benchmarks.contestants.aiokafka_worker",
        "getmany(512), batch predict, send, commit",
        topic=SHORT_TOPIC,
    ),
    Contestant(
        "aiokafka pipelined",
        "benchmarks.contestants.aiokafka_pipelined",
        "the same, awaiting deliveries and committing every 100 ms",
        topic=SHORT_TOPIC,
    ),
    Contestant(
        "aiokafka exactly once",
        "benchmarks.contestants.aiokafka_pipelined",
        "the same with transactions",
        "exactly_once",
        topic=SHORT_TOPIC,
    ),
    Contestant(
        "confluent",
        "benchmarks.contestants.confluent_worker",
        "consume(512), batch predict, produce, commit",
        topic=SHORT_TOPIC,
    ),
    Contestant(
        "confluent pipelined",
        "benchmarks.contestants.confluent_pipelined",
        "the same, flushing and committing every 100 ms or 10,000 records",
    ),
    Contestant(
        "confluent exactly once",
        "benchmarks.contestants.confluent_pipelined",
        "the same with transactions",
        "exactly_once",
    ),
    Contestant(
        "pass-through",
        "benchmarks.contestants.passthrough",
        "aiokafka send_batch, without JSON and model",
        predicts=False,
    ),
)
JAVA: Final = (
    Contestant("java cold", _PLAIN, "kafka-clients, Jackson, ONNX Runtime; batches of 512, pipelined", runtime="java"),
    Contestant("java cold exactly once", _PLAIN, "the same with transactions", "exactly_once", runtime="java"),
    Contestant("java", _PLAIN, "the same after an unmeasured drain in the same JVM", runtime="java", warmed=True),
    Contestant("java exactly once", _PLAIN, "the same with transactions", "exactly_once", runtime="java", warmed=True),
)
STREAMS: Final = (
    Contestant(
        "kafka streams",
        _STREAMS,
        "Kafka Streams and ONNX Runtime, one record a call, warmed",
        topic=SHORT_TOPIC,
        runtime="java",
        warmed=True,
    ),
    Contestant(
        "kafka streams exactly once",
        _STREAMS,
        "the same with exactly_once_v2",
        "exactly_once",
        topic=SHORT_TOPIC,
        runtime="java",
        warmed=True,
    ),
)
RUST: Final = (
    Contestant(
        "rust", "forebay-rival", "rdkafka, simd-json, matrixmultiply; batches of 512, pipelined", runtime="rust"
    ),
    Contestant("rust exactly once", "forebay-rival", "the same with transactions", "exactly_once", runtime="rust"),
)
FRAMEWORKS: Final = (
    Contestant(
        "quix streams",
        "benchmarks.contestants.quix_worker",
        "Quix Streams and ONNX Runtime, one record a call",
        topic=BRIEF_TOPIC,
        runtime="quix",
    ),
    Contestant(
        "quix streams exactly once",
        "benchmarks.contestants.quix_worker",
        "the same with its exactly-once guarantee",
        "exactly_once",
        topic=BRIEF_TOPIC,
        runtime="quix",
    ),
    Contestant(
        "faust",
        "benchmarks.contestants.faust_worker",
        "Faust's take(512), batch predict, send",
        topic=BRIEF_TOPIC,
    ),
)
GROUPS: Final[dict[str, tuple[Contestant, ...]]] = {
    "forebay": (FOREBAY, FOREBAY_EXACTLY_ONCE),
    "python": (FOREBAY, FOREBAY_EXACTLY_ONCE, *PYTHON),
    "java": JAVA,
    "streams": STREAMS,
    "rust": RUST,
    "frameworks": FRAMEWORKS,
    "all": (FOREBAY, FOREBAY_EXACTLY_ONCE, *PYTHON, *JAVA, *STREAMS, *RUST, *FRAMEWORKS),
}
CONTESTANTS: Final = GROUPS["all"]


def chosen(names: Sequence[str]) -> list[Contestant]:
    """Return the contestants with these names, or in the groups with these names, in the order of `CONTESTANTS`.

    Raises KeyError for a name that is neither.
    """
    by_name = {contestant.name: (contestant,) for contestant in CONTESTANTS}
    # "forebay" is a contestant and a group; the group has both of its guarantees.
    found = {contestant.name for name in names for contestant in ({**by_name, **GROUPS})[name]}
    return [contestant for contestant in CONTESTANTS if contestant.name in found]


def reference_of(contestant: Contestant) -> Contestant:
    """Return the Forebay worker with the contestant's guarantee, which it is compared with."""
    exactly_once = contestant.processing_guarantee == "exactly_once"
    return FOREBAY_EXACTLY_ONCE if exactly_once and contestant != FOREBAY_EXACTLY_ONCE else FOREBAY
