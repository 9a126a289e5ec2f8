"""Alert rules ([[aggregate.alerts]]), and an error message for each invalid key of each rule."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay.schemas.aggregates import CATEGORY_METRICS, Category, DriftLevel, Severity
from forebay.schemas.failures import FailureKind
from forebay.stream.config.alert_rule_checks import RuleKeys, first_fault
from forebay.stream.config.json_value import parse_json
from forebay.stream.config.values import Allowed, Mistake, Mistakes, allowed

_MAX_NAME: Final = 100
_MINUTE_S: Final = 60
_DAY_S: Final = 86_400


class _KeyError(ValueError):
    """A key whose value does not fit the rule's other keys. key: None if no single key is at fault."""

    def __init__(self, key: str | None, verdict: str) -> None:
        super().__init__(verdict)
        self.key = key
        self.verdict = verdict


class AlertRule(BaseModel):
    """The conditions under which an alert fires and resolves."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=_MAX_NAME, description="Name of the alert.")
    category: Annotated[Category, Field(strict=False)] = Field(
        default=Category.ERROR,
        description="Category of the failures to count, if kind is not set, or of the metric.",
    )
    kind: Annotated[FailureKind, Field(strict=False)] | None = Field(
        default=None, description="Count only failures of this kind."
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="Apply the rule only to this model. Default: evaluate the rule for each model separately.",
    )
    version: int | None = Field(
        default=None,
        ge=1,
        description="For a metric: apply the rule only to this version. Default: evaluate it for each version separately.",
    )
    metric: str | None = Field(
        default=None, description="The metric to compare with above or below, instead of failures."
    )
    above: float | None = Field(
        default=None, allow_inf_nan=False, description="Fire if the metric is above this over window_s."
    )
    below: float | None = Field(
        default=None, allow_inf_nan=False, description="Fire if the metric is below this over window_s."
    )
    slice: str | None = Field(
        default=None,
        pattern=r"^[^=]+=.+$",
        description="For category quality: evaluate the metric in this slice, as name=value; with name=*, in each slice of "
        "that name.",
    )
    min_matched: int = Field(
        default=100,
        ge=1,
        description="For category quality: do not judge fewer predictions with a label than this.",
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        description="For category drift: only this feature or output. Default: each of them.",
    )
    level: Annotated[DriftLevel, Field(strict=False)] = Field(
        default=DriftLevel.ALARM, description="For category drift: fire from this level on."
    )
    count: int | None = Field(
        default=None, ge=0, description="Fire if there are more failures than this within window_s."
    )
    rate: float | None = Field(
        default=None, ge=0, lt=1, description="Fire if more than this share of the events fail within window_s."
    )
    min_events: int = Field(
        default=1,
        ge=1,
        description="For rate and latency: do not fire if there are fewer events than this within window_s.",
    )
    window_s: int = Field(
        default=300,
        ge=_MINUTE_S,
        le=_DAY_S,
        multiple_of=_MINUTE_S,
        description="The time span over which failures are counted or the metric is measured. For category quality in event "
        "time, rounded up to whole windows of evaluate.window_s.",
    )
    for_s: int = Field(
        default=0, ge=0, le=_DAY_S, description="The condition must hold for this long before the alert fires."
    )
    resolve_below: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Hysteresis: resolve the alert once the value is at most this. Default: the threshold: count, rate or "
        "above.",
    )
    resolve_above: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Hysteresis: resolve the alert once the metric is at least this. Default: the threshold, below.",
    )
    cool_down_s: int = Field(
        default=300, ge=0, le=_DAY_S, description="After the alert is resolved, it does not fire again for this long."
    )
    severity: Annotated[Severity, Field(strict=False)] = Field(
        default=Severity.WARNING, description="Severity of the alert."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        fields = type(self).model_fields
        keys = RuleKeys(
            category=self.category,
            metric=self.metric,
            # A shown configuration contains the defaults too.
            given=frozenset(name for name in self.model_fields_set if getattr(self, name) != fields[name].default),
            above=self.above,
            below=self.below,
            resolve_above=self.resolve_above,
            resolve_below=self.resolve_below,
        )
        if (fault := first_fault(keys)) is not None:
            raise _KeyError(fault.key, fault.verdict)
        if self.metric is None and self.resolve_below is not None and not 0 <= self.resolve_below <= self.threshold:
            verdict = f"must be at least 0 and at most the threshold, {self.threshold:g}"
            raise _KeyError("resolve_below", verdict)
        return self

    @property
    def needs_performance(self) -> bool:
        """Return whether the workers have to report their performance for this rule."""
        is_measured = self.category in (Category.PERFORMANCE, Category.RESOURCE) and self.metric is not None
        return is_measured and self.metric != "throughput"

    @property
    def threshold(self) -> float:
        """Return the count, rate or value beyond which the alert fires; 0 for drift, which has its own thresholds."""
        given = (self.count, self.rate, self.above, self.below)
        return float(next((value for value in given if value is not None), 0.0))


_WORDS: Final = {
    "name": f"a string of 1 to {_MAX_NAME} characters",
    "category": ", ".join(f'"{category.value}"' for category in Category),
    "kind": "a kind of failure, as `forebay dlq stats` shows them",
    "severity": ", ".join(f'"{severity.value}"' for severity in Severity),
    "count": "a whole number of at least 0",
    "rate": "a number of at least 0 and below 1",
    "resolve_below": "a number",
    "resolve_above": "a number",
    "above": "a number",
    "below": "a number",
    "slice": "text such as carrier=UA, or carrier=* for each value",
    "metric": "the name of a metric, such as "
    + ", ".join(metrics[0] for metrics in CATEGORY_METRICS.values() if metrics),
    "level": ", ".join(f'"{level.value}"' for level in DriftLevel),
    "window_s": f"a multiple of {_MINUTE_S} from {_MINUTE_S} to {_DAY_S}",
    "model": "the name of a model",
}


def _from_json(value: object) -> object:
    """Parse rules from the environment or the command line, where they are a JSON list."""
    if isinstance(value, str):
        try:
            return parse_json(value)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    return value


def _read_rules(value: object) -> tuple[AlertRule, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list of tables")
    mistakes: list[Mistake] = []
    rules: list[AlertRule] = []
    names: set[object] = set()
    for index, table in enumerate(value):
        if isinstance(table, AlertRule):
            rules.append(table)
        elif isinstance(table, dict):
            subject = _subject(index, table)
            if isinstance(name := table.get("name"), str) and name in names:
                mistakes.append(Mistake(f"[{index}].name", subject, "another rule has the same name"))
            names.add(name)
            try:
                rules.append(AlertRule(**table))
            except ValidationError as error:
                mistakes += [_mistake(index, subject, detail, table) for detail in error.errors(include_url=False)]
            except TypeError:
                mistakes.append(Mistake(f"[{index}]", subject, "its keys must be strings"))
        else:
            mistakes.append(Mistake(f"[{index}]", f"rule {index + 1}", "must be a table"))
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(rules)


def _subject(index: int, table: dict[str, Any]) -> str:
    name = table.get("name")
    return f'rule "{name[:_MAX_NAME]}"' if isinstance(name, str) and name else f"rule {index + 1}"


def _mistake(index: int, subject: str, error: Any, table: dict[str, Any]) -> Mistake:
    if not error["loc"]:
        key, verdict = error["ctx"]["error"].key, error["ctx"]["error"].verdict
        if key is None:
            return Mistake(f"[{index}]", subject, verdict)
        shown = f" = {_shown(table[key])}" if key in table else ""
        return Mistake(f"[{index}].{key}", f"{subject}, {key}{shown}", verdict)
    key = str(error["loc"][0])
    place = f"[{index}].{key}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, AlertRule.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(AlertRule.model_fields)}"
        return Mistake(place, f"{subject}, {key}", f"unknown key; {hint}")
    words = _WORDS.get(key) or allowed(AlertRule.model_fields[key])
    if error["type"] == "missing":
        return Mistake(place, f"{subject}, {key}", f"is missing; it must be {words}")
    near = []
    if key == "kind" and isinstance(table.get(key), str):
        near = get_close_matches(table[key], [kind.value for kind in FailureKind], n=1)
    shown = _shown(table.get(key))
    verdict = f"must be {words}" + (f"; did you mean {near[0]}?" if near else "")
    return Mistake(place, f"{subject}, {key} = {shown}", verdict)


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:80]


AlertRules = Annotated[
    tuple[AlertRule, ...],
    BeforeValidator(_read_rules),
    BeforeValidator(_from_json),
    AfterValidator(tuple),
    Allowed("[[aggregate.alerts]] tables, each with a name, and count, rate or a metric"),
]
