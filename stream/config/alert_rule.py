"""Alert rules ([[aggregate.alerts]]), and an error message for each invalid key of each rule."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay.schemas.aggregates import Category, Severity
from forebay.schemas.failures import FailureKind
from forebay.stream.config.json_value import parse_json
from forebay.stream.config.values import Allowed, Mistake, Mistakes, allowed

_MAX_NAME: Final = 100
_MINUTE_S: Final = 60
_DAY_S: Final = 86_400


class AlertRule(BaseModel):
    """The conditions under which an alert fires and resolves."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=_MAX_NAME, description="Name of the alert.")
    category: Annotated[Category, Field(strict=False)] = Field(
        default=Category.ERROR, description="Category of failures to count, if kind is not set."
    )
    kind: Annotated[FailureKind, Field(strict=False)] | None = Field(
        default=None, description="Count only failures of this kind."
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="Count only failures of this model. Default: evaluate the rule for each model separately.",
    )
    count: int | None = Field(
        default=None, ge=0, description="Fire if there are more failures than this within window_s."
    )
    rate: float | None = Field(
        default=None, ge=0, lt=1, description="Fire if more than this share of the events fail within window_s."
    )
    min_events: int = Field(
        default=1, ge=1, description="For rate: do not fire if there are fewer events than this within window_s."
    )
    window_s: int = Field(
        default=300,
        ge=_MINUTE_S,
        le=_DAY_S,
        multiple_of=_MINUTE_S,
        description="The time span over which failures are counted.",
    )
    for_s: int = Field(
        default=0, ge=0, le=_DAY_S, description="The condition must hold for this long before the alert fires."
    )
    resolve_below: float | None = Field(
        default=None,
        ge=0,
        description="Hysteresis: resolve the alert once the value is at most this. Default: the threshold, count or "
        "rate.",
    )
    cool_down_s: int = Field(
        default=300, ge=0, le=_DAY_S, description="After the alert is resolved, it does not fire again for this long."
    )
    severity: Annotated[Severity, Field(strict=False)] = Field(
        default=Severity.WARNING, description="Severity of the alert."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.count is None) == (self.rate is None):
            raise ValueError("must have either count or rate")
        if self.resolve_below is not None and self.resolve_below > self.threshold:
            raise ValueError(
                f"resolve_below = {self.resolve_below:g} must be at most the threshold, {self.threshold:g}"
            )
        return self

    @property
    def threshold(self) -> float:
        """Return the count or rate above which the alert fires."""
        return float(self.count if self.count is not None else self.rate or 0.0)


_WORDS: Final = {
    "name": f"a string of 1 to {_MAX_NAME} characters",
    "category": ", ".join(f'"{category.value}"' for category in Category),
    "kind": "a kind of failure, as `forebay dlq stats` shows them",
    "severity": ", ".join(f'"{severity.value}"' for severity in Severity),
    "count": "a whole number of at least 0",
    "rate": "a number of at least 0 and below 1",
    "resolve_below": "a number of at least 0",
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
        return Mistake(f"[{index}]", subject, str(error["ctx"]["error"]))
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
    shown = json.dumps(table.get(key), ensure_ascii=False, default=str)[:80]
    verdict = f"must be {words}" + (f"; did you mean {near[0]}?" if near else "")
    return Mistake(place, f"{subject}, {key} = {shown}", verdict)


AlertRules = Annotated[
    tuple[AlertRule, ...],
    BeforeValidator(_read_rules),
    BeforeValidator(_from_json),
    AfterValidator(tuple),
    Allowed("[[aggregate.alerts]] tables, each with a name and count or rate"),
]
