"""The recipe of a compression: the data, the methods, the limits and the training, as TOML or as options of the command."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay.models.compression.fine_tuning import TuningOptions
from forebay.models.compression.goals import Goals
from forebay.models.compression.methods import Distil
from forebay.models.compression.plans import Wishes
from forebay.models.measurement.timing import BATCH_SIZES, TimingOptions
from forebay.models.training.recipe_sections import DataSection, SplitSection
from forebay.schemas.errors import ConfigError

_UNITS: Final[Mapping[str, int]] = {
    "": 1,
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}

Share = Annotated[float, Gt(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]


def parse_size(value: object) -> object:
    """Return the bytes of a size such as 200KB or 1.5MiB. Raises ValueError for another text."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{value[:40]!r} is not a size such as 200KB or 1.5MiB")
    return round(float(match[1]) * _UNITS[match[2].lower()])


Size = Annotated[int, BeforeValidator(parse_size), Gt(0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MethodsSection(_Section):
    """[compression]: the methods."""

    enable_pruning: bool = False
    pruning_ratio: Share = Field(default=0.5, description="The share that leaves.")
    pruning: Literal["structured", "unstructured"] = Field(
        default="structured",
        description="structured: neurons and channels leave; unstructured: weights become zero, which only a zip file shows.",
    )
    enable_quantization: bool = False
    quantization_bits: Literal[8, 4] = Field(default=8, description="8: weights and values. 4: weights only.")
    quantization: Literal["static", "dynamic"] = Field(
        default="static", description="Of 8 bits: by the ranges of training rows, or found in each call."
    )
    enable_distillation: bool = False
    student_hidden_dims: tuple[Count, ...] = Field(
        default=(), description="The hidden layers of the student. [default: student_scale of the model's own]"
    )
    student_scale: Share = 0.5
    temperature: Positive = 2.0
    teacher_share: Annotated[float, Gt(0), Le(1)] = Field(default=0.7, description="Of the teacher in the loss.")
    trees: Share | None = Field(default=None, description="Trees: the share that remains.")
    max_depth: Count | None = Field(default=None, description="Trees: splits between a root and a leaf.")
    threshold_bits: Annotated[int, Ge(2), Le(12)] | None = Field(
        default=None, description="Trees: 2**bits - 1 different thresholds for each column."
    )
    search: bool = Field(default=False, description="Try many plans instead of these methods.")

    def wishes(self) -> Wishes:
        """Return the methods."""
        is_structured = self.pruning == "structured"
        ratio = self.pruning_ratio if self.enable_pruning else None
        names = {(8, "static"): "int8", (8, "dynamic"): "int8-dynamic"}
        name = names.get((self.quantization_bits, self.quantization), "int4")
        student = Distil(
            self.student_hidden_dims, self.student_scale, self.temperature, teacher_share=self.teacher_share
        )
        return Wishes(
            prune=ratio if is_structured else None,
            zero=None if is_structured else ratio,
            quantise=name if self.enable_quantization else None,
            distil=student if self.enable_distillation else None,
            trees=self.trees,
            depth=self.max_depth,
            thresholds=self.threshold_bits,
            search=self.search,
        )


class GoalsSection(_Section):
    """[goals]: the limits. Nothing is registered that misses one."""

    max_loss: float | None = 0.005
    certain: bool = False
    max_slice_loss: float | None = None
    min_speed_up: Positive | None = None
    max_size: Size | None = None
    max_memory: Size | None = None
    max_latency_ms: Positive | None = None
    max_energy: Positive | None = None
    slices: tuple[Annotated[str, MinLen(1)], ...] = ()


class MeasurementSection(_Section):
    """[measurement]: how models are timed."""

    batch_sizes: Annotated[tuple[Count, ...], MinLen(1)] = BATCH_SIZES
    goal_batch_size: Count | None = Field(
        default=None, description="The batch size of the limits on time. [default: the largest]"
    )
    rounds: Annotated[int, Ge(2)] = 15
    round_ms: Positive = 10.0
    memory: bool = True

    @property
    def limits_at(self) -> int:
        """The batch size of the limits on time."""
        return max(self.batch_sizes) if self.goal_batch_size is None else self.goal_batch_size

    @model_validator(mode="after")
    def _measures_the_goal(self) -> MeasurementSection:
        if self.limits_at not in self.batch_sizes:
            raise ValueError(f"goal_batch_size is {self.limits_at}; measured are {list(self.batch_sizes)}")
        return self

    def options(self) -> TimingOptions:
        """Return the options of the timing."""
        return TimingOptions(self.batch_sizes, self.rounds, self.round_ms / 1_000)


class TuningSection(_Section):
    """[training]: of what is left after pruning, and of students."""

    epochs: Count = 30
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    patience: Count = 5
    seed: Annotated[int, Ge(0)] = 0

    def options(self) -> TuningOptions:
        """Return the options of the training."""
        return TuningOptions(**self.model_dump())


class CompressionRecipe(_Section):
    """All sections. The data and the split are those of a training recipe."""

    data: DataSection
    split: SplitSection = SplitSection()
    compression: MethodsSection = MethodsSection()
    goals: GoalsSection = GoalsSection()
    measurement: MeasurementSection = MeasurementSection()
    training: TuningSection = TuningSection()

    def limits(self) -> Goals:
        """Return the limits."""
        values = self.goals.model_dump(exclude={"slices"})
        return Goals(**values, batch_size=self.measurement.limits_at)


def read_document(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises ConfigError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}", remedy="check the path of the recipe") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is not TOML: {error}", remedy="correct the line") from None


def compression_recipe(document: Mapping[str, Any], place: str) -> CompressionRecipe:
    """Return the recipe. Raises ConfigError with every mistake, each with its place."""
    try:
        return CompressionRecipe.model_validate(_tuples(document))
    except ValidationError as error:
        problems = [f"{place}: {problem}" for problem in _problems(error)]
    raise ConfigError(
        f"{place}: the recipe has {len(problems)} mistake{'s' if len(problems) > 1 else ''}",
        problems=problems,
        remedy="docs/compression.md describes every key",
    )


def _tuples(value: Any) -> Any:
    """Return the value with tuples for lists, which the strict sections of training recipes take."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _problems(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        place = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "missing":
            yield f"{place} is missing"
        elif detail["type"] == "extra_forbidden":
            yield f"{place} is not a known key"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            yield f"{place}: {message}" if place else message
