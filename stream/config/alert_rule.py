"""One rule of [[aggregate.alerts]], and what tells people what is wrong with it."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay.schemas.aggregates import Category, Severity
from forebay.schemas.failures import FailureKind
from forebay.stream.config.values import Allowed, Mistake, Mistakes, allowed

_MAX_NAME: Final = 100
_MINUTE_S: Final = 60
_DAY_S: Final = 86_400


class AlertRule(BaseModel):
    """When to raise an alert, and when it is over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=_MAX_NAME, description="what the alert is called")
    category: Annotated[Category, Field(strict=False)] = Field(
        default=Category.ERROR, description="the kinds of failure that count, where kind does not name one"
    )
    kind: Annotated[FailureKind, Field(strict=False)] | None = Field(default=None, description="one kind of failure")
    model: str | None = Field(default=None, min_length=1, description="one model; without it each one by itself")
    count: int | None = Field(default=None, ge=0, description="more failures than this in the window")
    rate: float | None = Field(default=None, ge=0, lt=1, description="a larger share of the events than this")
    min_events: int = Field(default=1, ge=1, description="rate: not with fewer events in the window")
    window_s: int = Field(
        default=300, ge=_MINUTE_S, le=_DAY_S, multiple_of=_MINUTE_S, description="over how long it is measured"
    )
    for_s: int = Field(default=0, ge=0, le=_DAY_S, description="how long it must hold before the alert fires")
    resolve_below: float | None = Field(
        default=None, ge=0, description="hysteresis: over when it is at most this; without it the threshold"
    )
    cool_down_s: int = Field(
        default=300, ge=0, le=_DAY_S, description="it does not fire again for this long after it was resolved"
    )
    severity: Annotated[Severity, Field(strict=False)] = Field(default=Severity.WARNING, description="how bad it is")

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
        """The count or rate above which it fires."""
        return float(self.count if self.count is not None else self.rate or 0.0)


_WORDS: Final = {
    "name": f"a text of 1 to {_MAX_NAME} characters",
    "category": ", ".join(f'"{one.value}"' for one in Category),
    "kind": "a kind of failure, as `forebay dlq stats` names them",
    "severity": ", ".join(f'"{one.value}"' for one in Severity),
    "count": "a whole number from 0",
    "rate": "a number from 0 to below 1",
    "resolve_below": "a number from 0",
    "window_s": f"a multiple of {_MINUTE_S} from {_MINUTE_S} to {_DAY_S}",
    "model": "the name of a model",
}


def _from_json(value: object) -> object:
    """In the environment and on the command line the rules are a JSON list."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    return value


def _read_rules(value: object) -> tuple[AlertRule, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list of tables")
    mistakes: list[Mistake] = []
    rules: list[AlertRule] = []
    names: set[object] = set()
    for index, one in enumerate(value):
        if isinstance(one, AlertRule):
            rules.append(one)
        elif isinstance(one, dict):
            called = _called(index, one)
            if isinstance(name := one.get("name"), str) and name in names:
                mistakes.append(Mistake(f"[{index}].name", called, "the name is there twice"))
            names.add(name)
            try:
                rules.append(AlertRule(**one))
            except ValidationError as error:
                mistakes += [_mistake(index, called, each, one) for each in error.errors(include_url=False)]
            except TypeError:
                mistakes.append(Mistake(f"[{index}]", called, "its keys must be texts"))
        else:
            mistakes.append(Mistake(f"[{index}]", f"rule {index + 1}", "must be a table"))
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(rules)


def _called(index: int, given: dict[str, Any]) -> str:
    name = given.get("name")
    return f'rule "{name[:_MAX_NAME]}"' if isinstance(name, str) and name else f"rule {index + 1}"


def _mistake(index: int, called: str, error: Any, given: dict[str, Any]) -> Mistake:
    if not error["loc"]:
        return Mistake(f"[{index}]", called, str(error["ctx"]["error"]))
    key = str(error["loc"][0])
    place = f"[{index}].{key}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, AlertRule.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(AlertRule.model_fields)}"
        return Mistake(place, f"{called}, {key}", f"there is no such key; {hint}")
    words = _WORDS.get(key) or allowed(AlertRule.model_fields[key])
    if error["type"] == "missing":
        return Mistake(place, f"{called}, {key}", f"is missing; it must be {words}")
    near = []
    if key == "kind" and isinstance(given.get(key), str):
        near = get_close_matches(given[key], [kind.value for kind in FailureKind], n=1)
    shown = json.dumps(given.get(key), ensure_ascii=False, default=str)[:80]
    verdict = f"must be {words}" + (f"; did you mean {near[0]}?" if near else "")
    return Mistake(place, f"{called}, {key} = {shown}", verdict)


AlertRules = Annotated[
    tuple[AlertRule, ...],
    BeforeValidator(_read_rules),
    BeforeValidator(_from_json),
    AfterValidator(tuple),
    Allowed("[[aggregate.alerts]] tables, each with a name and count or rate"),
]
