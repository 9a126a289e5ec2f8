"""Settings of the formats of events and of the mapping from their fields ([input.formats], [input.mapping])."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from forebay.stream.config.json_value import parse_json
from forebay.stream.config.section import Section
from forebay.stream.config.toml_text import toml_key, toml_value
from forebay.stream.config.values import Allowed, Mistake, Mistakes, allowed
from forebay.stream.core.field_path import FieldPath, parse_field_path

FormatName = Literal[
    "auto", "json", "json-schema", "avro", "protobuf", "arrow", "msgpack", "cloudevents", "f32", "image"
]
MAX_FEATURES: Final = 65_536
MAX_ALIASES: Final = 16
MAX_TOPICS: Final = 1_024
_MAX_SHOWN_CHARS: Final = 80


class ValueSource(NamedTuple):
    """Where a value comes from.

    kind: a field of the payload, a header of the record, or the record itself.
    path: of the field. header: the name of the header, in lower case.
    """

    kind: Literal["field", "header", "key", "record", "position"]
    path: FieldPath = ()
    header: str = ""


def parse_source(text: str) -> ValueSource:
    """Return the source that "field:<path>", "header:<name>" or a single word names. Raises ValueError with the reason."""
    kind, colon, rest = text.partition(":")
    if not colon and kind in ("key", "record", "position"):
        return ValueSource(kind)  # type: ignore[arg-type]  # mypy does not narrow to the literals
    if kind == "field" and rest:
        return ValueSource("field", path=parse_field_path(rest))
    if kind == "header" and rest.strip():
        return ValueSource("header", header=rest.strip().lower())
    raise ValueError("not a source")


def _source(*words: str) -> Any:
    """Return the type of a source: a field, a header, or one of the words."""

    def check(text: str) -> str:
        source = parse_source(text)
        if source.kind not in ("field", "header", *words):
            raise ValueError("not a source of this value")
        return text

    choices = ['"field:<path>"', '"header:<name>"', *(f'"{word}"' for word in words)]
    return Annotated[
        str, AfterValidator(check), Allowed(f"{', '.join(choices[:-1])} or {choices[-1]}, such as field:order.id")
    ]


def _check_path(text: str) -> str:
    parse_field_path(text)
    return text


def _read_fields(value: object) -> object:
    """Check [input.mapping.fields]: a path, or a list of paths, where the first that an event has counts."""
    if not isinstance(value, dict):
        raise ValueError("not a table")
    if len(value) > MAX_FEATURES:
        raise ValueError(f"there are {len(value)}")
    fields: dict[str, str | tuple[str, ...]] = {}
    mistakes: list[Mistake] = []
    for feature, paths in value.items():
        listed = (paths,) if isinstance(paths, str) else paths
        if (reason := _reason_against(listed)) is None:
            fields[str(feature)] = paths if isinstance(paths, str) else tuple(listed)
        else:
            entry = f"fields.{toml_key(str(feature))} = {_shown(paths)}"
            verdict = f"must be a path, such as payload.user.age, or a list of 1 to {MAX_ALIASES} paths ({reason})"
            mistakes.append(Mistake(f".fields.{feature}", entry, verdict))
    if mistakes:
        raise Mistakes(mistakes)
    return fields


def _reason_against(paths: object) -> str | None:
    """Return why a value is not the paths of a feature; None if it is."""
    if not isinstance(paths, list | tuple):
        return "neither text nor a list"
    if not 0 < len(paths) <= MAX_ALIASES:
        return f"it has {len(paths)}"
    for path in paths:
        if not isinstance(path, str) or not path:
            return "a path is empty" if path == "" else f"{_shown(path)} is not text"
        try:
            parse_field_path(path)
        except ValueError as error:
            return str(error)
    return None


def _shown(value: object) -> str:
    return toml_value(value)[:_MAX_SHOWN_CHARS]


_Path = Annotated[
    str,
    AfterValidator(_check_path),
    Allowed('names separated by dots, such as payload.user.age, or "" for the top of the event'),
]
_Fields = Annotated[
    dict[str, str | tuple[str, ...]],
    BeforeValidator(_read_fields),
    Allowed(f"a table from features to paths, or lists of at most {MAX_ALIASES} paths"),
]


class MappingTable(Section):
    """Where the parts of an event are in its payload, its headers and its record."""

    id: _source("key", "position") | None = Field(  # type: ignore[valid-type]
        default=None,
        description="The event's id. position: <topic>-<partition>-<offset>. Default: the field id, else the record key, "
        "else the position.",
    )
    timestamp: _source("record") | None = Field(  # type: ignore[valid-type]
        default=None,
        description="The event time. record: the record's timestamp. Default: the field timestamp, else the record's.",
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        default="auto",
        description="The unit of a timestamp that is a number. auto: the unit that the schema says, else milliseconds.",
    )
    key: _source("record") | None = Field(  # type: ignore[valid-type]
        default=None,
        description="The key of events, where the record has none. Default: the record's key only.",
    )
    model: _source() | None = Field(  # type: ignore[valid-type]
        default=None, description="The name of the model. Default: the header forebay-model."
    )
    label: _source() | None = Field(  # type: ignore[valid-type]
        default=None,
        description="Of the labels' topic only (evaluate.labels_topic): the label. Default: the field label.",
    )
    deadline: _source() | None = Field(  # type: ignore[valid-type]
        default=None, description="The time after which a prediction is useless, in the unit of the timestamp."
    )
    features: _Path | None = Field(
        default=None,
        description='The object or array with the features. "": the top of the event. Default: features or input if the '
        "event has one, else the top.",
    )
    fields: _Fields = Field(
        default_factory=dict,
        description="The path of a feature from the top of the event, where it differs from features.<name>. Of a list, "
        "the first that the event has counts.",
    )


def _read_table(value: object, part: str, subject: str) -> tuple[MappingTable | None, list[Mistake]]:
    """Return the table of a value, or its mistakes. part, subject: of the value within its setting."""
    if isinstance(value, MappingTable):
        return value, []
    if not isinstance(value, dict):
        return None, [Mistake(part, subject or "the table", "must be a table")]
    try:
        return MappingTable(**{str(key): item for key, item in value.items()}), []
    except ValidationError as error:
        details = {str(detail["loc"][:1]): detail for detail in error.errors(include_url=False)}
    return None, [mistake for detail in details.values() for mistake in _mistakes(value, detail, part, subject)]


def _mistakes(table: dict[str, Any], error: Any, part: str, subject: str) -> list[Mistake]:
    fields, key = MappingTable.model_fields, str(error["loc"][0])
    place, before = f"{part}.{key}", f"{subject}, " if subject else ""
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(fields)}"
        return [Mistake(place, f"{before}{key[:_MAX_SHOWN_CHARS]}", f"unknown key; {hint}")]
    why = error.get("ctx", {}).get("error") if error["type"] == "value_error" else None
    if isinstance(why, Mistakes):
        return [Mistake(f"{part}{one.part}", f"{before}{one.subject}", one.verdict) for one in why.mistakes]
    verdict = f"must be {allowed(fields[key])}"
    return [
        Mistake(place, f"{before}{key} = {_shown(table.get(key))}", verdict if why is None else f"{verdict} ({why})")
    ]


def _json_or(read: Callable[[object], object]) -> Callable[[object], object]:
    """Return a validator that also reads JSON text, as in the environment."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            try:
                value = parse_json(value) if value.strip() else {}
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
        return read(value)

    return parse


def _read_mapping(value: object) -> object:
    if value is None:
        return None
    table, mistakes = _read_table(value, "", "")
    if mistakes:
        raise Mistakes(mistakes)
    return table


def _read_mappings(value: object) -> dict[str, MappingTable]:
    if not isinstance(value, dict):
        raise ValueError("not a table of tables")
    if len(value) > MAX_TOPICS:
        raise ValueError(f"there are {len(value)}")
    tables: dict[str, MappingTable] = {}
    all_mistakes: list[Mistake] = []
    for topic, item in value.items():
        table, mistakes = _read_table(item, f".{topic}", f"topic {topic!r}")
        all_mistakes += mistakes
        if table is not None:
            tables[str(topic)] = table
    if all_mistakes:
        raise Mistakes(all_mistakes)
    return tables


def _read_formats(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not a table")
    if len(value) > MAX_TOPICS:
        raise ValueError(f"there are {len(value)}")
    names = get_args(FormatName)
    mistakes = [
        Mistake(
            f".{topic}",
            f"{toml_key(str(topic))} = {_shown(name)}",
            f"must be one of {', '.join(names)}",
        )
        for topic, name in value.items()
        if name not in names
    ]
    if mistakes:
        raise Mistakes(mistakes)
    return dict(value)


def _read_files(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not a table")
    if len(value) > MAX_TOPICS:
        raise ValueError(f"there are {len(value)}")
    for topic, path in value.items():
        if not isinstance(path, str) or not path.strip():
            raise ValueError(f"{str(topic)[:_MAX_SHOWN_CHARS]} is not text")
    return dict(value)


TopicFiles = Annotated[
    dict[str, str],
    BeforeValidator(_json_or(_read_files)),
    Allowed("a table from topics to paths (JSON in the environment)"),
]
TopicSubjects = Annotated[
    dict[str, str],
    BeforeValidator(_json_or(_read_files)),
    Allowed("a table from topics to subjects (JSON in the environment)"),
]
Formats = Annotated[
    dict[str, FormatName],
    BeforeValidator(_json_or(_read_formats)),
    Allowed("a table from topics to formats (JSON in the environment)"),
]
Mapping = Annotated[
    MappingTable,
    BeforeValidator(_json_or(_read_mapping)),
    Allowed(f"a table with {', '.join(MappingTable.model_fields)} (JSON in the environment)"),
]
Mappings = Annotated[
    dict[str, MappingTable],
    BeforeValidator(_json_or(_read_mappings)),
    Allowed("a table of mappings by topic (JSON in the environment)"),
]
