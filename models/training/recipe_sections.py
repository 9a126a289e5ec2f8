"""The sections of a recipe file: their keys, defaults and allowed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forebay.models.distributed.options import CompressionName, DistributedOptions, Strategy
from forebay.models.training.optimisers import OptimizerName, Schedule

Fraction = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Text = Annotated[str, MinLen(1)]
Architecture = Literal["linear", "logistic", "mlp", "cnn", "gru", "hist_gradient_boosting", "xgboost", "lightgbm"]
NETS: tuple[Architecture, ...] = ("linear", "logistic", "mlp", "cnn", "gru")


ColumnTypeName = Literal["number", "integer", "boolean", "text", "time", "float64", "int64", "bool", "timestamp"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSection(_Section):
    """[data]: where the rows are, and what their columns mean. Paths are relative to the recipe."""

    path: Text | None = Field(default=None, description="A file, a pattern such as data/*.csv.gz, or a URL.")
    topic: Text | None = Field(
        default=None, description="Instead of a path: a topic with labelled events, such as topic://features?from=-7d."
    )
    label: Text = Field(description="The column to predict.")
    skip_bad_lines: bool = Field(default=False, description="Leave out and count rows that cannot be read.")
    delimiter: Annotated[str, MinLen(1), MaxLen(1)] | None = Field(default=None, description="CSV: the separator.")
    text_columns: tuple[Text, ...] = Field(
        default=(), description="CSV: columns that are texts, whatever they look like."
    )
    column_types: dict[str, ColumnTypeName] = Field(
        default_factory=dict,
        description="CSV and JSON lines: types of columns, where those that the first rows show are wrong: {amount = "
        '"number"}. Allowed are number, integer, boolean, text and time.',
    )
    columns: tuple[Text, ...] = Field(default=(), description="The features. [default: all other columns]")
    exclude: tuple[Text, ...] = Field(default=(), description="Columns that are not features.")
    id: Text | None = Field(
        default=None, description="The column that identifies a row; it is not a feature. [default: `id` for a topic]"
    )
    key: Text | None = Field(default=None, description="The column of the record key, for a split by key.")
    time: Text | None = Field(
        default=None,
        description="The column with the time of a row; it is not a feature. [default: `timestamp` for a topic]",
    )
    task: Literal["auto", "regression", "binary", "multiclass"] = "auto"
    classes: tuple[str, ...] = Field(default=(), description="The values of the label in the order of the outputs.")
    types: dict[str, Literal["float32", "category", "hashed"]] = Field(
        default_factory=dict, description="The types of features, where another than that of the column is wanted."
    )
    dates: dict[str, Annotated[tuple[Text, ...], MinLen(1)]] = Field(
        default_factory=dict, description='Features that are times, and their parts: {departed = ["hour", "weekday"]}.'
    )
    date_unit: Literal["milliseconds", "seconds"] = Field(
        default="milliseconds", description="Of times that are numbers since 1970."
    )
    date_clock: Literal["utc", "text"] = Field(
        default="utc", description="The clock whose parts are taken: that of a text counts whatever its offset is."
    )
    date_reference: str = Field(
        default="", description="The ISO 8601 time that seconds_since and days_since are counted from."
    )
    max_categories: Annotated[int, Ge(1), Le(100_000)] = Field(
        default=1000, description="A text with more distinct values is hashed."
    )
    unknown: Literal["reject", "other"] = Field(
        default="reject",
        description="What a worker does with a text that the data does not have: a dead letter, or a code of its own.",
    )
    buckets: Annotated[int, Ge(2), Le(16_777_216)] = Field(default=4096, description="Of hashed texts.")
    window_ms: Count | None = Field(
        default=None, description="gru: the length of a window of a key's events; its label is that of its last event."
    )
    max_rows: Count | None = Field(default=None, description="Read at most this many rows.")

    @model_validator(mode="before")
    @classmethod
    def _events_have_ids_and_times(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("topic") is not None:
            return {"id": "id", "time": "timestamp", **values}
        return values

    @model_validator(mode="after")
    def _has_one_source(self) -> DataSection:
        if (self.path is None) == (self.topic is None):
            raise ValueError("give one of path and topic")
        roles = [name for name in (self.label, self.id, self.time) if name is not None]
        if both := [name for name in roles if name in self.columns]:
            raise ValueError(f"columns has {both[0]!r}, which is the label, the id or the time")
        return self


class SplitSection(_Section):
    """[split]: which rows the model is trained, validated and tested on."""

    by: Literal["random", "time", "key"] = "random"
    validation: Annotated[float, Gt(0), Lt(1)] = 0.15
    test: Fraction = 0.15
    seed: Annotated[int, Ge(0)] = 0

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> SplitSection:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation and test take {self.validation + self.test:g} of the rows; allowed is below 1"
            )
        return self


class ModelSection(_Section):
    """[model]: the architecture and its sizes."""

    architecture: Architecture = "mlp"
    hidden_dims: Annotated[tuple[Count, ...], MinLen(1)] = (64, 32)
    dropout_rate: Fraction = 0.0
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"
    in_channels: Count = Field(default=1, description="cnn: channels of an image.")
    image_size: Annotated[int, Ge(4)] | None = Field(default=None, description="cnn: its height and width.")
    hidden_dim: Count = Field(default=32, description="gru: size of the state.")
    num_layers: Count = Field(default=1, description="gru: layers.")
    sequence_length: Count | None = Field(default=None, description="gru: the last events of a window that it sees.")
    num_trees: Count = Field(default=200, description="Trees: rounds of boosting.")
    max_leaves: Annotated[int, Ge(2)] = Field(default=31, description="Trees: leaves of a tree.")
    min_rows_per_leaf: Count = Field(default=20, description="Trees: rows of a leaf.")

    @property
    def is_net(self) -> bool:
        """Whether it is trained by gradients."""
        return self.architecture in NETS

    @model_validator(mode="after")
    def _has_its_sizes(self) -> ModelSection:
        if self.architecture == "cnn" and self.image_size is None:
            raise ValueError("cnn needs image_size, such as 28")
        if self.architecture == "gru" and self.sequence_length is None:
            raise ValueError("gru needs sequence_length, such as 16")
        return self


class TrainingSection(_Section):
    """[training]: the loss, the optimiser and how long to train."""

    loss: Literal["auto", "binary", "cross_entropy", "mse", "mae", "huber"] = "auto"
    huber_delta: Annotated[float, Gt(0)] = 1.0
    class_weights: Literal["none", "balanced"] | tuple[Annotated[float, Gt(0)], ...] = "none"
    optimizer: OptimizerName = "adam"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    momentum: Fraction = 0.0
    weight_decay: Annotated[float, Ge(0)] = 0.0
    schedule: Schedule = "constant"
    warmup_steps: Annotated[int, Ge(0)] = 0
    gradient_clip: Annotated[float, Ge(0)] = 0.0
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="cpu", description="What a net is trained on; auto: CUDA if torch finds a device, else the CPU."
    )
    batch_size: Count = 1024
    epochs: Count = 50
    patience: Count = 5
    seed: Annotated[int, Ge(0)] = 0
    fit_rows: Count = Field(
        default=1_000_000, description="The preparation is fitted on at most this many training rows."
    )

    @model_validator(mode="after")
    def _momentum_fits(self) -> TrainingSection:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is {self.momentum:g}; only sgd takes it, and the optimizer is {self.optimizer}")
        return self


class DistributedSection(_Section):
    """[distributed]: how several processes, the ranks, train one net together."""

    strategy: Strategy = Field(default="all_reduce", description="How the ranks add up their gradients.")
    compression: CompressionName = Field(default="none", description="How gradients are made smaller.")
    density: Annotated[float, Gt(0), Le(1)] = Field(
        default=0.01, description="top_k and top_k_int8: the fraction of the values that is sent."
    )
    power_sgd_rank: Count = Field(default=2, description="power_sgd: columns of its matrices.")
    checkpoint_interval: Annotated[int, Ge(0)] = Field(
        default=100, description="Steps between two checkpoints; 0 writes none."
    )
    keep_checkpoints: Count = Field(default=3, description="How many of the newest checkpoints remain.")
    timeout_s: Annotated[float, Ge(1), Le(3600)] = Field(
        default=30.0, description="How long a rank waits for the others."
    )
    bucket_mb: Annotated[float, Gt(0)] = Field(default=25.0, description="Size of the messages, in MiB.")
    lost_rank: Literal["stop", "continue"] = Field(
        default="stop", description="parameter_server: whether the others continue without a rank that is lost."
    )

    @model_validator(mode="after")
    def _can_continue(self) -> DistributedSection:
        if self.lost_rank == "continue" and self.strategy != "parameter_server":
            raise ValueError("lost_rank is 'continue', which needs the strategy 'parameter_server'")
        return self

    def options(self) -> DistributedOptions:
        """Return the section as the ranks take it."""
        return DistributedOptions(**self.model_dump())


class RegisterSection(_Section):
    """[register]: the name under which the model is published."""

    name: Text
    repository: Text = Field(default="models", description="A folder or URL; a relative folder is of the current one.")
    alias: Text | None = Field(default=None, description="An alias to point at the new version, such as candidate.")
    backend: Literal["torch", "onnx"] | None = Field(
        default=None,
        description="What runs a net. [default: ONNX Runtime if the exported net agrees with torch, else torch]",
    )
    note: str = ""
    licence: str = ""
    parent: Count | None = Field(default=None, description="The version that this one replaces. [default: the newest]")


class Range(_Section):
    """A range of [tune]: numbers between two limits, or choices."""

    low: float | int | None = Field(None, alias="from")
    high: float | int | None = Field(None, alias="to")
    scale: Literal["linear", "log"] = "linear"
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        limits = (self.low, self.high)
        if bool(self.choices) == any(limit is not None for limit in limits):
            raise ValueError("give `choices`, or both `from` and `to`")
        if self.low is None or self.high is None:
            if self.choices:
                return self
            raise ValueError("give both `from` and `to`")
        if not self.low < self.high:
            raise ValueError(f"from is {self.low} and to is {self.high}; `from` must be smaller")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"from is {self.low}; a log scale needs numbers above 0")
        return self
