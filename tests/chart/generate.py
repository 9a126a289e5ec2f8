"""The generated parts of the chart: README.md from values.yaml, and the schema of `config` from Forebay's own settings.

    make chart        writes both; a test fails if they are out of date

values.yaml and README.md.gotmpl are written as helm-docs reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from forebay.stream.config.paths import MODELS, SUBSECTIONS
from forebay.stream.config.sections import ModelEntry, section_types

CHART: Final = Path(__file__).resolve().parent.parent.parent / "helm"
VALUES: Final = '{{ template "chart.valuesSection" . }}'
APP_VERSION: Final = '{{ template "chart.appVersion" . }}'
WIDTH: Final = 120
COMMON: Final = "Names and labels"


# ---- the schema


def schema_text() -> str:
    """Return values.schema.json with `config` generated from the current settings; the rest is written by hand."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["config"] = config_schema()
    return _json(schema, 0) + "\n"


def config_schema() -> dict[str, Any]:
    """Return each section with its keys, types and ranges. null unsets a key, as everywhere in Helm's values."""
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _section(section.model_json_schema()) for name, section in section_types().items()}
        | {MODELS: _models()},
    }


def _models() -> dict[str, Any]:
    entry = _section(ModelEntry.model_json_schema())
    tables = {name: _section(section.model_json_schema()) for name, section in SUBSECTIONS.items()}
    properties = {
        **entry["properties"],
        "name": _plain(ModelEntry.model_json_schema()["properties"]["name"], {}),
        **tables,
    }
    item = {**entry, "type": "object", "required": ["name"], "properties": properties}
    return {"type": ["array", "null"], "items": item}


def _section(schema: dict[str, Any]) -> dict[str, Any]:
    types = schema.get("$defs", {})
    properties = {name: _nullable(_plain(field, types)) for name, field in schema["properties"].items()}
    # A point in time may also be text, which the settings convert to a number before they validate it.
    if "from_timestamp" in properties:
        properties["from_timestamp"]["type"] = ["integer", "string", "null"]
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


def _plain(schema: Any, types: dict[str, Any]) -> Any:
    """Return the schema without descriptions and with references resolved."""
    if isinstance(schema, list):
        return [_plain(one, types) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(types[schema["$ref"].rpartition("/")[2]], types)
    if "properties" in schema:
        fields = {name: _plain(field, types) for name, field in schema["properties"].items()}
        return {
            key: _plain(schema[key], types) for key in ("type", "additionalProperties", "required") if key in schema
        } | {"properties": fields}
    left_out = ("title", "default", "description", "writeOnly", "format")
    return {key: _plain(value, types) for key, value in schema.items() if key not in left_out}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    arms = [arm for arm in schema.get("anyOf", [schema]) if arm != {"type": "null"}]
    if len(arms) > 1:
        return {"anyOf": [*arms, {"type": "null"}]}
    (arm,) = arms
    if "enum" in arm:
        return {"enum": [*arm["enum"], None]}
    return {**arm, "type": [arm["type"], "null"]}


def _json(value: Any, depth: int) -> str:
    """Return JSON in which each value that fits into a line is on one line."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + 2 * depth <= WIDTH or not value or not isinstance(value, dict | list):
        return short
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_json(one, depth + 1)}" for key, one in value.items()]
        opening, closing = "{", "}"
    else:
        items, opening, closing = [_json(one, depth + 1) for one in value], "[", "]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{outer}{closing}"


# ---- the README


class Value(NamedTuple):
    """A value of values.yaml: its path ("image.tag"), default and description."""

    path: str
    default: str
    description: str
    section: str


def readme_text() -> str:
    """Return README.md.gotmpl with the tables of values inserted."""
    sections: dict[str, list[Value]] = {}
    for value in documented(CHART / "values.yaml"):
        sections.setdefault(value.section, []).append(value)
    tables = []
    for section, values in sections.items():
        rows = [f"| `{value.path}` | {value.default} | {value.description} |" for value in values]
        tables.append("\n".join([f"### {section}", "", "| value | default | |", "|---|---|---|", *rows, ""]))
    text = (CHART / "README.md.gotmpl").read_text()
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    return text.replace(VALUES, "\n".join(tables).rstrip()).replace(APP_VERSION, version)


def documented(path: Path) -> Iterator[Value]:
    """Yield every value that follows a comment beginning with "# --"."""
    text = path.read_text()
    defaults = yaml.safe_load(text)
    comment: list[str] = []
    place: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            if stripped.startswith("# -- "):
                comment = []
            comment.append(stripped.removeprefix("#").strip())
            continue
        key, colon, _ = stripped.partition(":")
        if not colon or stripped.startswith(("-", "{")):
            continue
        indent = len(line) - len(line.lstrip())
        place = [(at, name) for at, name in place if at < indent] + [(indent, key)]
        if comment and comment[0].startswith("-- "):
            names = [name for _, name in place]
            yield _value(names, comment, defaults)
        comment = []


def _value(names: list[str], comment: list[str], defaults: Any) -> Value:
    for name in names:
        defaults = defaults[name]
    default = f"`{json.dumps(defaults, ensure_ascii=False)}`"
    section, words = COMMON, [comment[0].removeprefix("-- ")]
    for line in comment[1:]:
        if line.startswith("@default -- "):
            default = line.removeprefix("@default -- ")
        elif line.startswith("@section -- "):
            section = line.removeprefix("@section -- ")
        else:
            words.append(line)
    return Value(".".join(names), default.replace("|", "\\|"), " ".join(words).replace("|", "\\|"), section)


def main() -> None:
    (CHART / "values.schema.json").write_text(schema_text())
    (CHART / "README.md").write_text(readme_text())


if __name__ == "__main__":
    main()
