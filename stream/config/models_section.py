"""Settings of the models that a worker serves: one in [model], [batch] and [window], or several in [[models]]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from forebay.stream.config.decision_section import DecisionSection
from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Device, ModelName, Path, Topics
from forebay.stream.config.window_section import WindowSection

_GIB = 1 << 30
_NO_DECISION = DecisionSection()


class BatchSection(Section):
    """Limits of a micro-batch. It closes at the first limit that it reaches."""

    max_batch_size: int = Field(
        default=4096, ge=1, le=65_536, description="Maximum number of events in one model call."
    )
    max_batch_bytes: int = Field(
        default=4_194_304, ge=1, le=_GIB, description="Maximum bytes of events in one model call."
    )
    max_queue_delay_ms: int = Field(
        default=2, ge=0, le=60_000, description="How long the first event of a micro-batch may wait for further events."
    )


class ModelSection(Section):
    """The model that a worker serves, and the device that runs it."""

    repository: Path = Field(
        default="models",
        description="The model repository: the folder, or a URL such as s3://bucket/models, that holds "
        "<name>/<version>/manifest.json.",
    )
    name: ModelName = Field(
        default="default",
        description='Name of the model in the repository. Replace "default" with the name of your model.',
    )
    version: int | None = Field(
        default=None, ge=1, le=999_999_999, description="Version of the model. Default: the highest in the repository."
    )
    device: Device = Field(default="auto", description="Device for the model. auto: a GPU if available, else the CPU.")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        default="fp32",
        description="Precision of matrix products and convolutions. tf32 and bf16 are faster, and only for torch models on "
        "CUDA devices; the golden rows are compared when the model is loaded.",
    )
    cuda_graphs: bool = Field(
        default=True,
        description="Capture torch models as CUDA graphs on CUDA devices. A model that cannot be captured runs without.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=1_024,
        description="CPU threads for one model call. For more throughput, run more workers instead.",
    )
    instances: int = Field(
        default=1,
        ge=1,
        le=64,
        description="How many copies of the model this worker runs at the same time, each with its own memory and thread. They "
        "take whole micro-batches from one queue. It helps models whose calls take milliseconds; for others, run more workers.",
    )
    call_timeout_ms: int = Field(
        default=5_000,
        ge=1,
        le=DAY_MS,
        description="A model call that takes longer opens the circuit breaker. If it has not returned "
        "breaker.reset_timeout_ms later, the worker stops.",
    )
    max_load_memory_mb: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="Refuse the model if the process grows by more MiB while the model is built and warmed up. Memory of a "
        "GPU does not count. Default: no limit.",
    )
    max_batch_latency_ms: int | None = Field(
        default=None,
        ge=1,
        le=DAY_MS,
        description="Refuse the model if preprocessing and model take longer for a full micro-batch, after the warm-up. "
        "Default: no limit.",
    )

    @property
    def has_budget(self) -> bool:
        """Whether the model is measured when it is loaded, after it has run batches of all sizes."""
        return self.max_load_memory_mb is not None or self.max_batch_latency_ms is not None


class BatchOverrides(Section):
    """The limits of one model's micro-batches ([models.batch]). What is not set is inherited from [batch]."""

    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Maximum number of events in one call. Default: batch.max_batch_size.",
    )
    max_batch_bytes: int | None = Field(
        default=None,
        ge=1,
        le=_GIB,
        description="Maximum bytes of events in one call. Default: batch.max_batch_bytes.",
    )
    max_queue_delay_ms: int | None = Field(
        default=None,
        ge=0,
        le=60_000,
        description="How long the first event of a micro-batch may wait. Default: batch.max_queue_delay_ms.",
    )


class ModelEntry(Section):
    """One of several models ([[models]]). What is not set is inherited from [model], except the version."""

    name: ModelName = Field(description="Name of the model in the repository. Each model has a name of its own.")
    repository: Path | None = Field(default=None, description="The model repository. Default: model.repository.")
    version: int | None = Field(
        default=None, ge=1, le=999_999_999, description="Version of the model. Default: the highest in the repository."
    )
    device: Device | None = Field(default=None, description="Device for the model. Default: model.device.")
    precision: Literal["fp32", "tf32", "bf16"] | None = Field(
        default=None, description="Precision of matrix products and convolutions. Default: model.precision."
    )
    cuda_graphs: bool | None = Field(
        default=None, description="Capture the model as CUDA graphs on CUDA devices. Default: model.cuda_graphs."
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1_024,
        description="CPU threads for one model call. The largest value applies to all models. Default: model.threads.",
    )
    instances: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="How many copies of the model this worker runs at the same time. Default: model.instances.",
    )
    call_timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=DAY_MS,
        description="A model call that takes longer opens the model's circuit breaker. Default: model.call_timeout_ms.",
    )
    max_load_memory_mb: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="MiB by which the process may grow while the model is built and warmed up. Default: "
        "model.max_load_memory_mb.",
    )
    max_batch_latency_ms: int | None = Field(
        default=None,
        ge=1,
        le=DAY_MS,
        description="How long a full micro-batch may take after the warm-up. Default: model.max_batch_latency_ms.",
    )
    topics: Topics | None = Field(
        default=None,
        description="Input topics whose events go to this model unless they name another. The first model also takes "
        "the events of all input topics that no model lists. Default: none.",
    )
    batch: BatchOverrides = BatchOverrides()
    window: WindowSection = WindowSection()
    decision: DecisionSection = DecisionSection()


@dataclass(frozen=True, slots=True)
class ServedModelSettings:
    """All settings of one model to serve, with inherited values filled in.

    topics: the input topics whose events go to this model by default, without topics.prefix, as in input.topics. Each
    input topic belongs to exactly one model; the first model has those that no model lists.
    entry: the model's entry in the list, such as "models[1]"; empty in the short form.
    """

    model: ModelSection
    batch: BatchSection
    window: WindowSection
    topics: tuple[str, ...]
    entry: str = ""
    decision: DecisionSection = _NO_DECISION

    @property
    def decision_section(self) -> str:
        """The name of the section with the settings of the model's decisions, for messages."""
        return f"{self.entry}.decision" if self.entry else "decision"

    @property
    def window_section(self) -> str:
        """The name of the section with the settings of the model's windows, for messages."""
        return f"{self.entry}.window" if self.entry else "window"


def derived_topics(entries: Sequence[ModelEntry], default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the input topics if none are configured: those of the entries, after the default if the first lists none.

    Without the default, a first model without topics would silently receive no events.
    """
    first = () if entries and entries[0].topics else default
    return tuple(dict.fromkeys([*first, *_listed(entries)]))


def _listed(entries: Sequence[ModelEntry]) -> list[str]:
    return [topic for entry in entries for topic in entry.topics or ()]


def served_models(
    entries: Sequence[ModelEntry],
    model: ModelSection,
    batch: BatchSection,
    window: WindowSection,
    *,
    decision: DecisionSection,
    input_topics: Sequence[str],
) -> tuple[ServedModelSettings, ...]:
    """Return the settings of each model to serve. Without entries: of the one model of the short form."""
    if not entries:
        return (ServedModelSettings(model, batch, window, tuple(input_topics), decision=decision),)
    listed = _listed(entries)
    unlisted = tuple(topic for topic in input_topics if topic not in listed)
    return tuple(
        ServedModelSettings(
            model=ModelSection(**(model.model_dump() | _set_fields(entry, ModelSection) | {"version": entry.version})),
            batch=BatchSection(**(batch.model_dump() | _set_fields(entry.batch, BatchSection))),
            window=entry.window,
            topics=(entry.topics or ()) + (unlisted if index == 0 else ()),
            entry=f"models[{index}]",
            decision=entry.decision,
        )
        for index, entry in enumerate(entries)
    )


def _set_fields(overrides: Section, target: type[Section]) -> dict[str, object]:
    values = ((key, getattr(overrides, key)) for key in target.model_fields)
    return {key: value for key, value in values if value is not None}
