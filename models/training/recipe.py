"""A recipe: everything that determines a training, in one TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forebay.models.preparation.catalogue import STEPS
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.training.recipe_sections import (
    DataSection,
    DistributedSection,
    ModelSection,
    Range,
    RegisterSection,
    SplitSection,
    TrainingSection,
)
from forebay.models.training.toml_text import to_toml
from forebay.schemas.errors import ConfigError, ModelError

_TUNABLE: Final[Mapping[str, type[BaseModel]]] = {"model": ModelSection, "training": TrainingSection}
_PLAIN: Final = {
    "missing": "is missing",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "from {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "{expected}",
    "too_short": "a list with a value",
    "too_long": "one character",
    "string_too_long": "one character",
    "string_too_short": "a text that is not empty",
}


def _tuples(value: object) -> object:
    """Return lists as tuples, which strict validation expects."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


class Recipe(BaseModel):
    """The whole recipe. prepare: the ordered steps of the preparation, which `forebay.models.preparation` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: DataSection
    split: SplitSection = SplitSection()
    prepare: tuple[dict[str, Any], ...] = ()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    distributed: DistributedSection = DistributedSection()
    register_: Annotated[RegisterSection, Field(alias="register")]
    tune: dict[str, Range] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        for name in self.tune:
            section, _, key = name.partition(".")
            if section not in _TUNABLE or key not in _TUNABLE[section].model_fields:
                raise ValueError(f"tune.{name} cannot be searched; allowed are keys of model and training")
        if self.split.by == "time" and self.data.time is None:
            raise ValueError("split.by is 'time', and data.time is missing")
        if self.split.by == "key" and self.data.key is None:
            raise ValueError("split.by is 'key', and data.key is missing")
        sequence = (self.data.key, self.data.time, self.data.window_ms)
        if self.model.architecture == "gru" and None in sequence:
            raise ValueError("gru needs data.key, data.time and data.window_ms, which make windows of events")
        if self.model.architecture != "gru" and self.data.window_ms is not None:
            raise ValueError("data.window_ms is only for gru")
        return self

    def to_toml(self) -> str:
        """Return the recipe as TOML with all values that are set, from which it is read back unchanged."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        return to_toml({name: value for name, value in document.items() if value or name == "data"})

    def with_values(self, values: Mapping[str, object]) -> Recipe:
        """Return a copy with other values by `section.key`. Raises ConfigError for values that are not allowed."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        for name, value in values.items():
            section, _, key = name.partition(".")
            document.setdefault(section, {})[key] = value
        return _validated(document, "the recipe")

    @property
    def registration(self) -> RegisterSection:
        """The section [register], whose own name is a method of the base class."""
        return self.register_


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a file. Raises ConfigError with every mistake, each with its place and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{path}: cannot be read: {reason}", remedy="`forebay train --init` writes an example to start from"
        ) from None
    return parse_recipe(text, str(path))


def parse_recipe(text: str, place: str = "recipe.toml") -> Recipe:
    """Return the recipe in a text. Raises ConfigError like `read_recipe`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place}: this is not TOML: {error}", remedy="correct the line") from None
    return _validated(document, place)


def _validated(document: Mapping[str, object], place: str) -> Recipe:
    steps = document.get("prepare")
    problems = list(_step_problems(steps, place)) if isinstance(steps, list) else []
    values = {
        name: tuple(value) if name == "prepare" and isinstance(value, list) else _tuples(value)
        for name, value in document.items()
    }
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems = [*(f"{place}: {problem}" for problem in _problems(error.errors())), *problems]
    else:
        if not problems:
            return recipe
    raise ConfigError(
        f"{place}: the recipe has {len(problems)} mistake{'s' if len(problems) > 1 else ''}",
        problems=problems,
        remedy="correct these lines; docs/training.md describes every key",
    )


def _step_problems(steps: list[object], place: str) -> Iterator[str]:
    for index, values in enumerate(steps):
        try:
            table = RecipeTable(values, f"{place}: prepare[{index}]")
            STEPS[table.text("step", STEPS.keys())](table)
        except ModelError as error:
            yield error.message


def _problems(details: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each mistake: one for all alternatives of a value, and none for a list of wrong items."""
    lines: dict[str, str] = {}
    paths = [_path(detail["loc"]) for detail in details]
    for detail, where in zip(details, paths, strict=True):
        if detail["type"] == "too_short" and any(other.startswith(f"{where}[") for other in paths):
            continue
        line = _problem(detail)
        _, separator, allowed = line.partition("; allowed is ")
        if separator and where in lines:
            lines[where] += f", or {allowed}"
        else:
            lines.setdefault(where, line)
    return list(lines.values())


def _problem(detail: Mapping[str, Any]) -> str:
    where, kind = _path(detail["loc"]), detail["type"]
    if kind == "extra_forbidden":
        return f"{where} is not a known key{_hint(detail['loc'])}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
        return f"{where}: {message}" if where else message
    allowed = _PLAIN.get(kind)
    if allowed is None:
        return f"{where}: {detail['msg']}"
    return f"{where} is {_shown(detail['input'])}; allowed is {allowed.format(**detail.get('ctx', {}))}"


def _path(location: tuple[int | str, ...]) -> str:
    """Return the place of a value, such as `prepare[2].columns`, without the names of alternatives."""
    text = ""
    for depth, part in enumerate(location):
        if isinstance(part, int):
            text += f"[{part}]"
        elif depth < 2 or location[0] == "tune":
            text += f".{part}" if text else part
    return text


def _hint(location: tuple[int | str, ...]) -> str:
    fields: Any = Recipe.model_fields
    for part in location[:-1]:
        field = fields.get(part if part != "register" else "register_") if isinstance(fields, Mapping) else None
        annotation = getattr(field, "annotation", None)
        fields = getattr(annotation, "model_fields", None) or {}
    known = ["register" if name == "register_" else name for name in fields]
    near = get_close_matches(str(location[-1]), known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _shown(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = repr(plain)
    return text if len(text) <= 80 else text[:79] + "…"
